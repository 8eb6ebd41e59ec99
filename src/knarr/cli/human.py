"""Times and sizes as people read them, in the words of Docker's tables (go-units)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_LOCAL = "%Y-%m-%d %H:%M:%S %z %Z"
_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r",
    "\t": "\\t", "\v": "\\v",
}  # fmt: skip
_HOUR_STEPS = (
    # (below so many hours, hours in one, word)
    (48, 1, "hours"),
    (24 * 7 * 2, 24, "days"),
    (24 * 30 * 2, 24 * 7, "weeks"),
    (24 * 365 * 2, 24 * 30, "months"),
)


def duration(seconds: float) -> str:
    """Return a length of time in words: ``About a minute``, ``3 weeks``."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for below, unit, word in _HOUR_STEPS:
        if hours < below:
            return f"{hours // unit} {word}"
    return f"{hours // (24 * 365)} years"


def ago(seconds: float) -> str:
    """Return ``duration`` followed by ``ago``."""
    return f"{duration(seconds)} ago"


def size(count: float) -> str:
    """Return a size with three digits and a decimal unit: ``4.26MB``, ``0B``."""
    step = 0
    while count >= 1000 and step < len(_UNITS) - 1:
        count /= 1000
        step += 1
    if count >= 999.5:  # three digits would be 1e+03
        return f"{count:.0f}{_UNITS[step]}"
    return f"{count:.3g}{_UNITS[step]}"


def binary_size(count: float) -> str:
    """Return a size with four digits and a binary unit, as memory is shown: ``1.955MiB``."""
    step = 0
    while count >= 1024 and step < len(_BINARY_UNITS) - 1:
        count /= 1024
        step += 1
    return f"{count:.4g}{_BINARY_UNITS[step]}"


def moment(text: str) -> datetime | None:
    """Return the time an RFC 3339 text names (any number of digits of a second), None for none."""
    if not text or text.startswith("0001-01-01"):
        return None
    head, dot, tail = text.replace("Z", "+00:00").partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        head = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    try:
        found = datetime.fromisoformat(head)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds_since(text: str) -> float | None:
    """Return how many seconds ago an RFC 3339 text was, None when it names no time."""
    found = moment(text)
    return None if found is None else (datetime.now(UTC) - found).total_seconds()


def age(seconds: float) -> float:
    """Return how many seconds ago a time in seconds since the epoch was."""
    return max(0.0, time.time() - seconds)


def local_time_of(seconds: float) -> str:
    """Return a time in seconds since the epoch as ``local_time`` does."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime(_LOCAL)


def local_time(text: str) -> str:
    """Return a time as ``{{.CreatedAt}}`` shows it: ``2026-01-02 03:04:05 +0000 UTC``."""
    found = moment(text)
    if found is None:
        return ""
    return found.astimezone().strftime(_LOCAL)


def visible(text: str) -> str:
    """Return ``text`` with ``?`` for what is no letter: strangers' words move no cursor.

    Archives and configs name files, media types and commands with whatever characters they like.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def quoted(text: str) -> str:
    """Return ``text`` in quotes as Go's strconv.Quote has it; nothing in it moves a cursor."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def ellipsis(text: str, width: int) -> str:
    """Return ``text`` cut to ``width`` characters, the last of them an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
