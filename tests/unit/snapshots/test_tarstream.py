from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.errors import InvalidArchive
from knarr.snapshots.tarentry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Entry,
    Limits,
)
from knarr.snapshots.tarstream import TarReader
from tests.support.tars import directory, file, hardlink, node, symlink, tar

SAMPLE = tar(
    directory("d", 0o1777, uid=3_000_000, gid=5),
    file("d/" + "n" * 150, b"long" * 300, xattrs={b"user.a": b"\0\n"}),
    symlink("l", "t" * 200),
    hardlink("h", "d/" + "n" * 150),
    node("c", CHARACTER, major=5, minor=300),
    file("e"),
)


def read(data: bytes, **limits: int) -> list[tuple[Entry, bytes]]:
    reader = TarReader(io.BytesIO(data), Limits(**limits))
    return [(entry, _contents(reader, entry)) for entry in reader]


def _contents(reader: TarReader, entry: Entry) -> bytes:
    contents = bytearray(entry.size if entry.size < 1 << 22 else 0)
    for offset, piece in reader.segments():
        contents[offset : offset + len(piece)] = piece
    return bytes(contents)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_tarfile_writes(format: int) -> None:
    raw = io.BytesIO()
    long = "p" * 80 + "/" + "n" * 90
    with tarfile.open(fileobj=raw, mode="w", format=format) as archive:
        for name, kind, data in (
            (long, tarfile.REGTYPE, b"x" * 1000), ("d", tarfile.DIRTYPE, b""),
            ("f", tarfile.FIFOTYPE, b""), ("b", tarfile.BLKTYPE, b""),
            ("s", tarfile.SYMTYPE, b""), ("h", tarfile.LNKTYPE, b""),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode, info.uid, info.gid = kind, len(data), 0o4751, 7, 8
            info.mtime = 1234
            info.devmajor, info.devminor = 8, 9
            if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
                info.linkname = "l" * (90 if format == tarfile.USTAR_FORMAT else 300)
            archive.addfile(info, io.BytesIO(data))
    found = read(raw.getvalue())
    assert [entry.kind for entry, _ in found] == [
        FILE, DIRECTORY, FIFO, BLOCK_DEVICE, SYMLINK, HARDLINK
    ]  # fmt: skip
    entry, data = found[0]
    assert (entry.name, data) == (long.encode(), b"x" * 1000)
    assert (entry.mode, entry.uid, entry.gid, entry.mtime_ns) == (0o4751, 7, 8, 1234 * 10**9)
    assert (found[3][0].major, found[3][0].minor) == (8, 9)
    assert len(found[4][0].link) in {90, 300}


def test_base256_and_negative_times() -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.uid, info.mtime = 0xFFFFFFFE, -5
        archive.addfile(info)
    [(entry, _)] = read(raw.getvalue())
    assert (entry.uid, entry.mtime_ns) == (0xFFFFFFFE, -5 * 10**9)


def test_global_headers_give_way_to_local_ones() -> None:
    raw = io.BytesIO()
    with tarfile.open(
        fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "5.5", "uid": "9"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("plain"))
        info = tarfile.TarInfo("own")
        info.pax_headers = {"uid": "10"}
        archive.addfile(info)
    plain, own = (entry for entry, _ in read(raw.getvalue()))
    assert (plain.uid, plain.mtime_ns) == (9, 5_500_000_000)
    assert (own.uid, own.mtime_ns) == (10, 5_500_000_000)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
@pytest.mark.parametrize(
    "options",
    [["--format=gnu"], ["--format=posix", "--sparse-version=0.0"],
     ["--format=posix", "--sparse-version=0.1"], ["--format=posix", "--sparse-version=1.0"]],
)  # fmt: skip
@pytest.mark.parametrize("stretches", [1, 3, 40, 300])
def test_sparse_files_of_gnu_tar(options: list[str], stretches: int, tmp_path: Path) -> None:
    step = 16384
    sparse = tmp_path / ("sparse" + "x" * 100)
    with sparse.open("wb") as opened:
        for index in range(stretches):
            opened.seek(index * 2 * step + step)
            opened.write(bytes([index % 255 + 1]) * 5000)
        opened.truncate(stretches * 2 * step + 7)
    command = ["tar", "-cS", *options, "-C", str(tmp_path), sparse.name]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(data) < stretches * step + 50_000
    reader = TarReader(io.BytesIO(data))
    entry = reader.next()
    assert entry is not None
    assert entry.sparse is not None
    assert (os.fsdecode(entry.name), entry.size) == (sparse.name, sparse.stat().st_size)
    contents = bytearray(entry.size)
    for offset, piece in reader.segments():
        contents[offset : offset + len(piece)] = piece
    assert bytes(contents) == sparse.read_bytes()
    assert reader.next() is None


def test_entries_may_be_skipped_or_read_half() -> None:
    reader = TarReader(io.BytesIO(tar(file("a", b"1" * 3000), file("b", b"2" * 3000), file("c"))))
    assert next(iter(reader)).name == b"a"
    second = reader.next()
    assert second is not None
    assert next(reader.segments())[0] == 0
    third = reader.next()
    assert third is not None
    assert third.name == b"c"
    assert reader.next() is None
    assert reader.next() is None


def test_read_has_a_limit() -> None:
    reader = TarReader(io.BytesIO(tar(file("a", b"12345"), file("b", b"123456"))))
    reader.next()
    assert reader.read(5) == b"12345"
    reader.next()
    with pytest.raises(InvalidArchive):
        reader.read(5)


def test_drain_reads_to_the_end() -> None:
    source = io.BytesIO(SAMPLE + b"rest" * 10_000)
    reader = TarReader(source)
    reader.next()
    reader.drain()
    assert source.read() == b""
    assert reader.next() is None


def test_small_reads_of_the_source() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 7))

    names = [entry.name for entry in TarReader(Trickle(SAMPLE))]
    assert names == [entry.name for entry, _ in read(SAMPLE)]


