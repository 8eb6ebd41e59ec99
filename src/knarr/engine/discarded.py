"""Limits that the control groups of this machine do not have: left out with a warning.

As Docker does it, flag by flag and in its words (moby's ``verifyPlatformContainerResources``).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knarr.engine.model import Limits

if TYPE_CHECKING:
    from knarr.engine.machine import Machine

_log = logging.getLogger("knarr.engine")

_NONE = Limits()
_OR = "or the cgroup is not mounted."
_BLOCK = (
    "Your kernel does not support {0} Block {1} limit " + _OR + " Block I/O {2} limit discarded."
)
# A limit -> the field of linux.resources that it becomes, what takes its place, Docker's text.
_FIELDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "memory": (
        "memory.limit",
        {"memory": None, "memory_swap": -1},
        f"Your kernel does not support memory limit capabilities {_OR} Limitation discarded.",
    ),
    "memory_swap": (
        "memory.swap",
        {"memory_swap": -1},
        f"Your kernel does not support swap limit capabilities {_OR} Memory limited without swap.",
    ),
    "memory_swappiness": (
        "memory.swappiness",
        {"memory_swappiness": None},
        (
            f"Your kernel does not support memory swappiness capabilities {_OR} "
            "Memory swappiness discarded."
        ),
    ),
    "memory_reservation": (
        "memory.reservation",
        {"memory_reservation": None},
        f"Your kernel does not support memory soft limit capabilities {_OR} Limitation discarded.",
    ),
    "oom_kill_disable": (
        "memory.disableOOMKiller",
        {"oom_kill_disable": False},
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
    ),
    "pids": (
        "pids.limit",
        {"pids": None},
        f"Your kernel does not support PIDs limit capabilities {_OR} PIDs limit discarded.",
    ),
    "cpu_shares": (
        "cpu.shares",
        {"cpu_shares": None},
        f"Your kernel does not support CPU shares {_OR} Shares discarded.",
    ),
    "cpu_quota": (
        "cpu.quota",
        {"cpu_period": None, "cpu_quota": None},
        "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
    ),
    "cpuset_cpus": (
        "cpu.cpus",
        {"cpuset_cpus": None, "cpuset_mems": None},
        f"Your kernel does not support cpuset {_OR} Cpuset discarded.",
    ),
    "blkio_weight": (
        "blockIO.weight",
        {"blkio_weight": None},
        f"Your kernel does not support Block I/O weight {_OR} Weight discarded.",
    ),
    "blkio_weight_device": (
        "blockIO.weightDevice",
        {"blkio_weight_device": ()},
        f"Your kernel does not support Block I/O weight_device {_OR} Weight-device discarded.",
    ),
    "device_read_bps": (
        "blockIO.throttleReadBpsDevice",
        {"device_read_bps": ()},
        _BLOCK.format("BPS", "I/O read", "BPS read"),
    ),
    "device_write_bps": (
        "blockIO.throttleWriteBpsDevice",
        {"device_write_bps": ()},
        _BLOCK.format("BPS", "I/O write", "BPS write"),
    ),
    "device_read_iops": (
        "blockIO.throttleReadIOPSDevice",
        {"device_read_iops": ()},
        _BLOCK.format("IOPS", "read", "IOPS read"),
    ),
    "device_write_iops": (
        "blockIO.throttleWriteIOPSDevice",
        {"device_write_iops": ()},
        _BLOCK.format("IOPS", "write", "IOPS write"),
    ),
}
# Limits of which one stands for both.
_TOGETHER = {"cpu_period": "cpu_quota", "cpuset_mems": "cpuset_cpus"}
_UNGUARDED = (
    "OOM killer is disabled for the container, but no memory limit is set, "
    "this can result in the system running out of resources."
)


def kept(machine: Machine, limits: Limits) -> Limits:
    """Return the limits without those that this machine cannot keep; warn of each."""
    if limits == _NONE:
        return limits
    asked = _asked(limits)
    lacking = machine.cgroups.lacking([_FIELDS[name][0] for name in asked])
    for name in asked:
        field, instead, text = _FIELDS[name]
        # Without a memory limit there is none of swap that would have to be told of.
        if field in lacking and not (name == "memory_swap" and not limits.memory):
            _log.warning(text)
            limits = replace(limits, **instead)
    if limits.oom_kill_disable and not limits.memory:
        _log.warning(_UNGUARDED)
    return limits


def _asked(limits: Limits) -> list[str]:
    """Return the names of the limits that are set, in the order in which Docker looks at them.

    A limit of memory brings one of swap; none of either is asked of nobody.
    """
    # A swappiness of 0 is one.
    found = {
        name
        for name in _FIELDS
        if (value := getattr(limits, name)) is not None and value is not False and value != ()
    }
    found |= {other for name, other in _TOGETHER.items() if getattr(limits, name) is not None}
    if limits.memory:
        found.add("memory_swap")
    if limits.memory_swap == -1:
        found.discard("memory_swap")
    if limits.pids is not None and limits.pids <= 0:
        found.discard("pids")
    return [name for name in _FIELDS if name in found]
