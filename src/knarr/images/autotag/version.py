"""The version that a source tree gives itself, read from files and never by running any of it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from typing import Any

from knarr.errors import InvalidArgument

_LIMIT = 4 * 1024 * 1024
_ASSIGNED = re.compile(
    r"^(?:__version__|VERSION)\s*(?::\s*str\s*)?=\s*[\"']([^\"'\s]+)[\"']", re.MULTILINE
)


def of_project(folder: str, top: str) -> tuple[str, str] | None:
    """Return (version, file) that a project states: in ``folder``, or nearest above up to ``top``.

    Raises InvalidArgument for a file that cannot be read as what it is.
    """
    place, last = os.path.realpath(folder), os.path.realpath(top)
    while True:
        for name, read in _READERS:
            path = os.path.join(place, name)
            text = _text(path)
            version = None if text is None else read(text, path)
            if version:
                return version, path
        if place == last or len(place) <= len(last):
            return None
        place = os.path.dirname(place)


def _text(path: str) -> str | None:
    # Not through a link, which may lead out of the tree; nor from a pipe that nobody writes to.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        if not os.path.isfile(f"/proc/self/fd/{fd}"):
            return None
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise InvalidArgument(f"{path}: larger than {_LIMIT} bytes")
    return data.decode(errors="replace")


def _pyproject(text: str, path: str) -> str | None:
    document = _toml(text, path)
    tool = _table(document, "tool")
    stated = _string(_table(document, "project").get("version"))
    stated = stated or _string(_table(tool, "poetry").get("version"))
    if stated:
        return stated
    # hatch reads it from a file of the sources: an assignment that can be read as well as run.
    place = _string(_table(_table(tool, "hatch"), "version").get("path"))
    if not place or os.path.isabs(place) or ".." in place.split("/"):
        return None
    found = _ASSIGNED.search(_text(os.path.join(os.path.dirname(path), place)) or "")
    return found[1] if found else None


def _cargo(text: str, path: str) -> str | None:
    return _string(_table(_toml(text, path), "package").get("version"))


def _package(text: str, path: str) -> str | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: no JSON: {error}") from None
    return _string(document.get("version")) if isinstance(document, dict) else None


def _plain(text: str, _path: str) -> str | None:
    lines = text.strip().splitlines()
    return lines[0].strip() if len(lines) == 1 else None


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{path}: no TOML: {error}") from None


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


_READERS: tuple[tuple[str, Callable[[str, str], str | None]], ...] = (
    ("pyproject.toml", _pyproject),
    ("package.json", _package),
    ("Cargo.toml", _cargo),
    ("VERSION", _plain),
)