@pytest.mark.parametrize("cut", [1, 511, 513, 1500, 2000, 2500])
def test_truncated(cut: int) -> None:
    with pytest.raises(InvalidArchive, match="truncated"):
        read(SAMPLE[:cut])


def test_ends() -> None:
    body = tar(file("a", b"1", mtime_ns=0))[:1024]
    for end in (b"", bytes(512), bytes(1024), bytes(10240)):
        assert [entry.name for entry, _ in read(body + end)] == [b"a"]
    assert read(b"") == []
    with pytest.raises(InvalidArchive, match="lone zero"):
        read(body + bytes(512) + body)
    assert len(read(body + bytes(1024) + b"whatever" * 100)) == 1


def test_checksums() -> None:
    body = bytearray(tar(file(b"\xe9\xff", b"1", mtime_ns=0)))
    body[100] ^= 1
    with pytest.raises(InvalidArchive, match="checksum"):
        read(bytes(body))
    # Old tars summed signed bytes.
    body = bytearray(tar(file("a", b"1", mtime_ns=0)))
    body[0:2] = b"\xe9\xff"
    rest = body[:148] + body[156:512]
    signed = 256 + sum(byte - 256 if byte > 127 else byte for byte in rest)
    body[148:156] = b"%06o\0 " % signed
    assert read(bytes(body))[0][0].name == b"\xe9\xff"


def _patched(field: slice, value: bytes, member: bytes = tar(file("a", b"1", mtime_ns=0))) -> bytes:
    block = bytearray(member)
    block[field] = value
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (slice(124, 136), b"\xff" * 12),  # negative size
        (slice(124, 136), b"\x80" + b"\xff" * 11),  # enormous size
        (slice(124, 136), b"99999999999\0"),
        (slice(108, 116), b"\xff" * 8),  # uid -1
        (slice(108, 116), b"\x80\0\0\0\xff\xff\xff\xff"),  # uid 2**32-1
        (slice(136, 148), b"\x80" + b"\x7f" * 11),  # mtime
        (slice(100, 108), b"no mode\0"),
        (slice(156, 157), b"Z"),
        (slice(156, 157), b"D"),
        (slice(156, 157), b"x"),
    ],
)
def test_lying_fields(field: slice, value: bytes) -> None:
    with pytest.raises(InvalidArchive):
        read(_patched(field, value))


