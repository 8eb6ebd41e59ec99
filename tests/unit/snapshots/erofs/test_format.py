"""The structures as the kernel reads them."""

from __future__ import annotations

import struct

import pytest

from knarr.snapshots.erofs import format as disk


def test_the_checksum_is_castagnolis() -> None:
    # RFC 3720, appendix B.4: 32 bytes of zeros; EROFS leaves out the last inversion.
    assert disk.crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA
    assert disk.crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


@pytest.mark.parametrize("devices", [1, 2, 7])
def test_the_head_has_the_superblock_where_it_belongs(devices: int) -> None:
    table = [(b"tag", 5)] * devices
    head = disk.head(bytes(16), blocks=9, inodes=3, root_nid=48, devices=table)
    assert len(head) == disk.metadata_start(devices)
    assert len(head) % disk.BLOCK == 0
    magic, checksum, _, bits, _, root = struct.unpack_from("<IIIBBH", head, 1024)
    assert (magic, bits, root) == (0xE0F5E1E2, 9, 48)
    block = bytearray(head[1024:1536])
    block[4:8] = bytes(4)
    assert disk.crc32c(bytes(block)) == checksum
    count, slot = struct.unpack_from("<HH", head, 1024 + 86)
    assert (count, slot * 128) == (devices, 1152)
    assert struct.unpack_from("<I", head, slot * 128 + 64) == (5,)


@pytest.mark.parametrize(
    ("size", "bits"), [(1, 0), (512, 0), (513, 1), (1024, 1), (1025, 2), (1 << 40, 31)]
)
def test_one_chunk_holds_a_file(size: int, bits: int) -> None:
    assert disk.chunk_format(size) == 0x20 | bits


def test_device_numbers_are_the_kernels() -> None:
    assert disk.device_number(1, 3) == 0x103
    assert disk.device_number(8, 300) == (300 & 0xFF) | 8 << 8 | 0x100 << 12


def test_times_before_1970_round_down() -> None:
    inode = disk.inode(
        0, mode=0o100644, xattrs=0, size=0, data=0, number=1, owner=(0, 0), mtime_ns=-1, links=1
    )
    assert struct.unpack_from("<qI", inode, 32) == (-1, 999_999_999)


def test_attributes_are_padded_and_sorted() -> None:
    body = disk.xattr_body({b"user.b": b"xyz", b"security.capability": b"c" * 20})
    assert len(body) % 4 == 0
    assert body[12:16] == struct.pack("<BBH", 10, 6, 20)
    assert disk.xattr_body({}) == b""
