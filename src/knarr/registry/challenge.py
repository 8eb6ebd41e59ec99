"""``WWW-Authenticate``: several challenges in one header or in several (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_LENGTH = 8192
_MOST = 16
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"{_WORD}(?=[ \t,]|$)")
_BETWEEN = re.compile(r"[ \t,]*")


class Challenge(NamedTuple):
    """One way to authenticate: its scheme in lower case, parameters by lower-case name."""

    scheme: str
    parameters: dict[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges in their order; what cannot be read ends its header.

    The bare token of other schemes (``Negotiate YII=``) becomes a parameter or a scheme
    that nobody asks for.
    """
    found: list[Challenge] = []
    for header in headers:
        _read(header[:_LENGTH], found)
    return found[:_MOST]


def _read(header: str, found: list[Challenge]) -> None:
    current: Challenge | None = None
    position = _end(_BETWEEN.match(header))
    while position < len(header):
        parameter = _PARAMETER.match(header, position) if current is not None else None
        scheme = None if parameter else _SCHEME.match(header, position)
        if parameter and current is not None:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            current.parameters.setdefault(name.lower(), value)
        elif scheme:
            current = Challenge(scheme[0].lower(), {})
            found.append(current)
        else:
            return
        position = _end(_BETWEEN.match(header, _end(parameter or scheme)))


def _end(match: re.Match[str] | None) -> int:
    assert match is not None
    return match.end()
