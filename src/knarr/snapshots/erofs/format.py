"""The structures of EROFS on disk, as far as an index over tars needs them.

Names and layout: fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst of
Linux. Blocks are of 512 bytes, as those of a tar, so every file of the tar begins at one
(Linux 6.4 and later, and some older ones, take blocks smaller than a page). All numbers are
little endian.
"""

from __future__ import annotations

import struct

BLOCK = 512
BLOCK_BITS = 9
SLOT = 32  # a node's number (nid) is its place in units of this
INODE_SIZE = 64  # the extended inode: ids of 32 bits, times of its own in nanoseconds
NAME_MAX = 255
MAX_BLOCK = 0xFFFFFFFF - 1  # block addresses have 32 bits, and all ones is a hole
MAX_FILE = 1 << (31 + BLOCK_BITS)  # one chunk: the exponent has 5 bits
MAX_XATTRS = 12 + 4 * 0xFFFE  # bytes of one inode's attributes
MAX_VALUE = 0xFFFF
ROOT_NID_MAX = 0xFFFF

FLAT_PLAIN = 0
FLAT_INLINE = 2
CHUNK_BASED = 4

_EXTENDED = 1
_CHUNK_INDEXES = 0x20
_MAGIC = 0xE0F5E1E2
_SUPER_OFFSET = 1024
_SUPER_SIZE = 128
_DEVICE_SIZE = 128
_COMPAT = 0x1 | 0x2  # SB_CHKSUM, MTIME
_INCOMPAT = 0x4 | 0x8  # CHUNKED_FILE, DEVICE_TABLE

_INODE = struct.Struct("<HHHHQIIIIqII16x")
_DIRENT = struct.Struct("<QHBx")
_CHUNK = struct.Struct("<HHI")
_SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQ24x")
_DEVICE = struct.Struct("<64sII56x")

_XATTR_PREFIXES = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
DIRENT_SIZE = _DIRENT.size


def metadata_start(devices: int) -> int:
    """Return where inodes may begin, in bytes: after superblock and device table."""
    end = _SUPER_OFFSET + _SUPER_SIZE + devices * _DEVICE_SIZE
    return end + -end % BLOCK


def head(
    uuid: bytes, *, blocks: int, inodes: int, root_nid: int, devices: list[tuple[bytes, int]]
) -> bytes:
    """Return everything before the inodes.

    uuid: 16 bytes. blocks: of the image itself. devices: (tag of at most 64 bytes, blocks) of
    each, in the order of the ``device=`` options that a mount needs.
    """
    fields = (
        _MAGIC, 0, _COMPAT, BLOCK_BITS, 0, root_nid, inodes, 0, 0, blocks, 0, 0, uuid, b"",
        _INCOMPAT, 0, len(devices), (_SUPER_OFFSET + _SUPER_SIZE) // _DEVICE_SIZE, 0, 0, 0, 0,
    )  # fmt: skip
    table = b"".join(_DEVICE.pack(tag, count, 0) for tag, count in devices)
    start = metadata_start(len(devices))
    body = bytearray((_SUPER.pack(*fields) + table).ljust(start - _SUPER_OFFSET, b"\0"))
    # Of the block that the superblock stands in; the field itself counts as zero.
    body[4:8] = struct.pack("<I", crc32c(bytes(body[:BLOCK])))
    return bytes(_SUPER_OFFSET) + bytes(body)


def inode(
    layout: int,
    *,
    mode: int,
    xattrs: int,
    size: int,
    data: int,
    number: int,
    owner: tuple[int, int],
    mtime_ns: int,
    links: int,
) -> bytes:
    """Return an extended inode.

    xattrs: bytes of its attributes, as ``xattr_body`` makes them. data: block address, device
    number or chunk format. number: what 32-bit programs see of it.
    """
    seconds, nanoseconds = divmod(mtime_ns, 10**9)
    return _INODE.pack(
        _EXTENDED | layout << 1, (xattrs - 12) // 4 + 1 if xattrs else 0, mode, 0, size, data,
        number & 0xFFFFFFFF, *owner, seconds, nanoseconds, links,
    )  # fmt: skip


def chunk_format(size: int) -> int:
    """Return the inode's data word for a file of one chunk that holds all its bytes."""
    return _CHUNK_INDEXES | max(0, (size - 1).bit_length() - BLOCK_BITS)


def chunk_index(device: int, block: int) -> bytes:
    """Return where a chunk is: the number of its device, from 1, and the block there."""
    return _CHUNK.pack(0, device, block)


def device_number(major: int, minor: int) -> int:
    """Return a device number as the kernel writes it (new_encode_dev in linux/kdev_t.h)."""
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def dirents(entries: list[tuple[bytes, int, int]]) -> bytes:
    """Return one block of a directory, not padded: (name, nid, file type), sorted by name."""
    offset = DIRENT_SIZE * len(entries)
    records: list[bytes] = []
    for name, nid, kind in entries:
        records.append(_DIRENT.pack(nid, offset, kind))
        offset += len(name)
    records += [name for name, _, _ in entries]
    return b"".join(records)


def xattr_body(attributes: dict[bytes, bytes]) -> bytes:
    """Return an inode's attributes: header, then each, padded to four bytes."""
    if not attributes:
        return b""
    parts = [bytes(12)]
    for name, value in sorted(attributes.items()):
        for prefix, index in _XATTR_PREFIXES:
            if name.startswith(prefix):
                rest = name[len(prefix) :]
                record = struct.pack("<BBH", len(rest), index, len(value)) + rest + value
                parts.append(record + bytes(-len(record) % 4))
    return b"".join(parts)


def crc32c(data: bytes) -> int:
    """Return the checksum as EROFS wants it: Castagnoli's, not inverted at the end."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value
