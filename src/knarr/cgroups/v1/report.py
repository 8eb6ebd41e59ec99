"""What the controllers of cgroup v1 tell, section by section (``cgroups.report``)."""

import os

from knarr.cgroups import files
from knarr.cgroups.v2.report import CPUSET_FLAGS, lines, page_sizes, sets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Section = dict[str, Any]
    Entries = list[dict[str, Any]]

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")  # ns
_BLKIO = {
    "ioServiceBytesRecursive": "io_service_bytes_recursive",
    "ioServicedRecursive": "io_serviced_recursive",
    "ioQueueRecursive": "io_queued_recursive",
    "ioServiceTimeRecursive": "io_service_time_recursive",
    "ioWaitTimeRecursive": "io_wait_time_recursive",
    "ioMergedRecursive": "io_merged_recursive",
    "ioTimeRecursive": "time_recursive",
    "sectorsRecursive": "sectors_recursive",
}
# BFQ has all of them in kernels that were built to look into it; what is throttled has two.
_PREFIXES = ("bfq.", "throttle.")


def cpu(accounted: str, limited: str) -> "Section":
    """Return use and throttling, from the directories of cpuacct and cpu, "" without one."""
    waited = files.read_keyed(f"{limited}/cpu.stat") if limited else {}
    throttling = {
        "periods": waited.get("nr_periods", 0),
        "throttledPeriods": waited.get("nr_throttled", 0),
        "throttledTime": waited.get("throttled_time", 0),
    }
    usage: Section = {"kernel": 0, "user": 0}
    if accounted:
        used = files.read_keyed(f"{accounted}/cpuacct.stat")
        usage["total"] = files.read_int(f"{accounted}/cpuacct.usage") or 0
        usage["kernel"] = used.get("system", 0) * _TICK
        usage["user"] = used.get("user", 0) * _TICK
        usage["percpu"] = [
            int(one) for one in " ".join(lines(f"{accounted}/cpuacct.usage_percpu")).split()
        ]
        table = [line.split() for line in lines(f"{accounted}/cpuacct.usage_all")[1:]]
        usage["percpu_user"] = [int(row[1]) for row in table]
        usage["percpu_kernel"] = [int(row[2]) for row in table]
    return {"usage": usage, "throttling": throttling}


def cpuset(directory: str) -> "Section":
    """Return processors, nodes and flags."""
    found = sets(directory, "")
    for name in CPUSET_FLAGS:
        found[name] = files.read_int(f"{directory}/cpuset.{name}") or 0
    return found


def memory(directory: str) -> "Section":
    """Return memory, memory with swap, that of the kernel, and the whole of memory.stat."""
    raw = files.read_keyed(f"{directory}/memory.stat")
    return {
        "cache": raw.get("cache", 0),
        "usage": _amount(f"{directory}/memory."),
        "swap": _amount(f"{directory}/memory.memsw."),
        "kernel": _amount(f"{directory}/memory.kmem."),
        "kernelTCP": _amount(f"{directory}/memory.kmem.tcp."),
        "raw": raw,
    }


def _amount(prefix: str) -> "Section":
    return {
        "limit": files.read_int(f"{prefix}limit_in_bytes") or 0,
        "usage": files.read_int(f"{prefix}usage_in_bytes") or 0,
        "max": files.read_int(f"{prefix}max_usage_in_bytes") or 0,
        "failcnt": files.read_int(f"{prefix}failcnt") or 0,
    }


def blkio(directory: str) -> "Section":
    """Return transfers by device, those that BFQ counts where it counts any."""
    found: Section = {}
    for prefix in _PREFIXES:
        found = {key: _entries(f"{directory}/blkio.{prefix}{n}") for key, n in _BLKIO.items()}
        if any(found.values()):
            break
    return {key: entries for key, entries in found.items() if entries}


def _entries(path: str) -> "Entries":
    found = []
    for line in lines(path):
        device, *operation, value = line.split()
        major, colon, minor = device.partition(":")
        if colon:  # the last line is the sum of all
            entry: Section = {"major": int(major), "minor": int(minor)}
            if operation:
                entry["op"] = operation[0]
            found.append(entry | {"value": int(value)})
    return found


def hugetlb(directory: str) -> "Section":
    """Return use by size of page: of reserved ones where the kernel counts them (5.7)."""
    found = {}
    for size in page_sizes(directory, ".limit_in_bytes"):
        prefix = f"{directory}/hugetlb.{size}.rsvd."
        if not os.path.exists(f"{prefix}usage_in_bytes"):
            prefix = f"{directory}/hugetlb.{size}."
        amount = _amount(prefix)
        del amount["limit"]
        found[size] = amount
    return found
