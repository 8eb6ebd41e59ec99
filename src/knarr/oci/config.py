"""Reading a bundle: config.json within limits, and what of it is for this face."""

import os

from knarr.oci import checks
from knarr.oci.document import HOOKS, hooks, opened, parse
from knarr.oci.rootless import is_nested, mapped
from knarr.oci.shape import check
from knarr.oci.version import starts_with_prestart
from knarr.runtime.fields import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.oci.log import Journal
    from knarr.runtime.plan import Plan

_BESIDE = ("netDevices", "intelRdt")


def read(path: str) -> "dict[str, Any]":
    """Return the configuration in a file; raises SpecError, and OSError without one."""
    config = check(parse(opened(path), path))
    _check_hooks(config)
    return config


def _check_hooks(config: "dict[str, Any]") -> None:
    for kind, found in (config.get("hooks") or {}).items():
        for index, hook in enumerate(found if kind in HOOKS else ()):
            if not str(hook.get("path", "")).startswith("/"):
                raise SpecError(f"hooks.{kind}[{index}].path: is not an absolute path")


def plan_of(
    config: "dict[str, Any]", bundle: str, rootfs: str, moved: "list[str] | None" = None
) -> "Plan":
    """Return the plan for a configuration; raises SpecError for what is not supported.

    rootfs: what ``root_path`` returned.
    moved: with --no-pivot, what ``kernel_trees`` returned.
    """
    from knarr.oci import rootpaths
    from knarr.runtime import fifogate, madenode
    from knarr.runtime.plan import plan

    warnings = []
    linux = mapped(config.get("linux") or {})
    if linux.get("mountLabel") and not _has_selinux():
        linux = {**linux, "mountLabel": ""}
        warnings.append("linux.mountLabel: without SELinux in this kernel nothing is labelled")
    # What is done beside the plan: see ``netdevices``, ``resctrl``, ``filters``.
    linux = {key: value for key, value in linux.items() if key not in _BESIDE}
    if linux.get("seccomp"):
        linux["seccomp"] = {**linux["seccomp"], "listenerPath": ""}
    made = plan({**rootpaths.without_root(config, rootfs), "linux": linux, "hooks": {}})
    rootpaths.take_from_root(made, rootfs, bundle)
    made.nested = is_nested()
    madenode.make_nodes(made)
    made.warnings += tuple(warnings)
    checks.check(config)
    fifogate.prepare(
        made, stop=bool(before_root(config)), moved=None if moved is None else tuple(moved)
    )
    return made


def before_root(config: "dict[str, Any]") -> "list[str]":
    """Return the kinds of hooks that run before the root changes, in their order."""
    kinds = HOOKS[1:3] if starts_with_prestart(config) else HOOKS[:3]
    return [kind for kind in kinds if hooks(config, kind)]


def kernel_trees(rootfs: str) -> "list[str]":
    """Return where the host has procfs and sysfs, but for what lies below a container's root."""
    from knarr.cgroups.mounts import whole

    with open("/proc/self/mountinfo") as file:
        places = whole(file.read(), ("proc", "sysfs"))
    return [place for place in places if not f"{place}/".startswith(f"{rootfs}/")]


def _has_selinux() -> bool:
    with open("/proc/filesystems") as file:
        return any(line.split()[-1] == "selinuxfs" for line in file)


def root_path(config: "dict[str, Any]", bundle: str) -> str:
    """Return where the root file system is to be, absolute and resolved; empty: nowhere.

    Raises SpecError for a link that may not be read: of a process, in /proc.
    """
    path = (config.get("root") or {}).get("path")
    try:
        return os.path.realpath(os.path.join(bundle, path)) if path else ""
    except OSError as error:
        raise SpecError(f"root.path: {error.strerror}: {error.filename}") from error


def root_of(config: "dict[str, Any]", bundle: str) -> str:
    """Return the directory of the root file system, absolute; raises SpecError."""
    found = root_path(config, bundle)
    if not found:
        raise SpecError("root.path: is missing")
    if not os.path.isdir(found):
        raise SpecError(f"root.path: {found} is not a directory")
    return found


def group_path(config: "dict[str, Any]", name: str) -> str:
    """Return linux.cgroupsPath: absolute, ``slice:prefix:name``, or one made of the name."""
    path: str = (config.get("linux") or {}).get("cgroupsPath") or ""
    if not path:
        return f"/knarr-oci-{name}"
    return path


def group_owner(config: "dict[str, Any]") -> int | None:
    """Return the user to whom the container's group is given, None for nobody.

    Source: config-linux.md, "Cgroup ownership": that of the process, on the host, if the
    container has a cgroup namespace of its own and control groups that it may write to.
    """
    linux = mapped(config.get("linux") or {})
    kinds = [space["type"] for space in linux.get("namespaces") or () if not space.get("path")]
    writable = any(
        mount.get("type") in ("cgroup", "cgroup2") and "ro" not in (mount.get("options") or ())
        for mount in config.get("mounts") or ()
    )
    if "cgroup" not in kinds or not writable:
        return None
    user: int = ((config.get("process") or {}).get("user") or {}).get("uid", 0)
    if "user" not in kinds:
        return user
    for entry in linux.get("uidMappings") or ():
        first = int(entry["containerID"])
        if first <= user < first + int(entry["size"]):
            return int(entry["hostID"]) + user - first
    return None


def resources_of(config: "dict[str, Any]") -> "dict[str, Any]":
    """Return linux.resources, with access to the devices that every container has.

    Source: config-linux.md, "Default Devices": they are there, so they can be used; callers
    send a rule that denies everything, and count on it.
    """
    from knarr.cgroups.devicerules import USUAL

    resources = dict((config.get("linux") or {}).get("resources") or {})
    given = resources.get("devices") or USUAL[:1]
    if isinstance(given, list):
        resources["devices"] = given + USUAL[1:]
    return resources


def warn_of(resources: "dict[str, Any]", journal: "Journal") -> None:
    """Tell of what current kernels leave out: memory of the kernel counts as memory."""
    memory = resources.get("memory")
    if isinstance(memory, dict) and memory.get("kernel"):
        journal.warning("linux.resources.memory.kernel: is counted as memory, and ignored")
