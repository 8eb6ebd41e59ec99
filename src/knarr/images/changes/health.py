"""``HEALTHCHECK [OPTIONS] CMD …`` and ``HEALTHCHECK NONE`` (Dockerfile reference)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from knarr.errors import InvalidArgument
from knarr.spec import quantity

_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s+")
_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def healthcheck(text: str, command: Callable[[str], list[str]]) -> dict[str, Any]:
    """Return the ``Healthcheck`` object that the instruction's text describes.

    ``command`` turns the text after CMD into argv. Times are nanoseconds, as in Docker's
    JSON. Raises InvalidArgument for unknown options, wrong times or a missing command.
    """
    value: dict[str, Any] = {}
    rest = text
    while match := _OPTION.match(rest):
        value |= _option(match[1], match[2])
        rest = rest[match.end() :]
    keyword, _, argument = rest.strip().partition(" ")
    if keyword.upper() == "NONE":
        if argument.strip() or value:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if keyword.upper() != "CMD":
        raise InvalidArgument(f"HEALTHCHECK: unknown type {keyword!r}: use CMD or NONE")
    if not argument.strip():
        raise InvalidArgument("HEALTHCHECK: missing command after CMD")
    return {"Test": _test(argument.strip(), command)} | value


def _test(argument: str, command: Callable[[str], list[str]]) -> list[str]:
    argv = command(argument)
    # In the shell form the engine adds the shell when it runs the check.
    return ["CMD-SHELL", argument] if argv[-1] == argument else ["CMD", *argv]


def _option(name: str, text: str) -> dict[str, int]:
    if name == "retries":
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidArgument(f"HEALTHCHECK: invalid --retries={text}: use a whole number")
        return {"Retries": int(text)}
    if name not in _DURATIONS:
        raise InvalidArgument(f"HEALTHCHECK: unknown option --{name}")
    nanoseconds = _nanoseconds(text)
    if nanoseconds and nanoseconds < 10**6:
        raise InvalidArgument(f"HEALTHCHECK: --{name}={text} is less than 1ms")
    return {_DURATIONS[name]: nanoseconds}


def _nanoseconds(text: str) -> int:
    if text == "0":
        return 0
    found = quantity.nanoseconds(text)
    if found is None:
        raise InvalidArgument(f"HEALTHCHECK: invalid duration {text!r}: use for example 1m30s")
    return found
