"""A copied tree is the same in everything that can be told apart."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from knarr.runtime.treecopy import copy_tree
from knarr.runtime.trees import OPEN_DIRECTORY, walk


def copied(source: Path, target: Path) -> None:
    """Copy one directory into another."""
    target.mkdir()
    descriptors = [os.open(path, OPEN_DIRECTORY) for path in (source, target)]
    try:
        copy_tree(*descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def described(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return path -> everything about it."""
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, bytes] = {}
    handle = os.open(root, OPEN_DIRECTORY)
    for directory in walk(handle):
        for name in [b".", *directory.names]:
            path = os.path.join(directory.path, name)
            full = b"/proc/self/fd/%d/%s" % (directory.fd, name)
            status = os.lstat(full)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(full)).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(full)
            first = inodes.setdefault(status.st_ino, path) if status.st_nlink > 1 else path
            attributes = sorted(
                (key, os.getxattr(full, key, follow_symlinks=False))
                for key in os.listxattr(full, follow_symlinks=False)
            )
            found[path] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns,
                content, attributes, None if stat.S_ISDIR(status.st_mode) else first,
            )  # fmt: skip
    os.close(handle)
    return found


def plain_tree(root: Path) -> None:
    """Make what every user may make."""
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_bytes(os.urandom(100_000))
    (root / "a" / "empty").touch()
    os.link(root / "a" / "file", root / "a" / "b" / "linked")
    (root / "dangling").symlink_to("no/where")
    os.mkfifo(root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/cwd/{os.path.relpath(root)}/s")
    os.setxattr(root / "a" / "file", "user.note", b"x")
    (root / os.fsdecode(b"\xff\n name")).write_text("odd")
    (root / "a" / "locked").write_text("y")
    (root / "a" / "locked").chmod(0o400)
    os.utime(root / "a" / "b", ns=(5, 7_000_000_001))
    (root / "a").chmod(0o1751)


def test_the_copy_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    plain_tree(tmp_path / "one")
    copied(tmp_path / "one", tmp_path / "two")
    assert described(tmp_path / "two") == described(tmp_path / "one")


@pytest.mark.root
def test_owners_devices_and_what_steers_overlayfs(tmp_path: Path) -> None:
    one = tmp_path / "one"
    (one / "opaque").mkdir(parents=True)
    os.mknod(one / "whiteout", stat.S_IFCHR)
    os.mknod(one / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (one / "suid").touch()
    os.chown(one / "suid", 7, 8)
    (one / "suid").chmod(0o4755)
    (one / "link").symlink_to("suid")
    os.chown(one / "link", 9, 9, follow_symlinks=False)
    os.setxattr(one / "opaque", "trusted.overlay.opaque", b"y")
    wanted = described(one)
    os.setxattr(one / "opaque", "trusted.overlay.origin", b"\0")
    copied(one, tmp_path / "two")
    assert described(tmp_path / "two") == wanted


def test_holes_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with (tmp_path / "one" / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"end")
    copied(tmp_path / "one", tmp_path / "two")
    copy = tmp_path / "two" / "sparse"
    assert copy.stat().st_size == (1 << 30) + 3
    assert copy.stat().st_blocks * 512 < 1 << 20
    with copy.open("rb") as file:
        assert file.read(5) == b"begin"
        file.seek(1 << 30)
        assert file.read() == b"end"
