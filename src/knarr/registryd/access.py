"""Who may do what: a TOML file with patterns of repositories.

    [groups]
    developers = ["alice", "bob"]

    [repositories."team/*"]
    pull = ["@developers", "ci"]
    push = ["ci"]
    delete = ["alice"]

    [repositories."public/*"]
    pull = ["anonymous"]

What fits a repository adds up; what nothing says is not allowed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from knarr.errors import InvalidArgument

PULL, PUSH, DELETE = "pull", "push", "delete"
ACTIONS = (PULL, PUSH, DELETE)
# Everybody who has logged in, and everybody.
USERS, ANYBODY = "*", "anonymous"
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do what in repositories whose names fit a pattern (``team/*``).

    who: names of users, USERS and ANYBODY, for each action.
    """

    pattern: str
    who: dict[str, frozenset[str]]

    def allowed(self, user: str) -> Iterator[str]:
        """Yield the actions that a user may do, "" being somebody who has not logged in."""
        words = {user, USERS, ANYBODY} if user else {ANYBODY}
        return (action for action, names in self.who.items() if not names.isdisjoint(words))


@dataclass(frozen=True, slots=True)
class Access:
    """All rules."""

    rules: tuple[Rule, ...]

    def allowed(self, user: str, repository: str) -> frozenset[str]:
        """Return the actions that a user, or "" for anybody, may do in a repository."""
        found = {
            action
            for rule in self.rules
            if fnmatchcase(repository, rule.pattern)
            for action in rule.allowed(user)
        }
        # Clients look at what is there before they push to it, or delete it.
        return frozenset(found | {PULL}) if found else _NOTHING

    def lets_in(self, user: str) -> bool:
        """Return whether there is anything that a user, or "" for anybody, may do."""
        return any(any(True for _ in rule.allowed(user)) for rule in self.rules)


def users_only(*, anybody_pulls: bool) -> Access:
    """Return what holds without a file: users may do everything."""
    everybody = {PULL: frozenset({USERS, *([ANYBODY] if anybody_pulls else [])})}
    everything = dict.fromkeys((PUSH, DELETE), frozenset({USERS}))
    return Access((Rule("*", {**everybody, **everything}),))


def parse(text: str) -> Access:
    """Return what a file says. Raises InvalidArgument."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidArgument(str(error)) from None
    unknown = sorted(set(document) - {"groups", "repositories"})
    if unknown:
        raise InvalidArgument(f"{unknown[0]!r} is neither groups nor repositories")
    groups = {
        name: frozenset(_names(members, f"groups.{name}"))
        for name, members in _table(document, "groups").items()
    }
    tables = _table(document, "repositories")
    return Access(tuple(_rule(pattern, tables[pattern], groups) for pattern in tables))


def _rule(pattern: str, table: Any, groups: dict[str, frozenset[str]]) -> Rule:
    where = f'repositories."{pattern}"'
    if not isinstance(table, dict):
        raise InvalidArgument(f"{where} is no table")
    who: dict[str, frozenset[str]] = {}
    for action, words in table.items():
        if action not in ACTIONS:
            raise InvalidArgument(f"{where}: {action!r} is none of pull, push, delete")
        found: set[str] = set()
        for word in _names(words, f"{where}.{action}"):
            if word.startswith("@"):
                if word[1:] not in groups:
                    raise InvalidArgument(f"{where}.{action}: there is no group {word}")
                found |= groups[word[1:]]
            else:
                found.add(word)
        if ANYBODY in found and action != PULL:
            raise InvalidArgument(f"{where}.{action}: who has not logged in can only pull")
        who[action] = frozenset(found)
    return Rule(pattern, who)


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise InvalidArgument(f"{name} is no table")
    return table


def _names(words: Any, where: str) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(each, str) and each for each in words):
        raise InvalidArgument(f'{where} is no list of names, as ["alice", "@developers"]')
    return words
