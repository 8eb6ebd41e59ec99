"""A container's configuration becomes an OCI runtime spec: pure, and with Docker's defaults.

Whoever wants to know what a container will be asks `build_spec` and reads the
answer; nothing is looked up and nothing is changed. What it needs to know of the
machine stands in the `BuildContext` (``speccontext.gather``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.engine import spec_mounts, spec_process, spec_resources
from knarr.engine.hostdevices import DeviceNode
from knarr.engine.security import capabilities, options, profile
from knarr.engine.security.seccomp_default import default_profile
from knarr.engine.speccontext import BuildContext
from knarr.errors import InvalidArgument, Unsupported
from knarr.runtime.seccomp import model
from knarr.spec.kernelnames import is_sysctl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from knarr.engine.model import ContainerConfig
    from knarr.engine.security.options import SecurityOptions

__all__ = ["OCI_VERSION", "BuildContext", "DeviceNode", "build_spec", "stop_signal"]

OCI_VERSION = "1.3.0"
stop_signal = spec_process.stop_signal

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
_MAX_GROUP = 2**31 - 1


def build_spec(
    config: ContainerConfig, image_config: Mapping[str, Any], ctx: BuildContext
) -> dict[str, Any]:
    """Return the OCI runtime spec (config.json) of this container.

    ``image_config`` is the image's OCI configuration (with its ``config`` member).
    ``linux.seccomp`` stays in the form of the spec; the caller compiles it.
    With ``config.init`` or ``config.sandbox`` the first argument is `spec_process.INIT_NAME`,
    which names knarr's own init: the runtime executes it from memory under that name.
    Raises InvalidArgument with Docker's texts, Unsupported for what this release cannot do.
    """
    security = options.parse(config.security_opt)
    _check_modes(config, ctx)
    granted = capabilities.effective(
        config.cap_add, config.cap_drop, privileged=config.privileged, available=ctx.bounding
    )
    spec_process.stop_signal(config, image_config)  # refused at creation, not at the first stop
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "root": {"path": ctx.root, "readonly": config.read_only},
        "process": _process(config, image_config, ctx, security, granted),
        **({} if config.uts == "host" else {"hostname": spec_process.host_name(config, ctx)}),
        "mounts": spec_mounts.mounts(
            config, ctx, writable_cgroups=_writable_cgroups(config, ctx, security)
        ),
        "linux": _linux(config, ctx, security, granted),
    }
    _check_procfs(spec)
    if config.domainname:
        spec["domainname"] = config.domainname
    if config.annotations:
        spec["annotations"] = dict(config.annotations)
    return spec


def _check_procfs(spec: dict[str, Any]) -> None:
    """Refuse a mount in place of the procfs through which the kernel's parameters are set."""
    if "sysctl" not in spec["linux"]:
        return
    for entry in spec["mounts"]:
        if entry["destination"] == "/proc" and entry["type"] != "proc":
            raise InvalidArgument(
                f'"{entry["source"]}" cannot be mounted on "/proc": procfs is needed there'
                " for network parameters"
            )


def _check_modes(config: ContainerConfig, ctx: BuildContext) -> None:
    """Refuse what cannot go together. Raises InvalidArgument, Unsupported."""
    if config.userns not in (None, "", "host", "private", "auto") and "user" not in ctx.namespaces:
        raise InvalidArgument(f"invalid USER mode: {config.userns}")
    if ctx.id_range is None:
        if config.userns == "private":
            raise Unsupported(
                "user namespace: this machine cannot give containers one; use --userns host"
            )
        return
    if config.privileged:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces.  You must run the container"
            " in the host namespace when running privileged mode"
        )
    if config.network == "host":
        raise InvalidArgument(
            "cannot share the host's network namespace when user namespaces are enabled"
        )


def _process(
    config: ContainerConfig,
    image_config: Mapping[str, Any],
    ctx: BuildContext,
    security: SecurityOptions,
    granted: list[str],
) -> dict[str, Any]:
    image = spec_process.image_member(image_config)
    user = ctx.user
    hostname = spec_process.host_name(config, ctx)
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": spec_process.user(config, image, user),
        "args": spec_process.arguments(config, image),
        "env": spec_process.environment(
            config, image, hostname, None if user is None else user.home
        ),
        "cwd": spec_process.working_directory(config, image),
        # Nothing inheritable and nothing ambient: a program that is not root's would
        # otherwise gain on exec what its files do not grant (CVE-2022-24769).
        "capabilities": {
            "bounding": list(granted),
            "effective": list(granted),
            "permitted": list(granted),
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": security.no_new_privileges,
        "oomScoreAdj": spec_process.oom_score(config),
    }
    limits = spec_process.rlimits(config)
    if limits:
        process["rlimits"] = limits
    if config.tty and ctx.console_size:
        process["consoleSize"] = {"height": ctx.console_size[0], "width": ctx.console_size[1]}
    profile_name = _apparmor(config, ctx, security)
    if profile_name is not None:
        process["apparmorProfile"] = profile_name
    return process


def _apparmor(config: ContainerConfig, ctx: BuildContext, security: SecurityOptions) -> str | None:
    """Return the AppArmor profile: the one asked for, else the default one if there is any."""
    chosen = security.apparmor
    if chosen is None:
        return None if config.privileged else ctx.apparmor_default
    if chosen == options.UNCONFINED:
        return options.UNCONFINED if ctx.apparmor else None
    if not ctx.apparmor:
        raise Unsupported(
            f"AppArmor is not active on this machine: --security-opt apparmor={chosen}"
        )
    return chosen


