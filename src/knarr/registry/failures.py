"""What a registry refuses, as exceptions of the one tree, with its status and error codes.

Refused(KnarrError)      any answer that is not what was asked for
├── Denied               401 and no way to do better (also Unauthorized)
├── Prohibited           403 (also Forbidden)
├── Missing              404 (also NotFound)
└── Overloaded           429 and 5xx, after all attempts (also Unavailable)
"""

from __future__ import annotations

import json
from http import HTTPStatus

from knarr.errors import Forbidden, KnarrError, NotFound, Unauthorized, Unavailable

# An error document is text for people; what is longer than this (bytes) is not read.
DOCUMENT_LIMIT = 64 * 1024
_SHOWN = 300
_CODES = 8


class Refused(KnarrError):
    """An answer other than the one asked for; ``codes`` are those of the error document.

    message: the registry's own words, made one short line; may be empty.
    """

    def __init__(self, text: str, status: int, codes: tuple[str, ...], message: str) -> None:
        super().__init__(text)
        self.status = status
        self.codes = codes
        self.message = message


class Denied(Refused, Unauthorized):
    """Credentials are missing or were not accepted."""


class Prohibited(Refused, Forbidden):
    """The registry knows who asks and does not allow it."""


class Missing(Refused, NotFound):
    """There is no such repository, manifest, blob or upload."""


class Overloaded(Refused, Unavailable):
    """The registry cannot answer now."""


def from_answer(what: str, status: int, content_type: str, body: bytes) -> Refused:
    """Return the exception for an answer; ``what`` tells what was asked of which host."""
    codes, message = _read(content_type, body)
    text = f"{what}: {message}" if message else f"{what}: the registry answers {_named(status)}"
    if "html" in content_type.lower():
        text = f"{what}: {_named(status)} with a web page, which is no registry's answer"
    kind: type[Refused] = Refused
    if status == HTTPStatus.UNAUTHORIZED:
        kind = Denied
    elif status == HTTPStatus.FORBIDDEN:
        kind = Prohibited
    elif status == HTTPStatus.NOT_FOUND:
        kind = Missing
    elif status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        kind = Overloaded
    return kind(text, status, codes, message)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _read(content_type: str, body: bytes) -> tuple[tuple[str, ...], str]:
    """Return the codes of an error document and its first message in Docker's form."""
    try:
        errors = json.loads(body)["errors"]
        found = [each for each in errors[:_CODES] if isinstance(each, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        plain = content_type.lower().startswith("text/plain")
        return (), _line(body.decode(errors="replace")) if plain else ""
    codes = tuple(str(each.get("code", "")).upper()[:64] for each in found)
    for code, each in zip(codes, found, strict=True):
        words = code.lower().replace("_", " ")
        message = _line(str(each.get("message") or ""))
        return codes, f"{words}: {message}" if message else words
    return codes, ""


def _line(text: str) -> str:
    shown = " ".join(text.split())
    return "".join(c for c in shown if c.isprintable())[:_SHOWN]
