"""A root file system from its description: ``open_root`` carries out ``Mount`` values.

The result is a detached mount: it hangs in nobody's tree and is gone with its
last descriptor, whatever becomes of the process that made it.
"""

import os

from knarr.kernel import mounts as k
from knarr.kernel import process
from knarr.kernel.files import fstatfs_type
from knarr.kernel.namespaces import CLONE_NEWNS, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from knarr.spec.mount import Mount

    Lower = list[tuple[str, int]]

    class Bind(Protocol):
        """What is known of a bind mount."""

        source: str
        destination: str


TREE = "fs"  # in a layer's directory: its tree, or an empty directory to mount its image on
_PAGE = 4096
_UNSUPPORTED = frozenset((22, 95))  # EINVAL, EOPNOTSUPP: a file system that cannot be idmapped
_EROFS = 0xE0F5E1E2
# Directories that every Linux system has; both are covered only in a namespace of our own.
_PLACE = "/sys"


def clone_tree(path: str, userns_fd: "int | None", *, recursive: bool = False) -> int:
    """Return a detached clone of the mount tree at ``path``, idmapped with a user namespace."""
    flags = k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if recursive else 0)
    fd = k.open_tree(k.AT_FDCWD, path, flags)
    if userns_fd is not None:
        try:
            idmap(fd, userns_fd, recursive=recursive)
        except OSError:
            os.close(fd)
            raise
    return fd


def idmap(fd: int, userns_fd: int, *, recursive: bool = False) -> None:
    """Map the ids of a detached mount through a user namespace (mount_setattr(2), Linux 5.12)."""
    flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
    k.mount_setattr(fd, "", flags, attr_set=k.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)


def idmap_bind(fd: int, userns_fd: int, bind: "Bind", *, recursive: bool) -> str:
    """Map the ids of a detached bind mount, as much of its tree as its file systems allow.

    Returns what there is to be said of it, usually nothing.
    """
    for whole in (True, False) if recursive else (False,):
        try:
            idmap(fd, userns_fd, recursive=whole)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return ""
    return (
        f"{bind.source}: its file system has no id-mapped mounts, "
        f"so files on {bind.destination} belong to nobody inside the container"
    )


def open_image(directory: str, place: str) -> int:
    """Return a descriptor to look into the mount of a layer's image; see ``clone_image``.

    Closing it is cheap, where a clone's closing waits for the kernel.
    """
    for again in (False, True):
        if again:
            from knarr.runtime import imagemount

            imagemount.mount(directory, place)
        try:
            fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if _is_image(fd):
            return fd
        os.close(fd)
    raise _unmounted(place)


def clone_image(directory: str, place: str, userns_fd: "int | None" = None) -> int:
    """Return a detached clone of the mount of a layer's image, which belongs at ``place``.

    It is mounted there first, where nobody has done that in this boot and mount namespace.
    Every clone shares the pages that were read through any. Raises OSError.
    """
    fd = _image_at(place)
    if fd < 0:
        from knarr.runtime import imagemount

        imagemount.mount(directory, place)
        fd = _image_at(place)
        if fd < 0:
            raise _unmounted(place)
    if userns_fd is not None:
        try:
            idmap(fd, userns_fd)
        except OSError:
            os.close(fd)
            raise
    return fd


def _image_at(place: str) -> int:
    """Return a clone of the image's mount, -1 when there is none."""
    try:
        fd = k.open_tree(k.AT_FDCWD, place, k.OPEN_TREE_CLONE)
    except FileNotFoundError:
        return -1
    if _is_image(fd):
        return fd
    os.close(fd)
    return -1


def _is_image(fd: int) -> bool:
    return fstatfs_type(fd) & 0xFFFFFFFF == _EROFS


def _unmounted(place: str) -> OSError:
    return OSError(2, "the image of a layer was unmounted while it was looked at", place)


