"""Values as people write them on a command line: text to value, or ValueError.

The accepted spellings and the messages are those of Docker's command, which
has them from Go's strconv and from go-units.
"""

from __future__ import annotations

import re
from fractions import Fraction

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kmgtKMGT]?)(bit|bps|)", re.IGNORECASE)
_THOUSANDS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LEAST_RATE = 1000  # bits a second; with less, not even a name is resolved in time
_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([kKmMgGtTpP]?)([iI]?)([bB]?)", re.ASCII)
# A number, and after it what is no unit.
_SUFFIXED = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+) ?([^\d. ]+)", re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_INT64 = 2**63
_UINT16 = 2**16 - 1


def boolean(text: str) -> bool:
    """Return the truth value of ``1 t true`` or ``0 f false``. Raises ValueError."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def integer(text: str) -> int:
    """Return a signed 64-bit number; 0x, 0o and 0b are understood. Raises ValueError."""
    try:
        number = int(text, 0) if not text.lstrip("+-").startswith("0") else _based(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{text!r} is out of range")
    return number


def weight(text: str) -> int:
    """Return a number of 16 bits without a sign, as ``integer`` does. Raises ValueError."""
    number = integer(text)
    if not 0 <= number <= _UINT16:
        raise ValueError(f"{text!r} is out of range")
    return number


def _based(text: str) -> int:
    digits = text.lstrip("+-")
    plain_octal = digits.isdigit() and len(digits) > 1
    return int(text, 8 if plain_octal else 0)


def size(text: str) -> int:
    """Return bytes of ``512``, ``64k``, ``1.5g``, ``2GiB`` (powers of 1024). Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if not found or (found[3] and not found[2]):
        suffix = _SUFFIXED.fullmatch(text)
        raise ValueError(f"invalid suffix: '{suffix[1]}'" if suffix else f"invalid size: {text!r}")
    number = Fraction(found[1]) * 1024 ** _POWERS[found[2].lower()]
    if number >= _INT64:
        raise ValueError(f"invalid size: {text!r} is out of range")
    return int(number)


def size_or_unlimited(text: str) -> int:
    """Return bytes as ``size`` does, or -1 for ``-1``. Raises ValueError."""
    return -1 if text == "-1" else size(text)


def rate(text: str) -> int:
    """Return bits a second of ``10mbit``, ``500kbit``, ``2mbps`` or ``1000``. Raises ValueError.

    Units as tc(8) has them, powers of 1000: ``bit`` and, for bytes, ``bps``.
    """
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError(f"invalid rate: {text!r} is not such as 10mbit, 500kbit or 2mbps")
    number = Fraction(found[1]) * 1000 ** _THOUSANDS[found[2].lower()]
    number *= 8 if found[3].lower() == "bps" else 1
    if not _LEAST_RATE <= number < _INT64:
        raise ValueError(f"invalid rate: {text!r} is not between {_LEAST_RATE}bit and 9000pbit")
    return int(number)


def nano_cpus(text: str) -> int:
    """Return billionths of a processor: ``1.5`` or ``3/2``. Raises ValueError."""
    try:
        number = Fraction(text.strip()) * 10**9
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if number.denominator != 1:
        raise ValueError("value is too precise")
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{text!r} is out of range")
    return int(number)


def duration(text: str) -> int:
    """Return nanoseconds of ``1h2m3s``, ``300ms``, ``1.5h`` or ``0``. Raises ValueError."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = Fraction(0)
    position = 0
    for part in _DURATION.finditer(rest):
        if part.start() != position:
            break
        total += Fraction(part[1].rstrip(".") or "0") * _NANOSECONDS[part[2]]
        position = part.end()
    if not rest or position != len(rest) or total >= _INT64:
        raise ValueError(f'invalid duration "{text}"')
    return int(-total if text.startswith("-") else total)


def environment(text: str) -> str:
    """Return ``NAME=value`` or ``NAME`` as it is. Raises ValueError when the name is empty."""
    if not text or text.startswith("="):
        raise ValueError(f"invalid environment variable: {text}")
    return text


def label(text: str) -> str:
    """Return ``name=value`` or ``name`` as it is. Raises ValueError for what is no name."""
    name = text.partition("=")[0].lstrip(" \t")
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if " " in name or "\t" in name:
        raise ValueError(f"label '{name}' contains whitespaces")
    return text


def annotation(text: str) -> str:
    """Return ``name=value`` or ``name`` as it is. Raises ValueError when the name is empty."""
    if not text or text.startswith("="):
        raise ValueError(
            "invalid Annotation: the empty string is not permitted as an annotation key"
        )
    return text


def stream_name(text: str) -> str:
    """Return ``stdin``, ``stdout`` or ``stderr`` in lower case. Raises ValueError."""
    name = text.lower()
    if name not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return name


def device_rate(text: str) -> tuple[str, int]:
    """Return (path, bytes per second) of ``/dev/sda:1mb``. Raises ValueError."""
    path, rate = _device(text)
    try:
        number = size(rate)
    except ValueError:
        number = 0
    if number <= 0:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is "
            "<device-path>:<number>[<unit>]; the unit is kb, mb or gb"
        )
    return path, number


def device_operations(text: str) -> tuple[str, int]:
    """Return (path, operations per second) of ``/dev/sda:1000``. Raises ValueError."""
    path, rate = _device(text)
    if not rate.isascii() or not rate.isdigit() or int(rate) == 0:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>"
        )
    return path, int(rate)


def _device(text: str) -> tuple[str, str]:
    path, colon, rate = text.partition(":")
    if not colon or ":" in rate:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, rate


def detach_keys(text: str) -> bytes:
    r"""Return the bytes of a detach sequence such as ``ctrl-p,ctrl-q`` or ``a,b``.

    Each key is one ASCII character or ``ctrl-`` with a letter or one of
    ``@ [ \\ ] ^ _``. Raises ValueError.
    """
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and " " <= key <= "~":
            keys.append(ord(key))
            continue
        control = key.lower().removeprefix("ctrl-") if key.lower().startswith("ctrl-") else ""
        if len(control) != 1 or control not in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            raise ValueError(f"invalid detach keys: unknown character: '{key}'")
        keys.append(ord(control.upper()) & 0x1F)
    return bytes(keys)


DEFAULT_DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q
