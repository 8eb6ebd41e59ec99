from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.snapshots import whiteouts
from knarr.snapshots.lowers import Below, Lowers


@pytest.fixture
def base(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def place(lowers: Lowers, path: bytes) -> bytes | None:
    found = lowers.find(path)
    return found.place if found else None


def test_nothing_below(base: int) -> None:
    lowers = Lowers(())
    assert not lowers
    assert lowers.find(b"") is None
    assert lowers.find(b"a/b") is None


def test_the_topmost_counts(base: int, tmp_path: Path) -> None:
    for name in ("top/d", "low/d/sub", "low/only"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "top/d/f").write_text("new")
    (tmp_path / "low/d/f").write_text("old")
    (tmp_path / "low/d/g").symlink_to("f")
    lowers = Lowers([Below(base, each) for each in (b"top", b"low")])
    assert place(lowers, b"") == b"top"
    assert place(lowers, b"d") == b"top/d"
    assert place(lowers, b"d/f") == b"top/d/f"
    assert place(lowers, b"d/sub") == b"low/d/sub"
    assert place(lowers, b"only") == b"low/only"
    assert place(lowers, b"d/f/x") is None
    assert place(lowers, b"absent/x") is None
    link = lowers.find(b"d/g")
    assert link is not None
    assert stat.S_ISLNK(link.status.st_mode)
    assert lowers.readlink(link) == b"f"
    assert lowers.names(b"d") == {b"f", b"g", b"sub"}
    assert lowers.names(b"nothing") == set()


def test_a_file_hides_the_directory_below(base: int, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top/d").write_text("file")
    (tmp_path / "low/d/sub").mkdir(parents=True)
    lowers = Lowers([Below(base, each) for each in (b"top", b"low")])
    assert place(lowers, b"d") == b"top/d"
    assert place(lowers, b"d/sub") is None


def test_symlinks_in_layers_are_not_followed(base: int, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top/d").symlink_to("/etc")
    lowers = Lowers([Below(base, each) for each in (b"top",)])
    assert place(lowers, b"d") == b"top/d"
    assert place(lowers, b"d/passwd") is None


@pytest.mark.root
def test_whiteouts_and_opaque_directories(base: int, tmp_path: Path) -> None:
    for name in ("top/d", "middle/e", "low/d/sub", "low/e", "low/gone/sub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "low/e/f").write_text("x")
    top = os.open(tmp_path / "top", os.O_RDONLY)
    try:
        whiteouts.make_whiteout(top, b"gone")
        whiteouts.make_opaque(top, b"d")
    finally:
        os.close(top)
    lowers = Lowers([Below(base, each) for each in (b"top", b"middle", b"low")])
    assert place(lowers, b"gone") is None
    assert place(lowers, b"gone/sub") is None
    assert place(lowers, b"d/sub") is None
    assert place(lowers, b"e/f") == b"low/e/f"
    assert lowers.names(b"") == {b"d", b"e"}
    assert lowers.names(b"d") == set()
