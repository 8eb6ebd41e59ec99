"""The mounts of a spec: the kernel's file systems, the engine's files, the caller's own."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from knarr.engine.model import BindMount, ContainerConfig
    from knarr.engine.speccontext import BuildContext

Entry = dict[str, Any]

DEFAULT_SHM_SIZE = 64 * 1024 * 1024
_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_RECURSIVE_READ_ONLY = (5, 12)  # first kernel with mount_setattr(2)

# Files of procfs over which something may be mounted; elsewhere below /proc it would hide from
# the runtime that what it writes to (labels, limits) is not the kernel's.
_PROC_FILES = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps",
        "uptime", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip

# Pairs of tmpfs flags that exclude each other, by the name of what they decide.
_FLAGS = {
    "ro": "ro", "rw": "ro", "suid": "suid", "nosuid": "suid", "dev": "dev", "nodev": "dev",
    "exec": "exec", "noexec": "exec", "sync": "sync", "async": "sync", "dirsync": "dirsync",
    "mand": "mand", "nomand": "mand", "atime": "atime", "noatime": "atime",
    "diratime": "diratime", "nodiratime": "diratime", "relatime": "relatime",
    "norelatime": "relatime", "strictatime": "strictatime", "nostrictatime": "strictatime",
    "remount": "remount", "bind": "bind", "rbind": "bind",
}  # fmt: skip
_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")
_REFUSED_FLAGS = ("bind", "rbind", "remount")


def mounts(config: ContainerConfig, ctx: BuildContext, *, writable_cgroups: bool) -> list[Entry]:
    """Return ``mounts`` in the order to make them: parents before what lies below.

    The caller's mount replaces a default one at the same place; one at ``/dev`` replaces
    all below it. Raises InvalidArgument for bad, duplicate or forbidden destinations.
    """
    own = _own_mounts(config, ctx)
    if config.ipc == "host" or "ipc" in ctx.namespaces:
        own = _with_shared_memory(own, ctx)
    taken = {entry["destination"] for entry in own}
    defaults = [
        entry
        for entry in _kernel_mounts(config, writable_cgroups=writable_cgroups)
        if entry["destination"] not in taken
        and not (config.ipc == "none" and entry["destination"] == "/dev/shm")
        and not ("/dev" in taken and entry["destination"].startswith("/dev/"))
    ]
    if config.read_only:
        for entry in defaults:
            keep = entry["destination"] in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
            if not keep and "ro" not in entry["options"]:
                entry["options"].append("ro")
    files = [
        _bind(ctx, source, destination, ["rbind", "rprivate"])
        for destination, source in ctx.files.items()
        if destination not in taken
    ]
    return defaults + sorted(files + own, key=lambda entry: _depth(entry["destination"]))


def root_propagation(binds: Sequence[BindMount]) -> str:
    """Return ``linux.rootfsPropagation``: as wide as the widest bind mount needs it."""
    modes = {bind.propagation.removeprefix("r") for bind in binds}
    return next((mode for mode in ("shared", "slave") if mode in modes), "private")


def _kernel_mounts(config: ContainerConfig, *, writable_cgroups: bool) -> list[Entry]:
    """Return the file systems that Docker gives every container, in its order."""
    if config.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    strict = ["nosuid", "noexec", "nodev"]
    sys_mode = [] if config.privileged else ["ro"]
    return [
        _entry("/proc", "proc", "proc", strict),
        _entry("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _entry("/dev/pts", "devpts", "devpts",
               ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _entry("/sys", "sysfs", "sysfs", strict + sys_mode),
        _entry("/sys/fs/cgroup", "cgroup", "cgroup",
               [*([] if writable_cgroups else ["ro"]), *strict]),
        _entry("/dev/mqueue", "mqueue", "mqueue", strict),
        _entry("/dev/shm", "tmpfs", "shm",
               [*strict, "mode=1777", f"size={config.shm_size or DEFAULT_SHM_SIZE}"]),
    ]  # fmt: skip


def _own_mounts(config: ContainerConfig, ctx: BuildContext) -> list[Entry]:
    entries: list[Entry] = []
    seen: set[str] = set()
    for entry in (*_binds(config, ctx), *_tmpfs(config)):
        if entry["destination"] in seen:
            raise InvalidArgument(f"Duplicate mount point: {entry['destination']}")
        seen.add(entry["destination"])
        entries.append(entry)
    return entries


def _with_shared_memory(own: list[Entry], ctx: BuildContext) -> list[Entry]:
    """Return the mounts with /dev/shm of whoever's IPC namespace it is, unless one is there.

    Another container's has no path of the host: the runtime takes it from its mount namespace.
    """
    if any(entry["destination"] in ("/dev", "/dev/shm") for entry in own):
        return own
    options = ["rbind", "rprivate"]
    if "ipc" in ctx.namespaces:
        return [*own, _entry("/dev/shm", "bind", ctx.namespaces["ipc"], options)]
    return [*own, _bind(ctx, "/dev/shm", "/dev/shm", options)]


def _binds(config: ContainerConfig, ctx: BuildContext) -> Iterator[Entry]:
    for bind in config.binds:
        destination = _destination(bind.target)
        if not bind.source.startswith("/") or "\0" in bind.source:
            raise InvalidArgument(
                f"invalid mount path: '{bind.source}' mount path must be absolute"
            )
        if bind.propagation not in _PROPAGATION:
            raise InvalidArgument(f"invalid propagation mode: {bind.propagation}")
        options = ["rbind" if bind.recursive else "bind"]
        if bind.read_only:
            can = ctx.kernel >= _RECURSIVE_READ_ONLY
            if bind.recursive_read_only and not can:
                raise Unsupported("recursive read-only mounts need Linux 5.12 or later")
            deep = bind.recursive and can and bind.recursive_read_only is not False
            options.append("rro" if deep else "ro")
        yield _bind(ctx, bind.source, destination, [*options, bind.propagation])


def _bind(ctx: BuildContext, source: str, destination: str, options: list[str]) -> Entry:
    """Return a bind mount; in a user namespace files keep their owners by an idmapping.

    ``idmap`` and not ``ridmap``: file systems mounted below the source may be of a kind
    that cannot be idmapped, and theirs would make the whole mount fail.
    """
    return _entry(destination, "bind", source, [*options, "idmap"] if ctx.id_range else options)


def _tmpfs(config: ContainerConfig) -> Iterator[Entry]:
    for tmpfs in config.tmpfs:
        wanted = [option for given in tmpfs.options for option in given.split(",") if option]
        options = merge_tmpfs_options(["noexec", "nosuid", "nodev", "rprivate", *wanted])
        yield _entry(_destination(tmpfs.target), "tmpfs", "tmpfs", options)


def merge_tmpfs_options(options: Sequence[str]) -> list[str]:
    """Return ``options`` without those that a later one overrides (``exec`` over ``noexec``).

    Raises InvalidArgument for what tmpfs(5) does not know.
    """
    kept: dict[str, str] = {}
    for option in reversed(options):
        name, has_value, value = option.partition("=")
        if option == "defaults":
            continue
        if option in _PROPAGATION:
            key = "propagation"
        elif option in _FLAGS and option not in _REFUSED_FLAGS:
            key = _FLAGS[option]
        elif has_value and value and name in _TMPFS_DATA:
            key = name
        else:
            raise InvalidArgument(f"invalid tmpfs option: {option}")
        kept.setdefault(key, option)
    return list(reversed(kept.values()))


def _destination(path: str) -> str:
    """Return the clean absolute path of a mount's destination."""
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")
    clean = "/" + posixpath.normpath(path).lstrip("/")
    if clean == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    if clean.startswith("/proc/") and clean not in _PROC_FILES:
        raise InvalidArgument(f'"{clean}" cannot be mounted because it is inside /proc')
    return clean


def _depth(path: str) -> int:
    return path.count("/")


def _entry(destination: str, type_: str, source: str, options: list[str]) -> Entry:
    return {
        "destination": destination, "type": type_, "source": source, "options": list(options)
    }  # fmt: skip