def test_device_numbers_have_bounds() -> None:
    member = tar(node("c", CHARACTER, major=1, minor=3, mtime_ns=0))
    with pytest.raises(InvalidArchive, match="device"):
        read(_patched(slice(329, 337), b"7777777\0", member))


def test_only_files_have_data() -> None:
    data = _patched(
        slice(156, 157), b"5", tar(directory("d", mtime_ns=0), file("x", b"1", mtime_ns=0))
    )
    data = _patched(slice(124, 136), b"00000001000\0", data)
    assert [entry.name for entry, _ in read(data)] == [b"d/", b"x"]


def test_old_tars_mark_directories_by_the_slash() -> None:
    member = _patched(slice(156, 157), b"\0", tar(directory("old", mtime_ns=0)))
    assert read(member)[0][0].kind == DIRECTORY


def test_volume_labels_are_ignored() -> None:
    label = _patched(slice(156, 157), b"V", tar(directory("label", mtime_ns=0))[:512])
    assert [entry.name for entry, _ in read(label + tar(file("a", mtime_ns=0)))] == [b"a"]


def test_an_extended_header_must_be_followed() -> None:
    with pytest.raises(InvalidArchive, match="after an extended header"):
        read(tar(file("n" * 200))[:1024])


def test_limits() -> None:
    data = tar(file("a", b"1" * 10, mtime_ns=0), file("b", b"1" * 10, mtime_ns=0))
    assert len(read(data, max_entries=2, max_bytes=20)) == 2
    with pytest.raises(InvalidArchive, match="entries"):
        read(data, max_entries=1)
    with pytest.raises(InvalidArchive, match="bytes in files"):
        read(data, max_bytes=19)


def test_extended_headers_have_a_limit() -> None:
    huge = tar(file("a", xattrs={b"user.x": bytes(2 << 20)}))
    with pytest.raises(InvalidArchive, match="extended header"):
        read(huge)


def test_sparse_maps_that_lie() -> None:
    def sparse(records: dict[str, str], data: bytes) -> bytes:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("s")
            info.size, info.pax_headers = len(data), records
            archive.addfile(info, io.BytesIO(data))
        return raw.getvalue()

    new = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "100"}
    for records, data in (
        (new, b"1\n0\n200\n".ljust(512, b"\0") + bytes(200)),
        (new, b"9999999999\n".ljust(512, b"\0")),
        (new, b"1" * 512 + b"1" * 512 + b"1" * 512),
        (new, b"2\n0\n5\n"),
        (new | {"GNU.sparse.realsize": "-1"}, b"0\n".ljust(512, b"\0")),
        ({"GNU.sparse.map": "0,5,3,5", "GNU.sparse.size": "10"}, bytes(10)),
        ({"GNU.sparse.map": "0,5,3", "GNU.sparse.size": "10"}, bytes(5)),
        ({"GNU.sparse.map": "0,5"}, bytes(5)),
    ):
        with pytest.raises(InvalidArchive):
            read(sparse(records, data))


@settings(max_examples=400)
@given(st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    changed = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            # Make the checksum right again, so that the damage gets further.
            start = position - position % 512
            changed[start + 148 : start + 156] = b"        "
            total = sum(changed[start : start + 512])
            changed[start + 148 : start + 156] = b"%06o\0 " % total
    try:
        read(bytes(changed), max_bytes=1 << 22)
    except InvalidArchive:
        pass


@given(st.binary(max_size=2048))
def test_noise_never_raises_anything_else(data: bytes) -> None:
    try:
        read(data)
    except InvalidArchive:
        pass
