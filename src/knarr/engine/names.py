"""Container names: which are allowed, and two-word names for those that came without one."""

from __future__ import annotations

import os
import re

from knarr import errors

PATTERN = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_VALID = re.compile(PATTERN + r"+\Z")

ADJECTIVES = (  # noqa: SIM905 - words read better than quotes
    "able agile airy amber ample apt ardent arctic balmy bold bonny brave breezy bright brisk "
    "calm candid chilly civil clear clever coastal cool coral cosy crisp curious dapper daring "
    "deft distant dreamy dry eager early earnest easy fair faithful far fearless fervent fine "
    "firm fleet fluent foggy fond frank free fresh frosty gallant gentle gifted glad gleaming "
    "golden good grand green hale handy happy hardy hearty hopeful humble icy jaunty jolly jovial "
    "keen kind lasting lean light limber lively loyal lucid lucky lunar mellow merry mighty mild "
    "misty modest neat nimble noble northern oaken open patient placid polar polite prompt proud "
    "prudent quick quiet rapid ready robust rosy rugged salty serene sharp silver sleek smooth "
    "snowy snug sober solar solid spry stable starry steady sterling stoic stout sturdy sunny "
    "sure swift tidal tidy tireless tranquil true trusty upbeat valiant vast vivid warm wary "
    "western windy wise witty zesty"
).split()

# Navigators, explorers of sea, ice and air, oceanographers, shipwrights and cartographers.
SURNAMES = (  # noqa: SIM905 - same
    "amundsen andree anning baffin banks baret barents bass batten baudin beaufort beebe behaim "
    "bellingshausen bering bjerknes blaeu bligh bougainville bowditch bowen boyd brendan brunel "
    "bullard burton byrd cabot cadamosto carpenter carson cartier challenger champlain chancellor "
    "chapman chichester clapperton clark colbeck columbus cook cordier cousteau crean dampier "
    "davis degama delisle dias drake dumont earhart earle ekman elcano eratosthenes eriksson "
    "evans ewing fitzroy flinders forbes forster franklin frobisher fuchs gama garcie gerlache "
    "gilbert greely hakluyt hanno harrison hayes heezen henson herjolfsson heyerdahl hudson "
    "humboldt idrisi ingstad jansson johnson kane kingsley knoxjohnston krusenstern lapperouse "
    "larsen lasalle laperouse lewis lisiansky livingstone lysaght mackenzie magellan maury "
    "mawson maclure mcclintock mercator mikkelsen mohn moitessier munk murray nansen nares "
    "nearchus nordenskjold noronha oates ortelius palmer park parry peary petermann piccard "
    "pinzon polo ptolemy pytheas quiros rae raleigh rasmussen revelle ritscher ross sacagawea "
    "scoresby scott shackleton slocum sokolov somerville stark stefansson sverdrup swallow "
    "tabarly tasman tereshkova tharp thesiger thomson torres tupaia urdaneta vancouver vespucci "
    "vikander waldseemuller wallis wegener weddell wellman wilkes wilkins wrangel xuhe yermak zheng"
).split()


def check(name: str) -> str:
    """Return ``name`` without a leading slash when it may name a container.

    Raises InvalidArgument, in Docker's words, otherwise.
    """
    bare = name.removeprefix("/")
    if not _VALID.match(bare):
        raise errors.InvalidArgument(f"Invalid container name ({name}), only {PATTERN} are allowed")
    return bare


def generate(attempt: int = 0) -> str:
    """Return a random ``adjective_surname``; from the third attempt on with a digit behind."""
    pick = int.from_bytes(os.urandom(8), "little")
    pick, adjective = divmod(pick, len(ADJECTIVES))
    pick, surname = divmod(pick, len(SURNAMES))
    name = f"{ADJECTIVES[adjective]}_{SURNAMES[surname]}"
    return name if attempt < 2 else f"{name}{pick % 10 ** min(attempt, 6)}"


def conflict(name: str, owner: str) -> errors.Conflict:
    """Return the error for a name that container ``owner`` already has."""
    return errors.Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