def _linux(
    config: ContainerConfig, ctx: BuildContext, security: SecurityOptions, granted: list[str]
) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": _namespaces(config, ctx),
        "cgroupsPath": ctx.cgroups_path,
        "resources": spec_resources.resources(config, ctx),
        "devices": _devices(config, ctx),
        "rootfsPropagation": spec_mounts.root_propagation(config.binds),
    }
    if ctx.id_range is not None:
        first, size = ctx.id_range
        for key in ("uidMappings", "gidMappings"):
            linux[key] = [{"containerID": 0, "hostID": first, "size": size}]
    sysctl = _sysctl(config, ctx)
    if sysctl:
        linux["sysctl"] = sysctl
    if not config.privileged and security.system_paths:
        linux["maskedPaths"] = [*MASKED_PATHS, *ctx.masked]
        linux["readonlyPaths"] = list(READONLY_PATHS)
    seccomp = _seccomp(config, ctx, security, granted)
    if seccomp is not None:
        linux["seccomp"] = seccomp
    return linux


def _namespaces(config: ContainerConfig, ctx: BuildContext) -> list[dict[str, str]]:
    """Return the namespaces to make, or to join where the context has a path."""
    wanted = ["mount", "network", "uts", "pid", "ipc", "cgroup"]
    private = {name: mode != "host" for name, mode in (
        ("network", config.network), ("uts", config.uts), ("pid", config.pid), ("ipc", config.ipc),
    )}  # fmt: skip
    private["cgroup"] = config.cgroupns != "host" and not (
        ctx.cgroup_version == 1 and config.privileged and not config.cgroupns
    )
    wanted = [name for name in wanted if private.get(name, True)]
    if ctx.id_range is not None:
        wanted.insert(0, "user")
    result = []
    for name in wanted:
        path = ctx.namespaces.get(name)
        result.append({"type": name, "path": path} if path else {"type": name})
    return result


def _sysctl(config: ContainerConfig, ctx: BuildContext) -> dict[str, str]:
    """Return the caller's parameters, and those that make low ports and ping work for everybody.

    The latter in a network of its own only. The group range ends at the last mapped group:
    the kernel refuses one it cannot map.
    """
    own = dict(config.sysctls)
    for name in own:
        _check_sysctl(config, name)
    if config.network == "host" or "network" in ctx.namespaces:
        return own
    last = _MAX_GROUP if ctx.id_range is None else ctx.id_range[1] - 1
    return {
        "net.ipv4.ping_group_range": f"0 {last}",
        "net.ipv4.ip_unprivileged_port_start": "0",
        **own,
    }


def _check_sysctl(config: ContainerConfig, name: str) -> None:
    if not is_sysctl(name):
        raise InvalidArgument(f"sysctl '{name}' is not allowed")
    if name.startswith("net.") and config.network == "host":
        raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
    if not name.startswith("net.") and config.ipc == "host":
        raise InvalidArgument(f"sysctl '{name}' is not allowed in the hosts ipc namespace")


def _seccomp(
    config: ContainerConfig, ctx: BuildContext, security: SecurityOptions, granted: list[str]
) -> dict[str, Any] | None:
    """Return ``linux.seccomp``, None without a filter (asked for, or privileged)."""
    chosen = security.seccomp
    if chosen == options.UNCONFINED or (config.privileged and chosen is None):
        return None
    if chosen is None or chosen == options.BUILTIN:
        return default_profile(granted, ctx.machine, ctx.kernel)
    text = chosen if chosen.startswith("{") else ctx.profiles.get(chosen)
    if text is None:
        raise InvalidArgument(f"opening seccomp profile ({chosen}) failed: no such file")
    return _checked(profile.load(text, granted, ctx.machine, ctx.kernel))


def _checked(seccomp: dict[str, Any] | None) -> dict[str, Any] | None:
    """Refuse a caller's profile at creation, not when the container starts."""
    if seccomp is None:
        return None
    try:
        flags = model.parse(seccomp).flags
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if flags & model.FLAG_NEW_LISTENER:
        raise Unsupported("seccomp: SCMP_ACT_NOTIFY needs a listener, and knarr runs none")
    return seccomp


def _writable_cgroups(
    config: ContainerConfig, ctx: BuildContext, security: SecurityOptions
) -> bool:
    if security.writable_cgroups is None:
        return config.privileged
    if ctx.id_range is not None:
        raise InvalidArgument("option WritableCgroups conflicts with user namespaces")
    return security.writable_cgroups


def _devices(config: ContainerConfig, ctx: BuildContext) -> list[dict[str, Any]]:
    """Return the nodes to make: those asked for, and with all privileges the host's besides.

    In a user namespace nobody makes nodes; those asked for are among the context's files.
    """
    nodes = {} if ctx.id_range else {node.path: node for node in ctx.devices}
    if config.privileged:
        nodes.update((node.path, node) for node in ctx.host_devices)
    return [
        {
            "path": device.path,
            "type": device.type,
            "major": device.major,
            "minor": device.minor,
            "fileMode": device.mode,
            "uid": device.uid,
            "gid": device.gid,
        }
        for device in nodes.values()
    ]
