"""What could stand where the cursor is: a command line that is not finished, and its next word.

The shells' scripts (``completion``) call ``knarr __complete -- WORD...`` with what was typed after
``knarr``, the last word as far as it goes. The answer is a candidate a line, with what it is
behind a tab. One that ends with ``/``, ``=`` or ``:`` is not yet a whole word. The walk
goes by the same tables by which command lines are parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knarr.cli import candidates, globalflags, human, verbs
from knarr.cli.candidates import Candidate
from knarr.cli.command import MANY, Command
from knarr.cli.flags import Args, Flag, HelpAsked, Table, UsageError
from knarr.errors import KnarrError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knarr.cli.context import Context

WORD = "__complete"
_TOKEN = re.compile(r"\[[^ ]*(?: [A-Z]+)?\]|[^ ]+")


def run(context: Context, args: Args) -> int:
    """Print the candidates for the last word; what goes wrong on the way is none."""
    try:
        found = complete(context, args.rest)
    except (KnarrError, UsageError, HelpAsked, OSError, ValueError):
        found = []
    for value, what in found:
        # A name is whatever its maker made it: one that would be two lines, or move the cursor,
        # cannot be offered.
        if value.isprintable():
            print(f"{value}\t{human.visible(what)}" if what else value)
    return 0


# Not in ``commands``: people do not call it.
COMMAND = Command(
    name=WORD,
    summary="Complete a command line",
    usage=("-- WORD...",),
    run=run,
    arguments=(1, MANY),
)


@dataclass(slots=True)
class _Walk:
    """What has been read of a line by a table: positional words, flags, and one without a value."""

    rest: list[str] = field(default_factory=list)
    awaiting: Flag | None = None
    flags_ended: bool = False


def complete(context: Context, words: list[str]) -> list[Candidate]:
    """Return the candidates for the last of ``words``, those that begin as it does, in order."""
    *before, typed = map(candidates.unquoted, words)
    walk = _walk(globalflags.GLOBAL, before, stops_early=True)
    if walk.awaiting is not None:
        return candidates.of_flag(context, None, walk.awaiting, typed)
    if not walk.rest:
        if typed.startswith("-"):
            return _flags(globalflags.GLOBAL, typed)
        return _beginning(_verbs(), typed)
    context = globalflags.with_options(context, before[: len(before) - len(walk.rest)])
    if len(walk.rest) == 1 and walk.rest[0] in verbs.GROUPS:
        return _beginning(_members(walk.rest[0]), typed)
    command, rest = verbs.find(walk.rest)
    return _within(context, command, rest, typed)


def _within(context: Context, command: Command, words: list[str], typed: str) -> list[Candidate]:
    """Return the candidates for a word after those of a command."""
    walk = _walk(command.table, words, stops_early=command.stops_early)
    if walk.awaiting is not None:
        return candidates.of_flag(context, command, walk.awaiting, typed)
    if typed.startswith("-") and not walk.flags_ended:
        name, equals, value = typed.partition("=")
        flag = command.table.find(name)
        if equals and flag is not None:
            found = candidates.of_flag(context, command, flag, value)
            return [Candidate(f"{name}={each.value}", each.what) for each in found]
        return _flags(command.table, typed)
    if command.name == "help":
        return _beginning(_verbs() if not walk.rest else _members(walk.rest[0]), typed)
    place = _place(command, len(walk.rest))
    return candidates.of_argument(context, command, place, typed, walk.rest) if place else []


def _walk(table: Table, words: list[str], *, stops_early: bool) -> _Walk:
    """Return how far the words lead; nothing is checked but what takes a value."""
    walk = _Walk()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--" or len(word) < 2 or word[0] != "-":
            if word == "--":
                walk.rest += words[position:]
            else:
                walk.rest.append(word)
                if not stops_early:
                    continue
                walk.rest += words[position:]
            walk.flags_ended = True
            return walk
        flag = table.wanting(word)
        if flag is not None:
            if position == len(words):
                walk.awaiting = flag
            position += 1
    return walk


def _place(command: Command, number: int) -> str:
    """Return the word of the usage that argument ``number`` (from 0) is; "" for none."""
    if number >= command.arguments[1]:
        return ""
    places = []
    for form in command.usage:
        tokens = [each for each in _TOKEN.findall(form) if each != "[OPTIONS]"]
        if tokens:
            places.append(tokens[min(number, len(tokens) - 1)])
    return "|".join(places)


def _flags(table: Table, typed: str) -> list[Candidate]:
    """Return the flags: a letter where only a dash was typed, else by name."""
    found = [Candidate(f"--{flag.name}", flag.help) for flag in table.flags]
    found.append(Candidate("--help", "Explain the command"))
    if not typed.startswith("--"):
        found += [Candidate(f"-{flag.short}", flag.help) for flag in table.flags if flag.short]
    return _beginning(sorted(found, key=lambda each: each.value.lstrip("-")), typed)


def _verbs() -> list[Candidate]:
    found = [Candidate(name, verbs.load(name).summary) for name in verbs.names()]
    found += [Candidate(name, text) for name, text in verbs.GROUP_SUMMARIES.items()]
    return sorted(found, key=lambda each: each.value)


def _members(group: str) -> list[Candidate]:
    members = verbs.GROUPS.get(group, {})
    return [Candidate(word, verbs.load(members[word]).summary) for word in sorted(members)]


def _beginning(found: Iterable[Candidate], typed: str) -> list[Candidate]:
    return [each for each in found if each.value.startswith(typed)]
