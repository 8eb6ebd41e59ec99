"""Which extended attributes of an entry an image has, after the rules of setxattr(2)."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from knarr.snapshots import nodes
from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs.limits import CannotIndex

if TYPE_CHECKING:
    from knarr.snapshots.tarentry import Entry

_CAPABILITY = b"security.capability"
# struct vfs_cap_data of revision 2 (linux/capability.h), which is what images have.
_CAPABILITY_SIZE = 20
_CAPABILITY_REVISION = 2
_XATTR_NAME_MAX = 255


def kept(entry: Entry, mode: int) -> dict[bytes, bytes] | None:
    """Return the attributes that the entry's inode gets, None for none.

    mode: its kind. Raises CannotIndex for what only a file system that is written to can
    judge (ACLs, odd capabilities), and for what is too large for an image.
    """
    found: dict[bytes, bytes] = {}
    for name, value in entry.xattrs.items():
        if not nodes.keeps_xattr(name):
            continue
        if len(name) > _XATTR_NAME_MAX or len(value) > disk.MAX_VALUE:
            raise CannotIndex(f"an extended attribute of {len(name)} and {len(value)} bytes")
        if name.startswith(b"user."):
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                continue  # such inodes have none (xattr(7)); extraction leaves them out too
            if name == b"user.":
                raise CannotIndex("an extended attribute without a name")
        elif name != _CAPABILITY:
            raise CannotIndex("a POSIX ACL")  # it would change the mode
        elif len(value) != _CAPABILITY_SIZE or value[3] != _CAPABILITY_REVISION:
            raise CannotIndex("a file capability of another revision")
        found[name] = value
    return found or None
