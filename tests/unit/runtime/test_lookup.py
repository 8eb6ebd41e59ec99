"""Look-ups inside a root that lies about its paths."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.runtime.lookup import ensure_directory, ensure_file, open_in_root, read_in_root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "outside").write_text("host")
    (tmp_path / "root/etc").mkdir(parents=True)
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def where(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@pytest.mark.parametrize("link", ["/outside", "../outside", "../../../../../../outside"])
def test_links_end_inside(root: int, tmp_path: Path, link: str) -> None:
    (tmp_path / "root/link").symlink_to(link)
    with pytest.raises(FileNotFoundError):
        open_in_root(root, "/link")
    (tmp_path / "root/outside").write_text("inside")
    assert read_in_root(root, "/link", 100) == b"inside"


@pytest.mark.parametrize("path", ["/etc/passwd", "../etc/passwd", "/../../etc/passwd"])
def test_paths_do_not_climb(root: int, tmp_path: Path, path: str) -> None:
    (tmp_path / "root/etc/passwd").write_text("image")
    assert read_in_root(root, path, 100) == b"image"


def test_links_of_proc_are_not_followed(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/magic").symlink_to("/proc/self/root/etc/passwd")
    assert read_in_root(root, "/magic", 100) == b""


def test_no_links_at_all_where_asked(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/proc").symlink_to("etc")
    for path in ("/proc", "/proc/x"):
        with pytest.raises(OSError) as caught:
            open_in_root(root, path, follow=False)
        assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError):
        ensure_directory(root, "/proc/x", follow=False)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "loop", "socket"])
def test_what_is_no_file_reads_as_nothing(root: int, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "root/file"
    if kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "loop":
        target.symlink_to("file")
    elif kind == "socket":
        os.mknod(target, 0o140644)
    assert read_in_root(root, "/file", 100) == b""


def test_reading_stops_at_the_limit(root: int, tmp_path: Path) -> None:
    with (tmp_path / "root/huge").open("wb") as file:
        file.truncate(1 << 40)
    assert read_in_root(root, "/huge", 5000) == bytes(5000)


def test_directories_are_made_one_by_one(root: int, tmp_path: Path) -> None:
    assert where(ensure_directory(root, "/a/./b//c")) == str(tmp_path / "root/a/b/c")
    assert (tmp_path / "root/a/b/c").is_dir()
    assert where(ensure_directory(root, "/")) == str(tmp_path / "root")


def test_directories_are_made_where_links_lead_inside(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/var").symlink_to("/etc/../etc")
    ensured = where(ensure_directory(root, "/var/lib/x"))
    assert ensured == str(tmp_path / "root/etc/lib/x")


def test_nothing_is_made_behind_a_link_to_nowhere(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/dangling").symlink_to(f"{tmp_path}/new")
    with pytest.raises(FileNotFoundError):
        ensure_directory(root, "/dangling/sub")
    with pytest.raises(OSError):
        os.close(ensure_file(root, "/dangling"))
    assert not (tmp_path / "new").exists()
    assert sorted(os.listdir(tmp_path / "root")) == ["dangling", "etc"]


def test_a_directory_where_a_file_is(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/file").touch()
    for path in ("/file", "/file/sub"):
        with pytest.raises(NotADirectoryError):
            ensure_directory(root, path)


def test_files_are_made_empty_and_kept(root: int, tmp_path: Path) -> None:
    assert where(ensure_file(root, "/x/y/z")) == str(tmp_path / "root/x/y/z")
    assert (tmp_path / "root/x/y/z").read_bytes() == b""
    (tmp_path / "root/x/y/z").write_text("kept")
    os.close(ensure_file(root, "/x/y/z"))
    assert (tmp_path / "root/x/y/z").read_text() == "kept"


def test_no_descriptor_is_left(root: int, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (tmp_path / "root/etc/passwd").write_text("x")
    for _ in range(5):
        read_in_root(root, "/etc/passwd", 10)
        read_in_root(root, "/etc", 10)
        os.close(ensure_directory(root, "/n/m"))
        os.close(ensure_file(root, "/n/f"))
    assert len(os.listdir("/proc/self/fd")) == len(before)
