"""The sections of an explanation that are lists: mounts, control groups, network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from knarr.cli import human, listing
from knarr.cli.portscolumn import text as ports_text

Facts = dict[str, Any]
# Kinds of mounts that are told in one line: there are many, all for the same reason.
_TOGETHER = ("device", "masked", "read-only")
_GROUPS = "/sys/fs/cgroup/"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return cells in columns, as lines; what is no letter in one is a question mark."""
    shown = [[human.visible(cell) for cell in row] for row in rows]
    return [line.rstrip() for line in listing.align(shown, 1).split("\n")[:-1]]


def mounts(found: Sequence[Facts]) -> Iterator[str]:
    """Yield the lines of mounts, with those of one kind together where there are many."""
    rows = [("WHERE", "WHAT", "OPTIONS", "WHY")]
    together: dict[str, list[str]] = {}
    hierarchies: list[str] = []
    reasons: dict[str, str] = {}
    for each in found:
        kind, place = each["Kind"], each["Destination"]
        reasons.setdefault(kind, each["Why"])
        if kind in _TOGETHER:
            if place not in together.setdefault(kind, []):
                together[kind].append(place)
        elif kind == "default" and place.startswith(_GROUPS):
            hierarchies.append(place.removeprefix(_GROUPS))
        elif kind != "root":
            shared = "" if each["Propagation"] in ("", "private") else f",{each['Propagation']}"
            options = ",".join(each["Options"]) + shared
            path = each["Source"].startswith("/")
            origin = f"{each['Source']} ({each['Type']})" if path else each["Type"]
            rows.append((place, origin, options, each["Why"]))
    yield from table(rows)
    if hierarchies:
        yield f"{_GROUPS}{{{','.join(hierarchies)}}}: its own control groups in each hierarchy"
    for kind in _TOGETHER:
        if kind in together:
            yield f"{' '.join(together[kind])}: {reasons[kind]}"


def groups(found: Facts) -> Iterator[str]:
    """Yield the lines of control groups: where they are, what is limited and used."""
    if not found["Version"]:
        yield "none: knarr was told not to use them, so nothing is limited or counted"
        return
    yield f"version {found['Version']} ({found['Manager']}), group {found['Path']}"
    yield from _directories(found)
    rows = [("WHAT", "LIMIT", "IN USE", "FILES")]
    for each in found["Limits"]:
        if each["Limit"] is None and each["Use"] is None:
            continue
        files = (each[kind].rpartition("/")[2] for kind in ("LimitFile", "UseFile") if each[kind])
        use = _value(each["Use"], each["Unit"], "-")
        rows.append((each["Name"], _limit(each), use, " ".join(files)))
    if len(rows) > 1:
        yield from table(rows)
    if found["Devices"]:
        yield f"devices it may use: {', '.join(found['Devices'])}"
    if found["Frozen"]:
        yield "frozen: all its processes stand still"


def _directories(found: Facts) -> Iterator[str]:
    """Yield where the group is in each hierarchy: in one line for all with paths of one form."""
    path = found["Path"]
    places: dict[str, list[str]] = {}
    for controller, directory in found["Directories"].items():
        above, _, name = directory.removesuffix(path).rpartition("/")
        if directory.endswith(path) and controller != "unified":
            names = places.setdefault(above, [])
            if name not in names:
                names.append(name)
        else:
            yield f"{directory}: {controller}"
    for above, names in places.items():
        yield f"{above}/{{{','.join(names)}}}{path}"


def _limit(each: Facts) -> str:
    if each["Period"] is not None and each["Limit"] is not None:
        share = each["Limit"] / each["Period"] if each["Period"] else 0
        return f"{share:.2f} processors ({each['Limit']} of {each['Period']} us)"
    return _value(each["Limit"], each["Unit"], "none")


def _value(value: Any, unit: str, nothing: str) -> str:
    if value is None:
        return nothing
    if unit == "bytes":
        return human.binary_size(value)
    if unit == "ns":
        return f"{value / 1e6:.1f} ms"
    return " ".join(str(value).split())


def network(found: Facts) -> Iterator[str]:
    """Yield the lines of interfaces, routes, published ports and name servers."""
    yield f"mode: {found['Mode']}" + (
        ": interfaces, addresses and ports are the host's" if found["Mode"] == "host" else ""
    )
    if found["Interfaces"]:
        rows = [("INTERFACE", "KIND", "ADDRESSES", "MAC", "MTU", "OTHER END")]
        for each in found["Interfaces"]:
            other = f"{each['Peer']} on this host" if each["Peer"] else ""
            other += f", a port of bridge {each['Bridge']}" if each["Bridge"] else ""
            name = each["Name"] + ("" if each["Up"] else " (down)")
            addresses = " ".join(each["Addresses"])
            rows.append((name, each["Kind"], addresses, each["Mac"], str(each["Mtu"]), other))
        yield from table(rows)
    for each in found["Routes"]:
        via = f" via {each['Gateway']}" if each["Gateway"] else ""
        yield f"route {each['Destination']}{via} over {each['Interface']}"
    for name, each in found["Networks"].items():
        address = each["IPAddress"] or each["GlobalIPv6Address"]
        if address:
            yield f"network {name} ({each['NetworkID'][:12]}): {address}"
    if found["Ports"]:
        yield f"ports: {ports_text(found['Ports'])}"
    if found["Egress"] is not None:
        yield f"reaches nothing outside but: {', '.join(found['Egress']) or 'nothing'}"
    resolver = found["Resolver"]
    if resolver["File"]:
        servers = ", ".join(resolver["Servers"]) or "none"
        yield f"name servers: {servers} (from {resolver['File']})"
