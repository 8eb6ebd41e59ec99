"""A null device that is nobody else's.

Some runtimes give the standard descriptors that they are handed to the container's user
(fchown(2)), crun even the host's /dev/null: it would then be a container's everywhere.
"""

import errno
import os
import stat

from knarr.kernel import mounts as k

_DEVICE = os.makedev(1, 3)  # null(4)
_NAME = "null"


def is_null(fd: int) -> bool:
    """Return whether a descriptor is of a null device, whatever its name. Raises OSError."""
    info = os.fstat(fd)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == _DEVICE


def private() -> int:
    """Return a CLOEXEC descriptor of a null device in a file system of its own. Raises OSError.

    Who may make none, as in somebody's user namespace, cannot give the host's away either,
    and gets that one.
    """
    try:
        place = folder()
    except PermissionError:
        return _host()
    try:
        os.mknod(_NAME, stat.S_IFCHR | 0o666, _DEVICE, dir_fd=place)
        os.chmod(_NAME, 0o666, dir_fd=place)
        return os.open(_NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    except OSError as error:
        # A user namespace has nodes made, and not opened.
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        return _host()
    finally:
        os.close(place)


def folder() -> int:
    """Return a descriptor of an empty file system, which goes with its last file."""
    context = k.fsopen("tmpfs")
    try:
        k.fsconfig_create(context)
        return k.fsmount(context, k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOEXEC)
    finally:
        os.close(context)


def _host() -> int:
    return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
