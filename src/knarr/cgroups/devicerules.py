"""The ordered device list of OCI as checked rules, and as v1's single default with exceptions.

Meaning (config-linux.md, "Allowed Device list"): the last rule that matches decides, for
each of read, write and mknod by itself; what no rule matches is denied. Pure.
"""

from knarr.cgroups import values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    # allow, type (a, b or c), major and minor (None is any), access as bits
    Rule = tuple[bool, str, int | None, int | None, int]
    Key = tuple[str, int | None, int | None]

MKNOD, READ, WRITE = 1, 2, 4
ALL = MKNOD | READ | WRITE
_BITS = {"m": MKNOD, "r": READ, "w": WRITE}
# What a container gets that asks for no device: mknod(2) of any, since making a node gives no
# access to it; zero, null, urandom, random, tty, console; then the terminals of its own
# devpts and ptmx. v1 and v2 have it ready: planning it anew costs a start 0.2 ms.
USUAL: "list[dict[str, Any]]" = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "access": "rwm", "minor": 5},
    {"allow": True, "type": "c", "major": 1, "access": "rwm", "minor": 3},
    {"allow": True, "type": "c", "major": 1, "access": "rwm", "minor": 9},
    {"allow": True, "type": "c", "major": 1, "access": "rwm", "minor": 8},
    {"allow": True, "type": "c", "major": 5, "access": "rwm", "minor": 0},
    {"allow": True, "type": "c", "major": 5, "access": "rwm", "minor": 1},
    {"allow": True, "type": "c", "major": 1, "access": "rwm", "minor": 7},
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
    {"allow": True, "type": "c", "major": 5, "access": "rwm", "minor": 2},
]


def parse(resources: "Mapping[str, Any]") -> "list[Rule]":
    """Return the rules of ``resources.devices`` in order, less those a later one covers.

    Type ``a`` is kept only for rules about every device and every access; a narrower
    one becomes one rule for block and one for character devices. Raises ValueError
    that names the entry for an unknown type, access or number.
    """
    rules: list[Rule] = []
    for index, entry in enumerate(values.items(resources, "", "devices")):
        where = f"devices[{index}]."
        kind = values.text(entry, where, "type") or "a"
        if kind not in ("a", "b", "c", "u", "p"):
            raise ValueError(f"{where}type: {kind!r} is none of a, b, c")
        if kind == "p":
            continue  # a FIFO is no device: nothing ever asks
        if not isinstance(allow := entry.get("allow", False), bool):
            raise ValueError(f"{where}allow: expected true or false")
        access = _access(entry, where)
        major = _number(entry, where, "major", 4095)
        minor = _number(entry, where, "minor", 1048575)
        if kind == "a" and major is None and minor is None and access == ALL:
            rules = [(allow, "a", None, None, ALL)]
            continue
        kinds = {"a": "bc", "u": "c"}.get(kind, kind)
        rules += [(allow, one, major, minor, access) for one in kinds]
    return rules


def _access(entry: "Mapping[str, Any]", where: str) -> int:
    bits = 0
    for letter in values.text(entry, where, "access") or "rwm":
        if letter not in _BITS:
            raise ValueError(f"{where}access: {letter!r} is none of r, w, m")
        bits |= _BITS[letter]
    return bits


def _number(entry: "Mapping[str, Any]", where: str, name: str, high: int) -> int | None:
    number = values.integer(entry, where, name, -1, high)
    return None if number == -1 else number


def letters(access: int) -> str:
    """Return access bits in the letters of cgroup v1, in its order ``rwm``."""
    return "".join(letter for letter in "rwm" if access & _BITS[letter])


def reduce(rules: "list[Rule]") -> "tuple[bool, dict[Key, int]]":
    """Return the default (allowed?) and the exceptions to it, as cgroup v1 holds them.

    Raises UnsupportedResource when a rule takes a part out of an earlier wider one: v1
    knows exceptions to the default, but none to an exception.
    """
    default = False
    exceptions: dict[Key, int] = {}
    for allow, kind, major, minor, access in rules:
        if kind == "a":
            default, exceptions = allow, {}
            continue
        key = (kind, major, minor)
        if allow != default:
            exceptions[key] = exceptions.get(key, 0) | access
            continue
        for other, bits in list(exceptions.items()):
            if not bits & access or not _overlap(key, other):
                continue
            if not _covers(key, other):
                raise UnsupportedResource(
                    "devices", f"cgroup v1 cannot except {show(key)} from {show(other)}"
                )
            exceptions[other] = bits & ~access
    return default, {key: bits for key, bits in exceptions.items() if bits}


def _overlap(one: "Key", other: "Key") -> bool:
    return one[0] == other[0] and all(
        a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True)
    )


def _covers(wide: "Key", narrow: "Key") -> bool:
    return wide[0] == narrow[0] and all(
        a is None or a == b for a, b in zip(wide[1:], narrow[1:], strict=True)
    )


def show(key: "Key") -> str:
    """Return ``c 1:3`` with ``*`` for any number, as cgroup v1 writes it."""
    kind, major, minor = key
    return f"{kind} {'*' if major is None else major}:{'*' if minor is None else minor}"
