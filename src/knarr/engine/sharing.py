"""Namespaces of the host or of other containers: ``--network``, ``--pid``, ``--ipc``, ``--uts``.

``container:NAME`` is settled to the other's id when a container is created. Who shares
with a container that has a user namespace is in that as well (``userns`` then has its
owner): the kernel lets nobody else mount or configure what belongs to it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.engine.model import OTHER
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.errors import Conflict, InvalidArgument
from knarr.supervisor import state as states

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord

_ALWAYS = (None, "", "default", "bridge", "host", "none")
_FILES = {"network": "net", "pid": "pid", "ipc": "ipc", "user": "user", "mount": "mnt"}


def others(config: ContainerConfig) -> dict[str, str]:
    """Return spec name of a namespace -> the container (id, or name) whose it is."""
    asked = {"network": config.network, "pid": config.pid, "ipc": config.ipc}
    return {
        kind: mode.removeprefix(OTHER)
        for kind, mode in asked.items()
        if mode and mode.startswith(OTHER)
    }


def user_owner(config: ContainerConfig) -> str | None:
    """Return the id of the container whose user namespace is joined, None without one."""
    userns = config.userns or ""
    return userns.removeprefix(OTHER) if userns.startswith(OTHER) else None


def is_plain(config: ContainerConfig) -> bool:
    """Return whether nothing but the network can be anybody else's; a quick look."""
    return not (
        user_owner(config) is not None
        or config.pid
        or config.ipc
        or config.uts
        or config.cgroupns
        or (config.network and config.network.startswith(OTHER))
    )


def has_own_network(config: ContainerConfig) -> bool:
    """Return whether a container's network namespace is its own, with interfaces or without."""
    return config.network != "host" and not (config.network or "").startswith(OTHER)


def is_networked(config: ContainerConfig) -> bool:
    """Return whether a container is to be on networks that give it interfaces."""
    named = {each.network for each in config.endpoints or ()} | {config.network or "none"}
    return not named <= {"none", "host"}


def is_plainly_networked(config: ContainerConfig) -> bool:
    """Return whether a container's network is one that is always there; a quick look."""
    return config.endpoints is None and config.network in _ALWAYS


def paths(config: ContainerConfig) -> dict[str, str]:
    """Return spec name -> ``container:ID`` of each namespace that is joined, the user's too."""
    found = {kind: OTHER + other for kind, other in others(config).items()}
    owner = user_owner(config)
    return found if owner is None else {**found, "user": OTHER + owner}


