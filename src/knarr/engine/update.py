"""``update``: other limits for a container, at once where it runs, and another restart policy.

What holds for one that runs is changed first, since the kernel may refuse it; then spec
and row are replaced, from which the next start and ``inspect`` take it.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.cgroups.errors import UnsupportedResource
from knarr.engine import discarded, held, pause, restartrules, spec_resources, waiting
from knarr.engine.blueprint import encode
from knarr.engine.create import write_spec
from knarr.engine.model import ContainerConfig, Limits, ThrottleDevice
from knarr.engine.records import REMOVING
from knarr.engine.speccontext import gather
from knarr.engine.state import read_state_file
from knarr.engine.translate import translated
from knarr.supervisor import restart as policies

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import RestartPolicy
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

Resources = dict[str, Any]
# That many are told of a limit, one after the death of the other.
_SUPERVISORS = 3

_NOT_BOTH = (
    ("cpu_period", "nano_cpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("cpu_quota", "nano_cpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
    ("nano_cpus", "cpu_quota", "NanoCPUs cannot be updated as CPU Quota has already been set"),
    ("nano_cpus", "cpu_period", "NanoCPUs cannot be updated as CPU Period has already been set"),
)


def update(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    limits: Limits | None,
    restart: RestartPolicy | None,
) -> None:
    """Change the container. Raises InvalidArgument, Conflict, NotFound and what the kernel says."""
    with translated(f"container {record.name}"), paths.locked():
        state = held.settled(engine, record, paths)
        now = held.row(engine, paths)
        if now.state == REMOVING:
            raise errors.Conflict(
                f"Cannot update container {record.id}: container is marked for removal and cannot "
                'be "update"'
            )
        config = now.config
        if restart is not None:
            _check_policy(now, restart)
            config = replace(config, restart=restart)
        if limits is not None:
            limits = discarded.kept(engine.machine, limits)
            config = replace(config, limits=merged(config.limits, limits, record.id))
            rules = engine.policy.rules()
            if rules is not None:
                rules.limits(config.limits)
            _set_limits(engine, now, paths, config, running=state.running)
        engine.table.configure(record.id, config)
        if restart is not None:
            wanted = policies.rules(paths.exit)
            if wanted is None:
                stopped = not (state.running or state.restarting)
            else:
                stopped = bool(wanted.get("stopped"))
            restartrules.write(engine.settings, paths, restart, stopped=stopped)
            if restart.name == "no":
                restartrules.cancel(paths)


def merged(now: Limits, given: Limits, container_id: str = "") -> Limits:
    """Return limits with those that are given in place. Raises Conflict in Docker's words."""
    for name, other, text in _NOT_BOTH:
        if getattr(given, name) and getattr(now, other):
            raise _cannot(container_id, f"Conflicting options: {text}")
    found = {each.name: getattr(given, each.name) for each in fields(Limits)}
    chosen = {name: value for name, value in found.items() if value not in (None, (), False)}
    for name, value in chosen.items():
        if isinstance(value, tuple):
            chosen[name] = _by_device(getattr(now, name), value)
    # As with Docker, a limit that came alone has brought twice as much with swap.
    swap = now.memory_swap or 2 * (now.memory or 0)
    if given.memory and not given.memory_swap and swap:
        if given.memory > swap > 0:
            raise _cannot(
                container_id,
                "Memory limit should be smaller than already set memoryswap limit, update the "
                "memoryswap at the same time",
            )
        chosen["memory_swap"] = swap
    return replace(now, **chosen)


def _by_device(
    now: tuple[ThrottleDevice, ...], given: tuple[ThrottleDevice, ...]
) -> tuple[ThrottleDevice, ...]:
    paths = {device.path for device in given}
    return (*(device for device in now if device.path not in paths), *given)


def _check_policy(record: ContainerRecord, restart: RestartPolicy) -> None:
    if record.auto_remove and restart.name != "no":
        raise _cannot(
            record.id,
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        )


def _set_limits(
    engine: Engine, record: ContainerRecord, paths: Paths, config: ContainerConfig, *, running: bool
) -> None:
    """Put limits into force and into the spec. Raises what the kernel says, nothing done."""
    with open(paths.spec, "rb") as file:
        spec = json.loads(file.read())
    before: Resources = spec["linux"]["resources"]
    wanted = {name: value for name, value in before.items() if name == "devices"}
    wanted |= _resources(engine, config)
    if running:
        changed = {name: value for name, value in wanted.items() if value != before.get(name)}
        if config.limits.memory_swap == -1 and "memory" in wanted:
            changed["memory"] = {**wanted["memory"], "swap": -1}
        try:
            pause.running_group(paths).update(changed)
        except (ValueError, UnsupportedResource, OSError) as error:
            raise _cannot(record.id, str(error)) from error
    spec["linux"]["resources"] = wanted
    write_spec(paths, encode(spec), durable=not record.auto_remove)
    if running and (wanted.get("memory") or {}).get("limit"):
        _have_kills_told(record, paths)


def _have_kills_told(record: ContainerRecord, paths: Paths) -> None:
    """Have out-of-memory kills told when they happen, also of one that had no limit before.

    A supervisor that dies meanwhile has a successor. One of an older knarr does not understand;
    it tells at the container's end.
    """
    for _ in range(_SUPERVISORS):
        if (read_state_file(paths.state) or {}).get("oom"):
            return
        attachment = waiting.reach(record, paths)
        if attachment is None:
            return  # it has ended
        with attachment:
            attachment.limited()
            attachment.settle()


def _resources(engine: Engine, config: ContainerConfig) -> Resources:
    """Return ``linux.resources`` for the limits alone, checked as when a container is made."""
    only = ContainerConfig(config.image, limits=config.limits)
    context = gather(
        only, id="", cgroups_path="", files={}, cgroup_version=engine.machine.cgroups.version or 2
    )
    found = spec_resources.resources(only, context)
    return {name: value for name, value in found.items() if name != "devices"}


def _cannot(container_id: str, reason: str) -> errors.Conflict:
    return errors.Conflict(f"Cannot update container {container_id}: {reason}")
