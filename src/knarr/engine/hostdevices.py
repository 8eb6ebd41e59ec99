"""Device nodes of the host: those that a container asks for, and all of them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from knarr.cgroups import mounts
from knarr.engine.ids import RANGE_SIZE
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from knarr.engine.model import Device

_NOBODY = 65534  # as the kernel shows an id that is not mapped (user_namespaces(7))


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node of the host: type ``c`` or ``b``, numbers, permission bits and owner.

    path: inside the container. access: what of reading, writing, mknod it may be used for.
    """

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"


def host_devices(root: str = "/dev") -> Iterator[DeviceNode]:
    """Yield the device nodes below ``root`` that a privileged container gets, sorted by path.

    Left out, as Docker does: terminals of others (pts), shm, mqueue, fd and the console.
    """
    skipped = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}
    for directory, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - skipped)
        for name in sorted(files):
            path = os.path.join(directory, name)
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                continue  # devices come and go while we look
            if name != "console" and _is_device(info):
                yield _node(path, info)


def asked(devices: Sequence[Device]) -> tuple[DeviceNode, ...]:
    """Return the nodes that ``--device`` names; a directory stands for all devices below it.

    A symbolic link is followed. Raises InvalidArgument for what is no device.
    """
    found: dict[str, DeviceNode] = {}
    for device in devices:
        source = os.path.realpath(device.source)
        try:
            info = os.stat(source)
        except OSError as error:
            raise _not_found(device, str(error.strerror).lower()) from error
        if _is_device(info):
            nodes = [replace(_node(source, info), path=device.target)]
        elif stat.S_ISDIR(info.st_mode):
            nodes = [
                replace(node, path=device.target + node.path.removeprefix(source))
                for node in host_devices(source)
            ]
        else:
            nodes = []
        if not nodes:
            raise _not_found(device, "not a device node")
        found.update((node.path, replace(node, access=device.access)) for node in nodes)
    return tuple(found.values())


def files(directory: str, nodes: Sequence[DeviceNode]) -> dict[str, str]:
    """Return path in the container -> path of the node that `write` makes for it."""
    return {node.path: f"{directory}/device-{place}" for place, node in enumerate(nodes)}


def write(directory: str, nodes: Sequence[DeviceNode]) -> None:
    """Make nodes in ``directory`` for a container with ids of its own. Raises OSError.

    The host's nodes are on a file system whose ids cannot be mapped: there they would be
    nobody's, and useless. They have mode and owner of the host's, by number; an owner that the
    container has no id for is nobody, as a node of an unmapped id cannot be opened with O_CREAT.
    """
    paths = files(directory, nodes)
    for node in nodes:
        kind = stat.S_IFBLK if node.type == "b" else stat.S_IFCHR
        path = paths[node.path]
        os.mknod(path, kind | 0o600, os.makedev(node.major, node.minor))
        os.chown(path, *(n if n < RANGE_SIZE else _NOBODY for n in (node.uid, node.gid)))
        os.chmod(path, node.mode)


def _not_found(device: Device, why: str) -> InvalidArgument:
    return InvalidArgument(
        f'error gathering device information while adding custom device "{device.source}": {why}'
    )


def _is_device(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)


def _node(path: str, info: os.stat_result) -> DeviceNode:
    return DeviceNode(
        path,
        "c" if stat.S_ISCHR(info.st_mode) else "b",
        os.major(info.st_rdev),
        os.minor(info.st_rdev),
        stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_gid,
    )


def has_realtime_groups() -> bool:
    """Return whether control groups share real-time scheduling (v1, CONFIG_RT_GROUP_SCHED)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        hierarchies = mounts.parse(file.read())
    return any(
        os.path.exists(f"{each.mount_point}/cpu.rt_runtime_us")
        for each in hierarchies
        if "cpu" in each.controllers
    )