def open_root(
    mounts: "list[Mount]",
    userns_fd: "int | None" = None,
    owner: "tuple[int, int]" = (0, 0),
    *,
    append: bool = True,
    leftover: "list[int] | None" = None,
) -> int:
    """Return a descriptor of the detached mount that ``mounts`` describe.

    One ``overlay`` (see ``Mount``), ``erofs`` or ``bind``. userns_fd: the layers are seen
    through its id map; owner: the host ids of its root.
    append: the kernel takes layers one by one (6.8, see ``features.probe``); with
    False this is not even tried, since a refusal is a line in the kernel's log.
    leftover: takes a descriptor that is not needed any more and whose closing waits for
    the kernel, an RCU grace period; without a list it is closed here.
    Raises OSError; ValueError for another kind of mount.
    The caller must be single-threaded where the kernel is older than 6.8,
    since the old interface needs a mount namespace of the caller's own.
    """
    if len(mounts) != 1 or mounts[0].type not in ("overlay", "bind", "erofs"):
        raise ValueError(f"root file system: cannot be made of {mounts!r}")
    done: list[int] = []
    try:
        fd = _open(mounts[0], userns_fd, owner, append, done)
    finally:
        if leftover is not None:
            leftover += done
        else:
            close_all(done)
    if userns_fd is not None:
        # Nobody inside can make a device node, so one in the image is there for harm.
        k.mount_setattr(fd, attr_set=k.MOUNT_ATTR_NODEV)
    return fd


def close_all(fds: "list[int]") -> None:
    """Close descriptors and empty their list."""
    while fds:
        os.close(fds.pop())


def _open(
    mount: "Mount",
    userns_fd: "int | None",
    owner: "tuple[int, int]",
    append: bool,
    leftover: "list[int]",
) -> int:
    if mount.type == "bind":
        fd = clone_tree(mount.source, userns_fd, recursive="rbind" in mount.options)
        return _read_only(fd) if "ro" in mount.options else fd
    if mount.type == "erofs":
        return clone_image(mount.source, dict(_pairs(mount))["at"], userns_fd)
    base = clone_tree(mount.source, userns_fd)
    leftover.append(base)
    lower = []
    for key, value in _pairs(mount):
        if key == "lower":
            name, mark, place = value.partition(":")
            fd = clone_image(f"{mount.source}/{name}", place, userns_fd) if mark else -1
            if mark:
                leftover.append(fd)
            lower.append((name, fd))
    with ActingAs(owner):
        return _overlay(base, lower, mount, append=append)


