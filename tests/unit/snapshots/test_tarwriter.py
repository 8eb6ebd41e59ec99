from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.snapshots import tarentry, tarwriter
from knarr.snapshots.tarentry import Entry
from knarr.snapshots.tarstream import TarReader
from tests.support.tars import file, tar

KINDS = [
    tarentry.FILE,
    tarentry.DIRECTORY,
    tarentry.SYMLINK,
    tarentry.HARDLINK,
    tarentry.CHARACTER,
    tarentry.BLOCK_DEVICE,
    tarentry.FIFO,
]
_names = st.binary(min_size=1, max_size=300).map(
    lambda raw: raw.replace(b"\0", b"n").rstrip(b"/") or b"n"
)
_xattr_names = st.binary(min_size=1, max_size=40).map(
    lambda raw: b"user." + raw.replace(b"\0", b"")
)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from(KINDS))
    data = draw(st.binary(max_size=2000)) if kind == tarentry.FILE else b""
    entry = Entry(
        draw(_names),
        kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 0xFFFFFFFE)),
        gid=draw(st.integers(0, 0xFFFFFFFE)),
        size=len(data),
        mtime_ns=draw(st.integers(-(10**19), 10**20)),
        xattrs=draw(st.dictionaries(_xattr_names, st.binary(max_size=100), max_size=3)),
    )
    if kind in {tarentry.SYMLINK, tarentry.HARDLINK}:
        entry.link = draw(_names)
    if kind in {tarentry.CHARACTER, tarentry.BLOCK_DEVICE}:
        entry.major, entry.minor = draw(st.integers(0, 4095)), draw(st.integers(0, (1 << 20) - 1))
    if kind == tarentry.FILE and data and draw(st.booleans()):
        half = len(data) // 2
        entry.size = 10**11
        entry.sparse = [(o, n) for o, n in ((512, half), (10**10, len(data) - half)) if n]
    return entry, data


def _facts(entry: Entry) -> tuple[object, ...]:
    name = entry.name.rstrip(b"/") if entry.kind == tarentry.DIRECTORY else entry.name
    return (
        name, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns,
        entry.link, entry.major, entry.minor, dict(entry.xattrs), entry.sparse,
    )  # fmt: skip


@settings(max_examples=300)
@given(st.lists(entries(), max_size=4))
def test_what_is_written_is_read(members: list[tuple[Entry, bytes]]) -> None:
    data = tar(*members)
    assert data == tar(*members)
    reader = TarReader(io.BytesIO(data))
    for entry, contents in members:
        found = reader.next()
        assert found is not None
        assert _facts(found) == _facts(entry)
        assert b"".join(bytes(piece) for _, piece in reader.segments()) == contents
    assert reader.next() is None


def test_sizes_beyond_octal() -> None:
    for size in (0o77777777777, 0o77777777777 + 1, 1 << 50):
        header = tarwriter.entry_header(Entry(b"big", tarentry.FILE, size=size))
        found = TarReader(io.BytesIO(header)).next()
        assert found is not None
        assert found.size == size


def test_plain_entries_need_no_extended_header() -> None:
    entry = Entry(b"f", tarentry.FILE, size=3, mtime_ns=5 * 10**9)
    assert len(tarwriter.entry_header(entry)) == 512


def _sample() -> bytes:
    sparse = Entry(b"sparse", tarentry.FILE, size=1 << 20, sparse=[(4096, 3), (1 << 19, 2)])
    return tar(
        file("long/" + "n" * 200, b"x", xattrs={b"user.k": b"v"}),
        file("umlaut-\u00e4", b"y"),
        (sparse, b"abcde"),
    )


def test_tarfile_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(_sample())) as archive:
        long, umlaut, sparse = archive.getmembers()
        assert long.name == "long/" + "n" * 200
        assert long.pax_headers["SCHILY.xattr.user.k"] == "v"
        assert umlaut.name == "umlaut-\u00e4"
        assert (sparse.name, sparse.size) == ("sparse", 1 << 20)
        opened = archive.extractfile(sparse)
        assert opened is not None
        contents = opened.read()
    assert contents[4096:4099] == b"abc"
    assert contents[1 << 19 : (1 << 19) + 2] == b"de"
    assert len(contents.strip(b"\0")) == (1 << 19) + 2 - 4096


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
def test_gnu_tar_reads_it() -> None:
    done = subprocess.run(
        ["tar", "-tvf", "-", "--quoting-style=literal"],
        input=_sample(), capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    assert [line.split()[2] for line in lines] == ["1", "1", str(1 << 20)]
    assert lines[2].endswith(" sparse")
