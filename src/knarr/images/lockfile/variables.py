"""``${NAME:-default}`` in Dockerfiles and Compose files.

Both know ``$NAME``, ``${NAME}`` and, with and without the colon that takes an empty value for
none, ``:-`` a default, ``:+`` a replacement and ``:?`` an error; what follows may have variables
in it again. A Dockerfile escapes a dollar with a backslash, Compose by doubling it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from knarr.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+?]")
_DEEPEST = 20
# Characters of a value: each may have the one before twice in it, so thirty lines make a gigabyte.
_LONGEST = 64 * 1024


def substitute(text: str, values: Mapping[str, str], *, escape: str = "") -> str:
    """Return ``text`` with variables replaced; escape: the sign before a dollar that is one.

    "" for escape is Compose's ``$$``. A variable without a value is empty. Raises InvalidArgument
    for what is malformed or becomes too long, and for ``:?``.
    """
    return _Substitution(values, escape).whole(text, 0) if "$" in text or escape else text


class _Substitution:
    def __init__(self, values: Mapping[str, str], escape: str) -> None:
        self._values = values
        self._escape = escape

    def whole(self, text: str, depth: int) -> str:
        """Return all of the text replaced."""
        if depth > _DEEPEST:
            raise InvalidArgument(f"variables within variables, more than {_DEEPEST} deep")
        out: list[str] = []
        at, length = 0, 0
        while at < len(text):
            letter = text[at]
            if self._escape and letter == self._escape and at + 1 < len(text):
                out.append(text[at + 1])
                at += 2
            elif letter != "$":
                out.append(letter)
                at += 1
            elif not self._escape and text.startswith("$$", at):
                out.append("$")
                at += 2
            else:
                value, at = self._variable(text, at, depth)
                out.append(value)
                length += len(value)
                if length > _LONGEST:
                    raise InvalidArgument(f"variables make it longer than {_LONGEST} characters")
        return "".join(out)

    def _variable(self, text: str, at: int, depth: int) -> tuple[str, int]:
        """Return the value of the variable whose dollar is at ``at``, and where it ends."""
        if found := _NAME.match(text, at + 1):
            return self._values.get(found[0], ""), found.end()
        found = _NAME.match(text, at + 2) if text.startswith("${", at) else None
        if found is None:
            raise InvalidArgument(f"{text!r}: no name of a variable after the dollar")
        end = _closing(text, at + 2)
        name, rest = found[0], text[found.end() : end]
        return self._braced(name, rest, text, depth), end + 1

    def _braced(self, name: str, rest: str, text: str, depth: int) -> str:
        if not rest:
            return self._values.get(name, "")
        operator = _OPERATOR.match(rest)
        if operator is None:
            raise InvalidArgument(f"{text!r}: {rest[:1]!r} after a name is not supported")
        word = rest[operator.end() :]
        value = self._values.get(name)
        is_set = bool(value) if operator[0][0] == ":" else value is not None
        match operator[0][-1]:
            case "-":
                return value or "" if is_set else self.whole(word, depth + 1)
            case "+":
                return self.whole(word, depth + 1) if is_set else ""
        if not is_set:
            reason = self.whole(word, depth + 1) or "has no value"
            raise InvalidArgument(f"the variable {name} {reason}")
        return value or ""


def _closing(text: str, start: int) -> int:
    """Return where the brace closes that was opened before ``start``."""
    depth = 1
    for at in range(start, len(text)):
        if text.startswith("${", at):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    raise InvalidArgument(f"{text!r}: a brace is not closed")
