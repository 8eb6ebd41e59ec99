"""Which devices a group may use: devices.allow, devices.deny.

Kernel Documentation/admin-guide/cgroup-v1/devices.rst.
"""

from knarr.cgroups import devicerules, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.devicerules import Key
    from knarr.cgroups.files import Write

CONTROLLER = "devices"
ALLOW, DENY = "devices.allow", "devices.deny"


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``devices``: the default first, then the exceptions to it.

    ValueError for bad rules, UnsupportedResource for a list that v1 cannot express.
    """
    if resources.get("devices") == devicerules.USUAL:
        return _usual
    return _plan(resources)


def _plan(resources: "Mapping[str, Any]") -> "list[Write]":
    rules = devicerules.parse(resources)
    if not rules:
        return []
    default, exceptions = devicerules.reduce(rules)
    file = DENY if default else ALLOW
    writes = [(ALLOW if default else DENY, "a", "devices")]
    writes += [(file, _line(key, bits), "devices") for key, bits in exceptions.items()]
    return writes


def _line(key: "Key", bits: int) -> str:
    return f"{devicerules.show(key)} {devicerules.letters(bits)}"


_usual = _plan({"devices": devicerules.USUAL})


def former(directory: str, writes: "Iterable[Write]") -> "list[Write]":
    """Return the writes for ``apply`` that make the list what it is now."""
    del writes
    lines = files.read(f"{directory}/devices.list").splitlines()
    if "a *:* rwm" in lines:
        return [(ALLOW, "a", "devices")]
    return [(DENY, "a", "devices"), *((ALLOW, line, "devices") for line in lines)]


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    A running container must not lose for a moment what it keeps, and the kernel lets
    the default change only in a group without children: with a default that stays
    "deny", what is new is allowed first and what is no longer listed denied then.
    """
    todo = list(writes)
    current = files.read(f"{directory}/devices.list").split("\n") if update else []
    if update and todo[:1] == [(DENY, "a", "devices")] and "a *:* rwm" not in current:
        wanted = {key: bits for key, _, bits in (value.rpartition(" ") for _, value, _ in todo[1:])}
        todo = todo[1:]
        for key, _, bits in (line.rpartition(" ") for line in current if line):
            lost = "".join(bit for bit in bits if bit not in wanted.get(key, ""))
            if lost:
                todo.append((DENY, f"{key} {lost}", "devices"))
    files.carry_out(directory, todo)
