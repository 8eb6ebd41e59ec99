"""The passwd and group files below a root directory, which are hostile.

They are resolved inside it, so that no symbolic link leads to a file of the host.
"""

import errno
import os
import stat

from knarr.errors import UnknownUser
from knarr.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO

_LIMIT = 4 * 1024 * 1024


def read(root: int) -> "tuple[bytes, bytes]":
    """Return the bytes of both below the directory behind ``root``; nothing for what is not there.

    Raises OSError, and UnknownUser for a file of 4 MiB or more.
    """
    return _read_inside(root, "etc/passwd"), _read_inside(root, "etc/group")


def _read_inside(root: int, path: str) -> bytes:
    """Return the bytes of a file below ``root``; nothing when no regular file is there.

    It is looked at before it is opened: opening a device of the image would act on it.
    """
    resolve_flags = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS
    try:
        found = files.openat2(root, path, os.O_PATH, 0, resolve_flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return b""
        raise
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return b""
        with open(f"/proc/self/fd/{found}", "rb", buffering=0) as file:
            return _read(file, path)
    finally:
        os.close(found)


def _read(file: "FileIO", path: str) -> bytes:
    data = bytearray()
    while chunk := file.read(65536):
        data += chunk
        if len(data) >= _LIMIT:
            raise UnknownUser(f"/{path} in the container has {_LIMIT} bytes or more")
    return bytes(data)
