from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.runtime.removal import remove_path, remove_tree
from knarr.runtime.trees import walk


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def nest(parent: int, name: str, depth: int) -> None:
    """Make directories inside each other, deeper than any path reaches."""
    os.mkdir(name, dir_fd=parent)
    fd = os.open(name, os.O_RDONLY, dir_fd=parent)
    for _ in range(depth):
        os.mkdir("n" * 20, dir_fd=fd)
        below = os.open("n" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_path_that_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    for _ in range(2):
        remove_path(str(tmp_path / "a"))
        assert list(tmp_path.iterdir()) == []
    remove_path(str(tmp_path / "gone" / "too"))


def test_remove_everything(folder: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    top = tmp_path / "top"
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/file").write_text("x")
    (top / "a/link").symlink_to(outside)
    (top / "a/b/dangling").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    os.mkdir(os.fsencode(top) + b"/\xff\xfe")
    (top / "a/b").chmod(0o000)
    remove_tree(folder, b"top")
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert os.listdir(outside) == ["keep"]


def test_remove_files_links_and_nothing(folder: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in (b"file", b"link", b"absent"):
        remove_tree(folder, name)
    assert os.listdir(tmp_path) == []


def test_remove_what_is_deeper_than_any_path(folder: int, tmp_path: Path) -> None:
    nest(folder, "deep", 1500)
    opened = len(os.listdir("/proc/self/fd"))
    remove_tree(folder, b"deep")
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == opened


def test_two_may_remove_the_same(folder: int, tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"top/{number % 20}/{number}/x").mkdir(parents=True)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            remove_tree(folder, b"top")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert os.listdir(tmp_path) == []


def test_walk_is_sorted_and_follows_nothing(folder: int, tmp_path: Path) -> None:
    (tmp_path / "b/d").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    (tmp_path / "c").symlink_to("/etc")
    found = [(each.path, each.names) for each in walk(folder)]
    assert found == [
        (b"", [b"a", b"b", b"c"]),
        (b"a", [b"file"]),
        (b"b", [b"d"]),
        (b"b/d", []),
    ]


def test_walk_goes_only_where_it_may(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a/x").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    forbidden = (tmp_path / "a").stat().st_ino
    found = [each.path for each in walk(folder, lambda fd: os.fstat(fd).st_ino != forbidden)]
    assert found == [b"", b"b"]


def test_walk_bears_changes(folder: int, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    seen = []
    for each in walk(folder):
        seen.append(each.path)
        if not each.path:
            (tmp_path / "a").rmdir()
            (tmp_path / "b").rmdir()
            (tmp_path / "b").symlink_to("/etc")
    assert seen == [b"", b"c"]


def test_walk_stops_where_paths_end(folder: int) -> None:
    nest(folder, "deep", 400)
    paths = [each.path for each in walk(folder)]
    assert 150 < len(paths) < 250
    assert max(map(len, paths)) < 4096
    remove_tree(folder, b"deep")


@pytest.mark.root
def test_immutable_files_go_too(folder: int, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "top/sub").mkdir(parents=True)
    (tmp_path / "top/sub/file").write_text("x")
    for name in ("top/sub/file", "top/sub"):
        fd = os.open(tmp_path / name, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, 0x40086602, (0x10).to_bytes(8, "little"))
        except OSError as error:
            pytest.skip(f"this file system has no immutable flag: {error}")
        finally:
            os.close(fd)
    with pytest.raises(PermissionError):
        (tmp_path / "top/sub/file").unlink()
    remove_tree(folder, b"top")
    assert os.listdir(tmp_path) == []
