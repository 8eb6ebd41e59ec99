"""``Node``: one inode of an image that is being planned."""

from __future__ import annotations

import stat


class Node:
    """An inode, and what is in it when it is a directory.

    st_mode, st_rdev: as in stat(2), st_rdev as the image has it. size: bytes of a file's
    contents, which are at ``block`` of the device with that number (from 1; 0: nowhere). chunk:
    0 when they are there as a whole; else after so many bytes they go on at the start of the next
    device, and so on.
    xattrs: by full name. opaque: it hides the directories of its name below. links, nid and
    body are filled in when the image is laid out.
    """

    __slots__ = (
        "block",
        "body",
        "children",
        "chunk",
        "device",
        "link",
        "links",
        "mtime_ns",
        "nid",
        "opaque",
        "owner",
        "size",
        "st_mode",
        "st_rdev",
        "xattrs",
    )

    def __init__(self, st_mode: int, st_rdev: int = 0) -> None:
        self.st_mode = st_mode
        self.st_rdev = st_rdev
        self.owner = (0, 0)
        self.mtime_ns = 0
        self.size = 0
        self.device = 0
        self.block = 0
        self.chunk = 0
        self.link = b""
        self.xattrs: dict[bytes, bytes] | None = None
        self.children: dict[bytes, Node] | None = {} if stat.S_ISDIR(st_mode) else None
        self.opaque = False
        self.links = 0
        self.nid = 0
        self.body = b""
