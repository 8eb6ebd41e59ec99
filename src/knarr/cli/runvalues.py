"""Values of the flags of ``run`` and ``create`` alone: text to value, or ValueError.

Spellings and messages are those of Docker's command. For parsing nothing of the engine is loaded.
"""

from __future__ import annotations

import _socket
import re
from typing import NamedTuple

from knarr.spec.kernelnames import ULIMITS, is_sysctl

_WORD = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"({_WORD}(?:\.{_WORD})*)\.?\s*")
_DOMAIN_LIMIT = 255
_HOST_GATEWAY = "host-gateway"
_INT64 = 2**63
_DEVICE_RULE = re.compile(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", re.ASCII)


class UlimitText(NamedTuple):
    """One ``--ulimit``: -1 is unlimited."""

    name: str
    soft: int
    hard: int


class DeviceText(NamedTuple):
    """One ``--device``: paths of the host and inside, and which of ``rwm`` are allowed."""

    source: str
    target: str
    access: str


def address(text: str) -> str:
    """Return an IP address in its usual form. Raises ValueError."""
    bare = text.strip()
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_ntop(family, _socket.inet_pton(family, bare))
        except (OSError, ValueError):
            continue
    raise ValueError(f"IP address is not correctly formatted: {text}")


def search_domain(text: str) -> str:
    """Return a domain to search in; ``.`` is none. Raises ValueError."""
    bare = text.strip(" ")
    if bare == ".":
        return bare
    found = _DOMAIN.fullmatch(bare)
    if not found or len(found[1]) >= _DOMAIN_LIMIT or not re.search("[a-zA-Z]", bare):
        raise ValueError(f"{bare} is not a valid domain")
    return found[1]


def extra_host(text: str) -> str:
    """Return ``NAME:ADDRESS`` of ``NAME=ADDRESS`` or ``NAME:ADDRESS``. Raises ValueError."""
    name, mark, value = text.partition("=")
    if not mark:
        name, mark, value = text.partition(":")
    if not mark or not name or ":" in name:
        raise ValueError(f"bad format for add-host: {_quoted(text)}")
    if value == _HOST_GATEWAY:
        return f"{name}:{value}"
    if len(value) > 2 and value[0] == "[" and value[-1] == "]":
        value = value[1:-1]
    try:
        address(value)
    except ValueError:
        raise ValueError(f"invalid IP address in add-host: {_quoted(value)}") from None
    return f"{name}:{value}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def ulimit(text: str) -> UlimitText:
    """Return the limit that ``NAME=SOFT[:HARD]`` means. Raises ValueError."""
    name, mark, limits = text.partition("=")
    if not mark:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise ValueError(
            f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        )
    soft, hard = _limit(parts[0]), _limit(parts[-1])
    if hard != -1 and soft == -1:
        raise ValueError(
            "ulimit soft limit must be less than or equal to hard limit:"
            f" soft: -1 (unlimited), hard: {hard}"
        )
    if hard != -1 and soft > hard:
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return UlimitText(name, soft, hard)


def _limit(text: str) -> int:
    if text == "infinity":
        return -1
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    number = int(text)
    if not -_INT64 <= number < _INT64:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def sysctl(text: str) -> str:
    """Return ``NAME=VALUE`` as it is, if a container can have it. Raises ValueError."""
    name, mark, _ = text.partition("=")
    if not mark or not is_sysctl(name):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def device_weight(text: str) -> tuple[str, int]:
    """Return (path, weight) of ``/dev/sda:300``. Raises ValueError."""
    path, colon, weight = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    if not weight.isascii() or not weight.isdigit():
        raise ValueError(f"invalid weight for device: {text}")
    if int(weight) and not 10 <= int(weight) <= 1000:
        raise ValueError(f"invalid weight for device: {text}")
    return path, int(weight)


def device_rule(text: str) -> str:
    """Return a rule such as ``c 13:* rwm`` as it is. Raises ValueError."""
    if not _DEVICE_RULE.fullmatch(text):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def device(text: str) -> DeviceText:
    """Return the device that ``HOST[:CONTAINER][:MODE]`` means. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"bad format for path: {text}")
    source, target, access = parts[0], parts[0], "rwm"
    if len(parts) == 2 and _is_access(parts[1]):
        access = parts[1]
    elif len(parts) > 1:
        target = parts[1]
    if len(parts) == 3:
        access = parts[2]
        if not _is_access(access):
            raise ValueError(f"bad mode specified: {access}")
    if not target.startswith("/"):
        raise ValueError(f"{target} is not an absolute path")
    return DeviceText(source, target, access)


def _is_access(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)
