"""``BuildContext``: all that a container's spec depends on besides its configuration.

`build_spec` is pure; whatever has to be looked up on this machine is looked up
here, once, and stands in the value.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knarr.engine import host, hostdevices
from knarr.engine.hostdevices import DeviceNode, host_devices
from knarr.engine.model import OTHER
from knarr.engine.security import options
from knarr.engine.security.users import ResolvedUser
from knarr.errors import InvalidArgument
from knarr.spec import capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from knarr.engine.model import ContainerConfig

PROFILE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BuildContext:
    """Facts about this container and this machine that go into a spec.

    id: 64 hex digits. cgroups_path: as the cgroup manager wants it. files: path in the
    container -> path on the host, for ``/etc/hosts``, ``/etc/hostname``, ``/etc/resolv.conf``.
    user: ids, None to have the runtime look the name up. id_range: first host id and how many,
    None when the container has no user namespace. namespaces: spec name -> path of one to join.
    hostname: name when the configuration has none (host network); else the id's first 12.
    root: the spec's ``root.path``. console_size: rows, columns. bounding: mask of the
    capabilities that a container can be given. cpus, mems: available ones as the kernel lists
    them ("0-3"); None is not checked. cgroup_version: 1 or 2. kernel: release, two numbers.
    apparmor: whether the module is active; apparmor_default: a loaded profile for containers
    that ask for none. masked: further paths to hide. host_devices: for ``--privileged``.
    devices: those asked for by path. realtime: whether groups have real-time shares.
    device_numbers: device path -> major, minor, for I/O limits. profiles: path of a seccomp
    profile -> its JSON text.
    """

    id: str
    cgroups_path: str
    files: Mapping[str, str] = field(default_factory=dict)
    user: ResolvedUser | None = None
    id_range: tuple[int, int] | None = None
    namespaces: Mapping[str, str] = field(default_factory=dict)
    hostname: str | None = None
    root: str = "rootfs"
    console_size: tuple[int, int] | None = None
    machine: str = "x86_64"
    kernel: tuple[int, int] = (6, 12)
    bounding: int = capabilities.ALL_MASK
    cpu_count: int = 1
    cpus: str | None = None
    mems: str | None = None
    cgroup_version: int = 2
    apparmor: bool = False
    apparmor_default: str | None = None
    masked: tuple[str, ...] = ()
    host_devices: tuple[DeviceNode, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    realtime: bool = False
    device_numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=dict)


def wants_user_namespace(config: ContainerConfig) -> bool:
    """Return whether the container gets an id range of its own.

    ``--userns host`` says no, and so do ``--privileged`` and the host's network, processes,
    IPC or control groups, which mean nothing inside a user namespace, and a namespace of
    another container, whose user namespace comes with it; asking for both is an error.
    """
    if config.userns == "host":
        return False
    if config.userns is not None:
        return not config.userns.startswith(OTHER)
    if "host" in (config.pid, config.ipc, config.cgroupns):
        return False
    return not config.privileged and config.network != "host"


def gather(
    config: ContainerConfig,
    *,
    id: str,
    cgroups_path: str,
    files: Mapping[str, str],
    user: ResolvedUser | None = None,
    id_range: tuple[int, int] | None = None,
    namespaces: Mapping[str, str] | None = None,
    console_size: tuple[int, int] | None = None,
    cgroup_version: int = 2,
    apparmor_default: str | None = None,
    nodes: str = "",
    hostname: str | None = None,
) -> BuildContext:
    """Return the context for ``config`` on this machine; see `BuildContext` for the arguments.

    hostname: another container's, where its network is shared. nodes: the directory of device
    nodes that are the container's own (`hostdevices.write`).
    Reads what the configuration names (profile files, device numbers) and the kernel's
    facts. Raises InvalidArgument when a profile or a device cannot be read.
    """
    system = os.uname()
    devices = hostdevices.asked(config.devices) if config.devices else ()
    if id_range is not None:
        files = {**files, **hostdevices.files(nodes, devices)}
    return BuildContext(
        id=id,
        cgroups_path=cgroups_path,
        files=files,
        user=user,
        id_range=id_range,
        namespaces=namespaces or {},
        hostname=hostname or (system.nodename if "host" in (config.network, config.uts) else None),
        console_size=console_size,
        machine=system.machine,
        kernel=kernel_version(system.release),
        bounding=_bounding(config, in_userns=id_range is not None),
        cpu_count=os.cpu_count() or 1,
        cpus=_first_line("/sys/devices/system/cpu/online") if config.limits.cpuset_cpus else None,
        mems=_first_line("/sys/devices/system/node/online") if config.limits.cpuset_mems else None,
        cgroup_version=cgroup_version,
        apparmor=_first_line("/sys/module/apparmor/parameters/enabled") == "Y",
        apparmor_default=apparmor_default,
        masked=thermal_throttle(),
        host_devices=tuple(host_devices()) if config.privileged else (),
        devices=devices,
        realtime=bool(config.limits.cpu_rt_period or config.limits.cpu_rt_runtime)
        and hostdevices.has_realtime_groups(),
        device_numbers=_device_numbers(config),
        profiles=_profiles(config),
    )


def kernel_version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a kernel release ("6.1.0-13-amd64" is 6, 1)."""
    numbers = []
    for part in release.split(".")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or "0"))
    major, minor = (*numbers, 0, 0)[:2]
    return major, minor


@functools.cache
def thermal_throttle() -> tuple[str, ...]:
    """Return the directories that count a processor's throttling: a clock for side channels."""
    root = "/sys/devices/system/cpu"
    paths = (f"{root}/{name}/thermal_throttle" for name in sorted(os.listdir(root)))
    return tuple(path for path in paths if os.path.isdir(path))


def _bounding(config: ContainerConfig, *, in_userns: bool) -> int:
    """Return what a container can be given. Only what is added to the default ones matters.

    A new user namespace begins with all there are, for what is in it (user_namespaces(7)).
    """
    asked = config.cap_add or config.privileged
    return host.capabilities() if asked and not in_userns else capabilities.ALL_MASK


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return None  # the kernel lacks the feature that this file tells of


def _device_numbers(config: ContainerConfig) -> dict[str, tuple[int, int]]:
    limits = config.limits
    numbers = {}
    for device in (
        *limits.blkio_weight_device,
        *limits.device_read_bps,
        *limits.device_write_bps,
        *limits.device_read_iops,
        *limits.device_write_iops,
    ):
        try:
            rdev = os.stat(device.path).st_rdev
        except OSError as error:
            raise InvalidArgument(f"stat {device.path}: {error.strerror}") from error
        numbers[device.path] = (os.major(rdev), os.minor(rdev))
    return numbers


def _profiles(config: ContainerConfig) -> dict[str, str]:
    """Read the seccomp profile that ``--security-opt seccomp=FILE`` names, if it does."""
    path = options.parse(config.security_opt).seccomp
    if path is None or path in (options.UNCONFINED, options.BUILTIN) or path.startswith("{"):
        return {}
    try:
        with open(path, "rb") as file:
            data = file.read(PROFILE_LIMIT + 1)
        if len(data) > PROFILE_LIMIT:
            raise InvalidArgument(f"seccomp profile {path} is larger than {PROFILE_LIMIT} bytes")
        return {path: data.decode("utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InvalidArgument(f"opening seccomp profile ({path}) failed: {reason}") from error
