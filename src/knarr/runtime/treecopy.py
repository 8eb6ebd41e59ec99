"""A whole tree again: every kind of inode, its links, attributes and holes, sharing data.

Where the file system can share blocks (Btrfs, XFS) no data is copied; elsewhere the kernel
copies it. The source may change meanwhile: what vanishes is left out.
"""

import contextlib
import errno
import fcntl
import os
import stat

from knarr.kernel import filedata
from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from knarr.runtime.trees import OPEN_DIRECTORY, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.trees import Directory

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_CANNOT_SHARE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_GONE = {errno.ENOENT, errno.ELOOP, errno.ENXIO}
# What overlayfs notes of one upper directory, and finds again by itself.
_NOT_COPIED = frozenset({
    "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.origin",
    "trusted.overlay.uuid",
})  # fmt: skip


def copy_tree(source: int, target: int, *, lossy: bool = False) -> None:
    """Copy everything below the directory descriptor source into the empty directory target.

    The attributes of target become those of source too. lossy: extended attributes that the
    file system of target cannot have are left out. Raises OSError.
    """
    copier = _Copier(target, lossy)
    for directory in walk(source):
        copier.directory(directory)


class _Copier:
    """The copy while it grows: its root, where each linked inode is, whether data is shared."""

    def __init__(self, root: int, lossy: bool) -> None:
        self._root = root
        self._lossy = lossy
        self._linked: "dict[tuple[int, int], bytes]" = {}
        self._shares = True

    def directory(self, found: "Directory") -> None:
        """Fill a directory that is there already, and give it its attributes last."""
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        here = openat2(self._root, found.path or b".", OPEN_DIRECTORY, resolve=resolve)
        try:
            for name in found.names:
                with contextlib.suppress(FileNotFoundError):
                    self._node(found, here, name)
            place = b"/proc/self/fd/%d/." % here
            status = os.fstat(found.fd)
            _set_attributes(b"/proc/self/fd/%d/." % found.fd, place, status, self._lossy)
        finally:
            os.close(here)

    def _node(self, found: "Directory", here: int, name: bytes) -> None:
        status = os.stat(name, dir_fd=found.fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=here)
            return
        path = found.path + b"/" + name if found.path else name
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                os.link(first, name, src_dir_fd=self._root, dst_dir_fd=here, follow_symlinks=False)
                return
        if stat.S_ISREG(status.st_mode):
            try:
                origin = filedata.open_file(found.fd, name)
            except OSError as error:
                if error.errno in _GONE:
                    return
                raise
            try:
                self._file(origin, here, name)
            finally:
                os.close(origin)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=found.fd), name, dir_fd=here)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=here)
        origin_path = b"/proc/self/fd/%d/%s" % (found.fd, name)
        copy_path = b"/proc/self/fd/%d/%s" % (here, name)
        _set_attributes(origin_path, copy_path, status, self._lossy)

    def _file(self, origin: int, here: int, name: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(name, flags, 0o600, dir_fd=here)
        try:
            if self._shares:
                try:
                    fcntl.ioctl(copy, _FICLONE, origin)
                except OSError as error:
                    if error.errno not in _CANNOT_SHARE:
                        raise
                    self._shares = False
                else:
                    return
            _copy_data(origin, copy)
        finally:
            os.close(copy)


def _copy_data(origin: int, copy: int) -> None:
    """Copy a file's data, in the kernel where it can, and leave its holes."""
    size = os.fstat(origin).st_size
    os.ftruncate(copy, size)
    for offset, length in filedata.data_map(origin, size):
        end, position = offset + length, offset
        while position < end:
            try:
                done = os.copy_file_range(origin, copy, end - position, position, position)
            except OSError as error:
                if error.errno not in _CANNOT_SHARE:
                    raise
                for at, piece in filedata.read_stretches(origin, [(position, end - position)]):
                    os.pwrite(copy, piece, at)
                break
            if not done:
                break  # it has become shorter
            position += done


def _set_attributes(origin: bytes, copy: bytes, status: os.stat_result, lossy: bool) -> None:
    """Give a copy the owner, mode, extended attributes and times of what it is a copy of."""
    os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(copy, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(origin, follow_symlinks=False):
        if name not in _NOT_COPIED:
            with contextlib.suppress(FileNotFoundError):
                value = os.getxattr(origin, name, follow_symlinks=False)
                _set_xattr(copy, name, value, lossy)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _set_xattr(path: bytes, name: str, value: bytes, lossy: bool) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        # EPERM: user attributes of what is neither file nor directory, labels without their module.
        if not lossy or error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise
