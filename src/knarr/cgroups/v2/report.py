"""What the controllers of cgroup v2 tell, in the names of v1 (``cgroups.report``)."""

import os

from knarr.cgroups import convert, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Section = dict[str, Any]

_UNLIMITED = 2**64 - 1
CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
    "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip
_TRANSFERS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def cpu(directory: str) -> "Section":
    """Return use, throttling and pressure; the first is there without the controller."""
    found = files.read_keyed(f"{directory}/cpu.stat")
    usage = {
        "total": found.get("usage_usec", 0) * 1000,
        "kernel": found.get("system_usec", 0) * 1000,
        "user": found.get("user_usec", 0) * 1000,
    }
    throttling = {
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get("throttled_usec", 0) * 1000,
    }
    return {"usage": usage, "throttling": throttling, **_pressure(directory, "cpu")}


def _pressure(directory: str, name: str) -> "Section":
    """Return how long was waited (accounting/psi.rst), nothing where the kernel does not say."""
    found: Section = {}
    for line in lines(f"{directory}/{name}.pressure"):
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        found[kind] = {key: float(value) for key, value in values.items() if key != "total"}
        found[kind]["total"] = int(values.get("total", 0))
    return {"psi": found} if found else {}


def cpuset(directory: str) -> "Section":
    """Return processors and nodes; the flags of v1 are none here."""
    return sets(directory, ".effective") | dict.fromkeys(CPUSET_FLAGS, 0)


def memory(directory: str) -> "Section":
    """Return memory, memory with swap as v1 counts it, pressure, and the whole of memory.stat."""
    raw = files.read_keyed(f"{directory}/memory.stat")
    if not raw:
        return {}  # the controller is off
    events = files.read_keyed(f"{directory}/memory.events")
    usage = _amount(f"{directory}/memory.") | {"failcnt": events.get("max", 0)}
    swap = _amount(f"{directory}/memory.swap.")
    swap["usage"] += usage["usage"]
    swap["max"] = 0  # the peaks of both need not have been at one time
    if swap["limit"] != _UNLIMITED:
        swap["limit"] = min(swap["limit"] + usage["limit"], _UNLIMITED)
    return {
        "cache": raw.get("file", 0),
        "usage": usage,
        "swap": swap,
        "raw": raw,
        **_pressure(directory, "memory"),
    }


def _amount(prefix: str) -> "Section":
    limit, current = files.read_int(f"{prefix}max"), files.read_int(f"{prefix}current")
    if current is None:
        return {"limit": 0, "usage": 0, "max": 0, "failcnt": 0}  # swap is not accounted
    return {
        "limit": _UNLIMITED if limit is None else limit,
        "usage": current,
        "max": files.read_int(f"{prefix}peak") or 0,
        "failcnt": 0,
    }


def pids(directory: str) -> "Section":
    """Return how many there are and may be, 0 for any number."""
    current = files.read_int(f"{directory}/pids.current")
    if current is None:
        return {}
    return {"current": current, "limit": files.read_int(f"{directory}/pids.max") or 0}


def blkio(directory: str) -> "Section":
    """Return transfers by device and pressure."""
    found: Section = {}
    for line in lines(f"{directory}/io.stat"):
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name in _TRANSFERS:
                key, operation = _TRANSFERS[name]
                entry = {"major": int(major), "minor": int(minor), "op": operation}
                found.setdefault(key, []).append(entry | {"value": int(value)})
    return found | _pressure(directory, "io")


def hugetlb(directory: str) -> "Section":
    """Return use by size of page, of reserved ones where the kernel counts them (5.7)."""
    found = {}
    for size in page_sizes(directory, ".max"):
        prefix = f"{directory}/hugetlb.{size}."
        used = files.read_int(f"{prefix}rsvd.current")
        if used is None:
            used = files.read_int(f"{prefix}current") or 0
        events = files.read_keyed(f"{prefix}events")
        found[size] = {"usage": used, "max": 0, "failcnt": events.get("max", 0)}
    return found


def page_sizes(directory: str, ending: str) -> list[str]:
    """Return the sizes of huge pages that a group has files for, such as 2MB."""
    parts = (name.removesuffix(ending).split(".") for name in os.listdir(directory))
    return sorted(part[1] for part in parts if len(part) == 2 and part[0] == "hugetlb")


def sets(directory: str, ending: str) -> "Section":
    """Return processors and nodes from the files with an ending."""
    found: Section = {}
    for name in ("cpus", "mems"):
        words = _words(f"{directory}/cpuset.{name}{ending}")
        found[name] = convert.parse_list(words[0]) if words else []
    return found


def lines(path: str) -> list[str]:
    """Return the lines of a control file, none when it does not exist."""
    try:
        return files.read(path).splitlines()
    except OSError as error:
        if error.errno not in files.MISSING:
            raise
        return []


def _words(path: str) -> list[str]:
    return " ".join(lines(path)).split()
