"""cp's rules of what lands where, between two directories that play host and container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.cli import copying
from knarr.cli.commands import cp
from knarr.errors import InvalidArgument, KnarrError, NotFound
from knarr.snapshots import archive
from knarr.snapshots.archive import PathStat


class Rooted:
    """An End whose root is a directory, as a container's is."""

    def __init__(self, root: Path) -> None:
        self.root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def stat(self, path: str, *, follow: bool) -> PathStat:
        return archive.stat_path(self.root, path, follow=follow)

    def get(self, path: str, *, follow: bool, name: str | None = None) -> Iterator[bytes]:
        return archive.get_archive(self.root, path, follow=follow, name=name)

    def put(self, directory: str, source: copying.Pieces, *, keep_owner: bool) -> None:
        owner = None if keep_owner else (os.geteuid(), os.getegid())
        archive.put_archive(self.root, directory, source, owner=owner, keep_kinds=True)


class Place:
    """Two roots: ``a`` has a file and a tree, ``b`` has a directory, a file and links."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = folder / "a", folder / "b"
        (self.a / "tree" / "sub").mkdir(parents=True)
        (self.a / "file").write_text("file")
        (self.a / "tree" / "one").write_text("one")
        (self.a / "tree" / "sub" / "two").write_text("two")
        os.link(self.a / "tree" / "one", self.a / "tree" / "same")
        (self.a / "link").symlink_to("file")
        (self.b / "dir").mkdir(parents=True)
        (self.b / "there").write_text("old")
        (self.b / "to-dir").symlink_to("/dir")
        (self.b / "to-file").symlink_to("there")
        self.ends = Rooted(self.a), Rooted(self.b)

    def copy(self, source: str, target: str, *, follow: bool = False) -> None:
        copying.copy(self.ends[0], source, self.ends[1], target, follow=follow)

    def found(self) -> set[str]:
        return {
            str(path.relative_to(self.b))
            for path in self.b.rglob("*")
            if path.name not in ("dir", "there", "to-dir", "to-file")
        }


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for end in made.ends:
        os.close(end.root)


TREE = {"one", "same", "sub", "sub/two"}


def below(name: str, members: set[str]) -> set[str]:
    return {name, *(f"{name}/{member}" for member in members)}


@pytest.mark.parametrize(
    ("source", "target", "made"),
    [
        ("/file", "/new", {"new"}),
        ("/file", "/dir", {"dir/file"}),
        ("/file", "/dir/", {"dir/file"}),
        ("/file", "/dir/other", {"dir/other"}),
        ("/file", "/to-dir", {"dir/file"}),
        ("/tree", "/new", below("new", TREE)),
        ("/tree", "/new/", below("new", TREE)),
        ("/tree", "/dir", below("dir/tree", TREE)),
        ("/tree/", "/dir", below("dir/tree", TREE)),
        ("/tree/.", "/dir", {f"dir/{name}" for name in TREE}),
        ("/tree/.", "/new", below("new", TREE)),
        ("/link", "/dir", {"dir/link"}),
    ],
)
def test_what_lands_where(place: Place, source: str, target: str, made: set[str]) -> None:
    place.copy(source, target)
    assert place.found() == made


def test_an_existing_file_is_replaced_also_through_a_link(place: Place) -> None:
    place.copy("/file", "/to-file")
    assert (place.b / "there").read_text() == "file"
    assert (place.b / "to-file").is_symlink()


def test_links_are_copied_unless_followed(place: Place) -> None:
    place.copy("/link", "/copy")
    assert (place.b / "copy").is_symlink()
    place.copy("/link", "/real", follow=True)
    assert (place.b / "real").read_text() == "file"


def test_hard_links_stay(place: Place) -> None:
    place.copy("/tree", "/new")
    assert (place.b / "new/one").stat().st_ino == (place.b / "new/same").stat().st_ino


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("/none", "/dir", NotFound),
        ("/file/", "/dir", InvalidArgument),
        ("/file/.", "/dir", InvalidArgument),
        ("/file", "/new/", InvalidArgument),
        ("/file", "/none/new", NotFound),
        ("/file", "/there/new", InvalidArgument),
        ("/tree", "/there", InvalidArgument),
        ("/file", "/there/", InvalidArgument),
    ],
)
def test_refusals(place: Place, source: str, target: str, kind: type[KnarrError]) -> None:
    with pytest.raises(kind):
        place.copy(source, target)
    assert place.found() == set()


def test_sparse_files_are_renamed_whole(place: Place) -> None:
    with (place.a / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    place.copy("/sparse", "/new")
    assert (place.b / "new").read_bytes() == bytes(1 << 20) + b"end"


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("web:/etc", ("web", "/etc")),
        ("web:", ("web", "")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("plain", ("", "plain")),
        ("-", ("", "-")),
        (":x", ("", ":x")),
    ],
)
def test_which_side_is_the_container(word: str, parts: tuple[str, str]) -> None:
    assert cp.split(word) == parts
