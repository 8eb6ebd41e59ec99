"""Mounts of layers that are kept as EROFS images: one for the host, shared by all containers.

    RUN/layers/            a tmpfs with private propagation: what is mounted in it stays in here
    RUN/layers/NAME        an image, read-only
    RUN/layers.lock        held while a mount comes or goes

A directory with an image holds ``index.erofs``, ``layer.tar``, and ``rest`` where the tar does
not have everything. Linux 6.12 mounts these files as they are, older kernels take loop devices,
which the kernel gives back with the mount. Nothing is noted anywhere: what is mounted is what
the kernel says, so whoever is killed here leaves a mount, or none. Loaded when it is needed.

While the tar is still to come there is ``coming`` instead, with an image and pieces of the tar
(see ``snapshots.coming``). It is mounted only while somebody watches over it: of files that
were opened before, the kernel would never tell anybody that they are read.
"""

import errno
import fcntl
import os
import struct
from contextlib import contextmanager

from knarr.kernel import mounts as k
from knarr.kernel.files import fstatfs_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

INDEX, TAR, REST = "index.erofs", "layer.tar", "rest"
COMING, BROKEN = "coming", "broken"
_EROFS = 0xE0F5E1E2
# A kernel that wants block devices, and one whose file system cannot lend files.
_NEEDS_DEVICES = frozenset((errno.ENOTBLK, errno.EINVAL, errno.EOPNOTSUPP))
# linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_READ_ONLY = 1
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_TRIES = 64
_LONGEST = 250  # bytes of a path that fsconfig(2) takes


def mount(directory: str, place: str) -> None:
    """Mount the image in a directory at ``place``, unless it is; raises OSError."""
    with _locked(os.path.dirname(place)) as base:
        _prepare(base)
        os.makedirs(place, mode=0o700, exist_ok=True)
        target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if fstatfs_type(target) & 0xFFFFFFFF == _EROFS:
                return
            fd = _open_layer(directory)
            try:
                k.attach(fd, target)
            finally:
                os.close(fd)
        finally:
            os.close(target)


def _open_layer(directory: str) -> int:
    """Return the mount of the image in a directory; an error names that."""
    try:
        pieces = f"{directory}/{COMING}"
        if os.path.isdir(pieces):
            try:
                return _open_pieces(pieces)
            except FileNotFoundError:
                if os.path.isdir(pieces):
                    raise  # else the last of it has just come
        files = [f"{directory}/{INDEX}", f"{directory}/{TAR}"]
        if os.path.exists(f"{directory}/{REST}"):
            files.append(f"{directory}/{REST}")
        return open_image(files)
    except OSError as error:
        raise OSError(error.errno, f"EROFS image {directory}: {error.strerror}") from error


def _open_pieces(path: str) -> int:
    """Return the mount of a layer on its way; raises OSError when nobody watches over it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            count = sum(name.isdigit() for name in os.listdir(fd))
            base = path if len(os.fsencode(path)) < _LONGEST - 16 else f"/proc/self/fd/{fd}"
            return _mounted([f"{base}/{INDEX}", *(f"{base}/{number}" for number in range(count))])
    finally:
        os.close(fd)
    if os.path.exists(f"{path}/{BROKEN}"):
        raise OSError(errno.EIO, "what came is not the layer that it should be: remove its image")
    raise OSError(errno.EAGAIN, "it has not arrived, and nobody brings it: run `knarr recover`")


def open_image(files: "Sequence[str]") -> int:
    """Return a detached, read-only mount of an index over further files; raises OSError."""
    opened = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in files]
    try:
        # What a mount shows as its source is the first path; long ones are given by descriptor.
        paths = [
            path if len(os.fsencode(path)) < _LONGEST else f"/proc/self/fd/{fd}"
            for path, fd in zip(files, opened, strict=True)
        ]
        try:
            return _mounted(paths)
        except OSError as error:
            if error.errno not in _NEEDS_DEVICES:
                raise
        return open_by_loop(opened)
    finally:
        for fd in opened:
            os.close(fd)


def open_by_loop(files: "Sequence[int]") -> int:
    """Return the mount of files behind descriptors by way of loop devices; raises OSError."""
    devices: list[int] = []
    try:
        paths = []
        for fd in files:
            path, device = _loop_device(fd)
            devices.append(device)
            paths.append(path)
        return _mounted(paths)
    finally:
        for device in devices:  # with the mount, or now, the kernel clears them
            os.close(device)


def _mounted(paths: "Sequence[str]") -> int:
    context = k.fsopen("erofs")
    try:
        k.fsconfig_string(context, "source", paths[0])
        for path in paths[1:]:
            k.fsconfig_string(context, "device", path)
        k.fsconfig_flag(context, "ro")
        k.fsconfig_create(context)
        # Programs are run, and devices opened, through overlays alone, which have flags of
        # their own: what can be reached from outside gives nobody anything.
        flags = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV
        return k.fsmount(context, flags)
    finally:
        os.close(context)


def _loop_device(fd: int) -> "tuple[str, int]":
    """Return path and descriptor of a loop device on a file, gone with its last user."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_LOOP_TRIES):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            path = f"/dev/loop{number}"
            device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            # struct loop_config: fd, block size, loop_info64 (lo_flags at 52), reserved.
            config = bytearray(struct.pack("=II", fd, 512) + bytes(232 + 64))
            struct.pack_into("=I", config, 8 + 52, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was quicker
                    raise
                continue
            return path, device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no loop device is free")


def release(base: str, names: "Iterable[str]") -> None:
    """Unmount images below ``base``; those that are not mounted are fine. Raises OSError.

    Containers that use one have a clone of its mount and keep it.
    """
    if not os.path.isdir(base):
        return
    with _locked(base):
        if not os.path.isdir(base):
            return  # somebody else has just done it
        for name in names:
            place = f"{base}/{name}"
            if _is_image(place):
                k.umount2(place, k.MNT_DETACH | k.UMOUNT_NOFOLLOW)
            try:
                os.rmdir(place)
            except FileNotFoundError:
                continue
        if not os.listdir(base):
            if _is_mounted(base):
                k.umount2(base, k.MNT_DETACH | k.UMOUNT_NOFOLLOW)
            os.rmdir(base)


def names(base: str) -> "list[str]":
    """Return the names below ``base`` at which images are, or were to be, mounted."""
    try:
        return os.listdir(base)
    except FileNotFoundError:
        return []


def _is_image(place: str) -> bool:
    try:
        fd = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return fstatfs_type(fd) & 0xFFFFFFFF == _EROFS
    finally:
        os.close(fd)


def _is_mounted(base: str) -> bool:
    return os.stat(base).st_dev != os.stat(os.path.dirname(base)).st_dev


def _prepare(base: str) -> None:
    """Have the tmpfs in which images are mounted, and that no other namespace sees into it."""
    os.makedirs(base, mode=0o700, exist_ok=True)
    if not _is_mounted(base):
        k.mount("knarr", base, "tmpfs", k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC, "mode=0700")
    k.mount(None, base, None, k.MS_PRIVATE)


@contextmanager
def _locked(base: str) -> "Iterator[str]":
    os.makedirs(os.path.dirname(base), mode=0o700, exist_ok=True)
    fd = os.open(f"{base}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield base
    finally:
        os.close(fd)
