"""``linux.resources`` of a spec: limits checked with Docker's rules and texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from knarr.cgroups import devicerules
from knarr.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig, Limits, ThrottleDevice
    from knarr.engine.speccontext import BuildContext

MIN_MEMORY = 6 * 1024 * 1024  # less does not hold a process and what starts it
CFS_PERIOD = 100_000  # microseconds
_DEVICE_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})", re.ASCII)


def resources(config: ContainerConfig, ctx: BuildContext) -> dict[str, Any]:
    """Return ``linux.resources``; controllers without a limit are left out.

    Raises InvalidArgument with Docker's texts for limits out of range.
    """
    limits = config.limits
    result: dict[str, Any] = {"devices": _devices(config, ctx)}
    memory, cpu, block = _memory(limits), _cpu(limits, ctx), _block_io(limits, ctx)
    memory.update(_oom(limits))
    if memory:
        result["memory"] = memory
    if cpu:
        result["cpu"] = cpu
    if block:
        result["blockIO"] = block
    if limits.pids is not None:
        result["pids"] = {"limit": limits.pids if limits.pids > 0 else -1}
    return result


def _devices(config: ContainerConfig, ctx: BuildContext) -> list[dict[str, Any]]:
    """Return who may do what: the usual, the devices asked for, then the caller's own rules."""
    if config.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules = [dict(rule) for rule in devicerules.USUAL]
    for node in ctx.devices:
        rules.append({
            "allow": True, "type": node.type, "major": node.major, "minor": node.minor,
            "access": node.access,
        })  # fmt: skip
    return rules + [device_rule(text) for text in config.device_cgroup_rules]


def device_rule(text: str) -> dict[str, Any]:
    """Return the rule that ``c 13:* rwm`` means. Raises InvalidArgument in Docker's words."""
    found = _DEVICE_RULE.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"invalid device cgroup format '{text}'")
    rule: dict[str, Any] = {"allow": True, "type": found[1], "access": found[4]}
    for name, number in (("major", found[2]), ("minor", found[3])):
        if number != "*":
            rule[name] = int(number)
    return rule


def _memory(limits: Limits) -> dict[str, int]:
    """Return ``memory``, in bytes. Swap counts memory plus swap and is twice the limit if unset."""
    limit, reservation = limits.memory or 0, limits.memory_reservation or 0
    swap = limits.memory_swap or 0
    if limit < 0 or reservation < 0 or swap < -1:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if 0 < limit < MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if limit and 0 < swap < limit:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if not limit and swap > 0:
        raise InvalidArgument(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < reservation < MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if limit and reservation > limit:
        raise InvalidArgument(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if limit and not swap:
        swap = limit * 2
    values = {"limit": limit, "reservation": reservation, "swap": max(swap, 0)}
    return {name: value for name, value in values.items() if value}


def _oom(limits: Limits) -> dict[str, Any]:
    """Return what control groups of version 1 alone can: swappiness, and waiting for memory."""
    result: dict[str, Any] = {}
    swappiness = limits.memory_swappiness
    if swappiness is not None:
        if not 0 <= swappiness <= 100:
            raise InvalidArgument(
                f"invalid value: {swappiness}. Valid memory swappiness range is 0-100"
            )
        result["swappiness"] = swappiness
    if limits.oom_kill_disable:
        result["disableOOMKiller"] = True
    return result


def _cpu(limits: Limits, ctx: BuildContext) -> dict[str, Any]:
    result: dict[str, Any] = {}
    shares = limits.cpu_shares or 0
    if shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({shares}): value must be a positive integer")
    if shares:
        result["shares"] = shares
    result.update(_cpu_time(limits, ctx.cpu_count))
    result.update(_realtime(limits, ctx))
    for key, value, available, kind, noun in (
        ("cpus", limits.cpuset_cpus, ctx.cpus, "cpus", "CPUs"),
        ("mems", limits.cpuset_mems, ctx.mems, "mems", "memory nodes"),
    ):
        if value:
            wanted = parse_cpu_list(value, kind)
            if available is not None and not wanted <= parse_cpu_list(available, kind):
                raise InvalidArgument(
                    f"Requested {noun} are not available - requested {value},"
                    f" available: {available}"
                )
            result[key] = value
    return result


def _cpu_time(limits: Limits, cpu_count: int) -> dict[str, int]:
    """Return quota and period, both in microseconds."""
    nano, period, quota = limits.nano_cpus or 0, limits.cpu_period or 0, limits.cpu_quota or 0
    if nano and period:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and quota:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if not 0 <= nano <= cpu_count * 10**9:
        raise InvalidArgument(
            f"Range of CPUs is from 0.01 to {cpu_count}.00,"
            f" as there are only {cpu_count} CPUs available"
        )
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if nano:
        period, quota = CFS_PERIOD, nano * CFS_PERIOD // 10**9
    return {k: v for k, v in (("quota", quota), ("period", period)) if v}


def _realtime(limits: Limits, ctx: BuildContext) -> dict[str, int]:
    """Return the share of real-time scheduling, in microseconds."""
    period, runtime = limits.cpu_rt_period or 0, limits.cpu_rt_runtime or 0
    if (period or runtime) and not ctx.realtime:
        raise Unsupported("kernel does not support CPU real-time scheduler")
    if period and runtime > period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")
    return {k: v for k, v in (("realtimePeriod", period), ("realtimeRuntime", runtime)) if v}


def parse_cpu_list(text: str, kind: str = "cpus") -> set[int]:
    """Return the numbers of a list such as ``0-2,7`` (cpuset(7)). Raises InvalidArgument."""
    result: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        numeric = all(n.isascii() and n.isdigit() and len(n) <= 5 for n in (first, last))
        if not numeric or int(first) > int(last):
            raise InvalidArgument(f"Invalid value {text} for cpuset {kind}")
        result.update(range(int(first), int(last) + 1))
    return result


def _block_io(limits: Limits, ctx: BuildContext) -> dict[str, Any]:
    result: dict[str, Any] = {}
    weight = limits.blkio_weight or 0
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if weight:
        result["weight"] = weight
    if limits.blkio_weight_device:
        result["weightDevice"] = [_weight(device, ctx) for device in limits.blkio_weight_device]
    for key, devices in (
        ("throttleReadBpsDevice", limits.device_read_bps),
        ("throttleWriteBpsDevice", limits.device_write_bps),
        ("throttleReadIOPSDevice", limits.device_read_iops),
        ("throttleWriteIOPSDevice", limits.device_write_iops),
    ):
        if devices:
            result[key] = [_throttle(device, ctx) for device in devices]
    return result


def _numbers(device: ThrottleDevice, ctx: BuildContext) -> tuple[int, int]:
    numbers = ctx.device_numbers.get(device.path)
    if numbers is None:
        raise InvalidArgument(f"stat {device.path}: no such file or directory")
    return numbers


def _weight(device: ThrottleDevice, ctx: BuildContext) -> dict[str, int]:
    major, minor = _numbers(device, ctx)
    if device.rate and not 10 <= device.rate <= 1000:
        raise InvalidArgument(f"invalid weight for device: {device.path}:{device.rate}")
    return {"major": major, "minor": minor, "weight": device.rate}


def _throttle(device: ThrottleDevice, ctx: BuildContext) -> dict[str, int]:
    major, minor = _numbers(device, ctx)
    if device.rate <= 0:
        raise InvalidArgument(f"invalid rate for device: {device.path}: must be positive")
    return {"major": major, "minor": minor, "rate": device.rate}
