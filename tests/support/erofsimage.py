"""Reads EROFS images by the format's description, to see what the writer wrote; needs no root."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

_PREFIXES = {1: b"user.", 4: b"trusted.", 6: b"security."}


class Seen(NamedTuple):
    """One inode: its number, what stat(2) says, contents or target, attributes."""

    nid: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    links: int
    rdev: int
    contents: bytes
    xattrs: dict[bytes, bytes]


class Image:
    """An image and its devices, all in memory."""

    def __init__(self, image: bytes, *devices: bytes) -> None:
        self._image = image
        self._devices = devices
        fields = struct.unpack_from("<IIIBBHQQIIII16s16sIHHHBBIQ", image, 1024)
        assert fields[0] == 0xE0F5E1E2
        assert fields[3] == 9
        assert fields[16] == len(devices)
        assert len(image) == fields[9] * 512
        self.checksum, self.root_nid, self.inodes = fields[1], fields[5], fields[6]
        start = fields[17] * 128
        self.device_blocks = [
            struct.unpack_from("<64sI", image, start + 128 * index)[1]
            for index in range(len(devices))
        ]

    def tree(self) -> dict[bytes, Seen]:
        """Return every path with its inode; the root is called b""."""
        return dict(self._walk(b"", self.root_nid, self.root_nid))

    def _walk(self, path: bytes, nid: int, parent: int) -> Iterator[tuple[bytes, Seen]]:
        seen = self.inode(nid)
        yield path, seen
        if not stat.S_ISDIR(seen.mode):
            return
        entries = self.entries(seen.contents)
        names = [name for name, _, _ in entries]
        assert names == sorted(set(names))
        known = {name: each for name, each, _ in entries}
        assert (known.pop(b"."), known.pop(b"..")) == (nid, parent)
        for name, each, kind in entries:
            if name in known:
                below = path + b"/" + name if path else name
                mode = self.inode(each).mode
                assert kind == {0o10: 1, 4: 2, 2: 3, 6: 4, 1: 5, 0o12: 7}[mode >> 12]
                yield from self._walk(below, each, nid)

    def inode(self, nid: int) -> Seen:
        """Return one inode with all that belongs to it."""
        place = nid * 32
        (form, count, mode, _, size, data, _, uid, gid, seconds, nanoseconds, links) = (
            struct.unpack_from("<HHHHQIIIIqII", self._image, place)
        )
        assert form & 1
        behind = place + 64 + ((count - 1) * 4 + 12 if count else 0)
        xattrs = self._xattrs(place + 64, behind) if count else {}
        contents = b""
        if form >> 1 == 4:
            contents = self._chunk(behind + -behind % 8, data, size)
        elif stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            contents = self._flat(form >> 1, behind, data, size)
        else:
            assert size == 0
        rdev = data if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
        when = seconds * 10**9 + nanoseconds
        return Seen(nid, mode, (uid, gid), when, links, rdev, contents, xattrs)

    def _flat(self, layout: int, behind: int, block: int, size: int) -> bytes:
        whole = size // 512 * 512 if layout == 2 else size
        contents = self._image[block * 512 : block * 512 + whole]
        tail = size - whole
        if layout == 2:
            assert behind % 512 + tail <= 512, "a tail crosses a block's end"
        else:
            assert layout == 0
        return contents + self._image[behind : behind + tail]

    def _chunk(self, place: int, form: int, size: int) -> bytes:
        assert form & 0x20
        assert size <= 512 << (form & 0x1F)
        device: int
        block: int
        _, device, block = struct.unpack_from("<HHI", self._image, place)
        return self._devices[device - 1][block * 512 : block * 512 + size]

    def _xattrs(self, place: int, end: int) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        place += 12
        while place < end:
            length, index, size = struct.unpack_from("<BBH", self._image, place)
            start = place + 4
            name = _PREFIXES[index] + self._image[start : start + length]
            found[name] = self._image[start + length : start + length + size]
            place = start + length + size
            place += -place % 4
        assert place == end
        return found

    @staticmethod
    def entries(contents: bytes) -> list[tuple[bytes, int, int]]:
        """Return (name, nid, type) of a directory's blocks."""
        found: list[tuple[bytes, int, int]] = []
        for start in range(0, len(contents), 512):
            block = contents[start : start + 512]
            count = struct.unpack_from("<QHB", block)[1] // 12
            records = [struct.unpack_from("<QHB", block, 12 * index) for index in range(count)]
            ends = [record[1] for record in records[1:]] + [len(block)]
            for (nid, offset, kind), stop in zip(records, ends, strict=True):
                found.append((block[offset:stop].rstrip(b"\0"), nid, kind))
        return found