def settled(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return the configuration with ids for names, and the user namespace that follows.

    Raises InvalidArgument in Docker's words, NotFound.
    """
    _check(config)
    wanted = others(config)
    if not wanted:
        return config
    rows = {kind: engine.table.find(name) for kind, name in wanted.items()}
    modes = {kind: OTHER + row.id for kind, row in rows.items()}
    config = replace(
        config,
        network=modes.get("network", config.network),
        pid=modes.get("pid", config.pid),
        ipc=modes.get("ipc", config.ipc),
    )
    owners = {_owner(row) for row in rows.values()}
    if len(owners) > 1:
        raise InvalidArgument("the containers whose namespaces are joined differ in user namespace")
    (owner,) = owners
    if config.privileged and owner is not None:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces, which container"
            f" {owner[:12]} has"
        )
    return replace(config, userns="host" if owner is None else OTHER + owner)


def _check(config: ContainerConfig) -> None:
    """Raise InvalidArgument for a mode that there is not, or that conflicts."""
    if (config.network or "").startswith(OTHER):
        _check_network(config)
    if config.pid and config.pid != "host" and config.pid.removeprefix(OTHER) in ("", config.pid):
        raise InvalidArgument(f"invalid PID mode: {config.pid}")
    if config.uts not in (None, "", "host"):
        raise InvalidArgument(f"invalid UTS mode: {config.uts}")
    if config.uts and (config.hostname or config.domainname):
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if config.cgroupns not in (None, "", "private", "host"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {config.cgroupns}")
    _check_ipc(config.ipc or "")
    _check_users(config)


def _check_network(config: ContainerConfig) -> None:
    """Names and resolver are the other container's."""
    if config.network == OTHER:
        raise InvalidArgument("Invalid network mode: invalid container format container:<name|id>")
    if config.hostname:
        raise InvalidArgument("conflicting options: hostname and the network mode")
    if config.dns or config.dns_search or config.dns_options:
        raise InvalidArgument("conflicting options: dns and the network mode")
    if config.extra_hosts:
        raise InvalidArgument("conflicting options: custom host-to-IP mapping and the network mode")
    for what, said in (
        ("publishing", config.ports or config.publish_all),
        ("exposing", config.expose),
    ):
        if said:
            raise InvalidArgument(
                f"conflicting options: port {what} and the container type network mode"
            )
    if any(each.mac for each in config.endpoints or ()):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    if config.endpoints:
        raise InvalidArgument("conflicting options: addresses and the network mode")


def _check_ipc(ipc: str) -> None:
    if ipc.startswith(OTHER) and ipc != OTHER:
        return
    if ipc not in ("", "private", "none", "host", "shareable"):
        raise InvalidArgument(f"invalid IPC mode: {ipc}")


def _check_users(config: ContainerConfig) -> None:
    joined = user_owner(config) is not None
    if joined and not others(config):
        raise InvalidArgument(f"invalid USER mode: {config.userns}")
    if joined or config.userns in (None, "", "host"):
        return
    for name, mode in (("PID", config.pid), ("IPC", config.ipc), ("cgroup", config.cgroupns)):
        if mode == "host":
            raise InvalidArgument(
                f"cannot share the host {name} namespace when user namespaces are enabled"
            )


def _owner(row: ContainerRecord) -> str | None:
    """Return the id of the container whose user namespace ``row`` is in; None: the host's."""
    return user_owner(row.config) if row.id_slot is None else row.id


def first_id(engine: Engine, config: ContainerConfig) -> int | None:
    """Return the host id that is 0 in the user namespace that is joined, None without one."""
    owner = user_owner(config)
    if owner is None:
        return None
    slot = engine.table.find(owner).id_slot
    return None if slot is None else engine.ranges.first_id(slot)


def network_owner(engine: Engine, config: ContainerConfig) -> ContainerRecord | None:
    """Return the container whose network, names and resolver these are, None for one's own."""
    row = None
    while (name := others(config).get("network")) is not None:
        row = engine.table.find(name)
        config = row.config
    return row


def opened(engine: Engine, record: ContainerRecord) -> dict[str, int]:
    """Return spec name -> descriptor of each namespace to join; the caller closes them.

    Raises Conflict when its container does not run, NotFound when it is gone.
    """
    found: dict[str, int] = {}
    try:
        for kind, other in others(record.config).items():
            pid = _pid(engine, record, kind, other)
            found[kind] = _open(pid, kind)
            if kind == "ipc":
                found["mount"] = _open(pid, "mount")  # for its /dev/shm
            if "user" not in found and user_owner(record.config) is not None:
                found["user"] = _open(pid, "user")
    except BaseException:  # also a signal's: nobody else knows the descriptors
        for handle in found.values():
            os.close(handle)
        raise
    return found


def _open(process: tuple[int, int, str], kind: str) -> int:
    """Return a descriptor of a process's namespace, checked to be that process's."""
    pid, started, problem = process
    try:
        handle = os.open(f"/proc/{pid}/ns/{_FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise Conflict(problem) from None
    if states.start_time(pid) != started:
        os.close(handle)
        raise Conflict(problem)
    return handle


def _pid(engine: Engine, record: ContainerRecord, kind: str, other: str) -> tuple[int, int, str]:
    """Return pid and start time of another container's first process, and what to say if gone."""
    row = engine.table.find(other)
    if row.id == record.id:
        raise Conflict("cannot join own network")
    if kind == "ipc":
        problem = f"can't join IPC of container {row.id}: container {row.id} is not running"
        if row.config.ipc not in ("shareable", "host"):
            raise Conflict(
                f"can't join IPC of container {row.id}: non-shareable IPC "
                "(hint: use IpcMode:shareable for the donor container)"
            )
    elif kind == "network":
        problem = f"cannot join network of a non running container: {row.id}"
    else:
        problem = f"cannot join PID of a non running container: {row.id}"
    state = merged(row, Paths(engine.settings, row.id))
    if not state.running:
        raise Conflict(problem)
    return state.pid, state.start_time, problem