def _read_only(fd: int) -> int:
    """Return the detached mount ``fd`` made read-only; ``fd`` itself where the kernel can.

    Before Linux 5.12 only a mount that hangs somewhere can be changed, so this
    process gets a mount namespace of its own there.
    """
    try:
        k.mount_setattr(fd, attr_set=k.MOUNT_ATTR_RDONLY)
        return fd
    except OSError as error:
        if error.errno != 38:  # ENOSYS
            raise
    unshare(CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_SLAVE)
    place = os.open(_PLACE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        k.attach(fd, place)
        k.mount(None, _PLACE, None, k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY)
        return k.open_tree(k.AT_FDCWD, _PLACE, k.OPEN_TREE_CLONE)
    finally:
        k.umount2(_PLACE, k.MNT_DETACH)
        os.close(place)
        os.close(fd)


class ActingAs:
    """While a block runs, access files as ``owner`` with all capabilities kept.

    An overlay makes its own directories as whoever mounts it, and an idmapped
    layer has no id for the host's root: the kernel would mount it read-only.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: "tuple[int, int]") -> None:
        self._owner = owner

    def __enter__(self) -> None:
        if self._owner != (0, 0):
            process.set_securebits(process.SECBIT_NO_SETUID_FIXUP)
            process.setfsuid(*self._owner)

    def __exit__(self, *_: object) -> None:
        if self._owner != (0, 0):
            process.setfsuid(0, 0)
            process.set_securebits(0)


def _overlay(base: int, lower: "Lower", mount: "Mount", *, append: bool) -> int:
    """Return the overlay whose layers lie below the directory behind ``base``.

    lower: name of each, and the descriptor of its mount where it has one of its own, else -1.
    """
    single = {key: value for key, value in _pairs(mount) if key in ("upper", "work")}
    if append:
        try:
            return _overlay_by_context(base, lower, single, "volatile" in mount.options)
        except OSError as error:
            if error.errno not in _OLD_KERNEL:
                raise
    return _overlay_by_mount(base, lower, single, "volatile" in mount.options)


_OLD_KERNEL = frozenset((22, 38))  # EINVAL, ENOSYS: ``lowerdir+`` came with Linux 6.8


def _pairs(mount: "Mount") -> "list[tuple[str, str]]":
    split = (option.partition("=") for option in mount.options)
    return [(key, value) for key, mark, value in split if mark]


def _overlay_by_context(base: int, lower: "Lower", single: "dict[str, str]", volatile: bool) -> int:
    context = k.fsopen("overlay")
    try:
        k.fsconfig_string(context, "source", "knarr")
        for name, fd in lower:
            path = f"/proc/self/fd/{base}/{name}" if fd < 0 else f"/proc/self/fd/{fd}"
            k.fsconfig_string(context, "lowerdir+", path)
        if any(fd >= 0 for _, fd in lower):
            # Layers on file systems of their own, yet one device number for all: find -xdev,
            # tar --one-file-system and their like go by it.
            k.fsconfig_string(context, "xino", "on")
        if single:
            k.fsconfig_string(context, "upperdir", f"/proc/self/fd/{base}/{single['upper']}")
            k.fsconfig_string(context, "workdir", f"/proc/self/fd/{base}/{single['work']}")
        # Some distributions turn these on; each changes what is on disk.
        for key in ("metacopy", "index", "redirect_dir"):
            k.fsconfig_string(context, key, "off")
        if volatile and single:
            k.fsconfig_flag(context, "volatile")
        k.fsconfig_create(context)
        return k.fsmount(context)
    finally:
        os.close(context)


def _overlay_by_mount(base: int, lower: "Lower", single: "dict[str, str]", volatile: bool) -> int:
    """The way of old kernels: mount(2), one page of options, names relative to ``base``.

    These kernels take layers only from mounts of the caller's own namespace, and the
    overlay has to hang somewhere too, so this process gets a mount namespace of its own.
    """
    names = [name if fd < 0 else f"{name}/{TREE}" for name, fd in lower]
    data = "lowerdir=" + ":".join(names) + (",xino=on" if any(fd >= 0 for _, fd in lower) else "")
    if single:
        data += f",upperdir={single['upper']},workdir={single['work']}"
        data += ",volatile" if volatile else ""
    data += ",metacopy=off,index=off,redirect_dir=off"
    if len(data) >= _PAGE:
        raise OSError(7, f"overlay: {len(lower)} layers need more options than this kernel takes")
    unshare(CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_SLAVE)
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    place = os.open(_PLACE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    k.attach(base, place)
    os.close(place)
    try:
        # A clone of a shared mount is its peer: layers mounted below it would come and go with
        # those of others who are at the same, and be seen on the host.
        k.mount(None, _PLACE, None, k.MS_PRIVATE)
        os.fchdir(base)
        for (_, fd), name in zip(lower, names, strict=True):
            if fd >= 0:
                place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                k.attach(fd, place)
                os.close(place)
        k.mount("knarr", "/proc", "overlay", 0, data)
        try:
            return k.open_tree(k.AT_FDCWD, "/proc", k.OPEN_TREE_CLONE)
        finally:
            k.umount2("/proc", k.MNT_DETACH)
    finally:
        os.fchdir(before)
        os.close(before)
        k.umount2(_PLACE, k.MNT_DETACH)
