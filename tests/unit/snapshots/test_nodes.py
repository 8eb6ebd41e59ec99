from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.kernel import filedata
from knarr.snapshots import nodes
from knarr.snapshots.tarentry import FILE, SYMLINK, Entry


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def mine(name: bytes, kind: str, **more: object) -> Entry:
    return Entry(name, kind, uid=os.getuid(), gid=os.getgid(), **more)  # type: ignore[arg-type]


def test_make_and_describe(folder: int) -> None:
    entry = mine(b"f", FILE, size=3, mode=0o640, mtime_ns=5, xattrs={b"user.a": b"b"})
    nodes.make(folder, b"f", entry, [(0, memoryview(b"abc"))])
    nodes.make(folder, b"s", mine(b"s", SYMLINK, link=b"target", mode=0o777, mtime_ns=6), ())
    for name, wanted in ((b"f", entry), (b"s", None)):
        found = nodes.describe(folder, name, name)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
        again = nodes.describe_open(fd, name)
        os.close(fd)
        assert found is not None
        assert again is not None
        assert (found.kind, found.mode, found.link) == (again.kind, again.mode, again.link)
        if wanted is not None:
            assert (found.mode, found.size, found.mtime_ns) == (0o640, 3, 5)
            assert found.xattrs == again.xattrs == {b"user.a": b"b"}
        else:
            assert (found.link, found.mtime_ns) == (b"target", 6)


def test_what_exists_is_not_touched(folder: int, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "s").symlink_to("victim")
    for name in (b"victim", b"s"):
        with pytest.raises(FileExistsError):
            nodes.make(folder, name, mine(name, FILE, size=1), [(0, memoryview(b"x"))])
    assert (tmp_path / "victim").read_text() == "mine"


def test_holes(folder: int, tmp_path: Path) -> None:
    size = 1 << 20
    data = [(4096, memoryview(b"x" * 4096)), (size - 8192, memoryview(b"y" * 4096))]
    nodes.make(folder, b"f", mine(b"f", FILE, size=size), data)
    fd = filedata.open_file(folder, b"f")
    try:
        stretches = filedata.data_map(fd, size)
        assert nodes.worth_sparse(stretches, size)
        read = {offset: bytes(piece) for offset, piece in filedata.read_stretches(fd, stretches)}
        assert b"".join(read.values()).strip(b"\0") != b""
        assert filedata.data_map(fd, 0) == []
        assert not nodes.worth_sparse([(0, size)], size)
    finally:
        os.close(fd)
    assert (tmp_path / "f").stat().st_size == size


def test_a_shrinking_file_is_filled_with_zeros(folder: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    fd = filedata.open_file(folder, b"f")
    try:
        assert b"".join(bytes(p) for _, p in filedata.read_stretches(fd, [(0, 6)])) == b"abc\0\0\0"
    finally:
        os.close(fd)


def test_only_regular_files_are_opened(folder: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in (b"fifo", b"link", b"absent"):
        with pytest.raises(OSError):
            filedata.open_file(folder, name)


def test_sockets_have_no_entry(folder: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/socket")
        assert nodes.describe(folder, b"socket", b"x") is None


@pytest.mark.parametrize(
    ("name", "kept"),
    [(b"user.a", True), (b"security.capability", True), (b"system.posix_acl_access", True),
     (b"trusted.overlay.opaque", False), (b"user.overlay.opaque", False), (b"trusted.a", False),
     (b"security.selinux", False), (b"system.nfs4_acl", False)],
)  # fmt: skip
def test_which_attributes_travel(name: bytes, kept: bool) -> None:
    assert nodes.keeps_xattr(name) is kept
