"""From tar to image, read back by another hand: same tree, contents where they are in the tar."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.errors import InvalidArchive
from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs import index
from knarr.snapshots.erofs.limits import CannotIndex
from knarr.snapshots.lowers import Below, Lowers
from knarr.snapshots.tarentry import BLOCK_DEVICE, CHARACTER, FIFO, FILE, Entry
from knarr.snapshots.tarstream import TarReader
from tests.support.erofsimage import Image, Seen
from tests.support.tars import WHEN, Member, directory, file, hardlink, node, symlink, tar

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def image(folder: Path, data: bytes, lowers: Lowers | None = None) -> Image:
    fd = os.open(folder, os.O_RDONLY)
    try:
        planned = index.plan(TarReader(io.BytesIO(data)), lowers or Lowers(()), fd, "rest")
    finally:
        os.close(fd)
    output = io.BytesIO()
    index.write(planned, bytes(16), len(data), output)
    rest = folder / "rest"
    devices = [data, rest.read_bytes()] if rest.exists() else [data]
    rest.unlink(missing_ok=True)
    return Image(output.getvalue(), *devices)


def tree(folder: Path, *members: Member) -> dict[bytes, Seen]:
    return image(folder, tar(*members)).tree()


def test_everything_an_archive_can_say(tmp_path: Path) -> None:
    long, odd = b"n" * 255, b"not-utf8-\xff\xfe"
    found = tree(
        tmp_path,
        directory("./", 0o751, uid=1, gid=2),
        directory("d", 0o1777, uid=70_000, gid=3_000_000_000),
        file("d/suid", b"x" * 5000, mode=0o6755, uid=1, xattrs={b"user.k": b"\0v"}),
        file("cap", b"elf", xattrs={b"security.capability": CAPABILITY, b"trusted.x": b"no"}),
        symlink("link", "/absolute", uid=5),
        symlink("longlink", "t" * 700),
        node("null", CHARACTER, major=1, minor=3, mode=0o666),
        node("disk", BLOCK_DEVICE, major=8, minor=300),
        node("pipe", FIFO, mode=0o622),
        file(long, b"long"),
        file(odd, b"bytes"),
        file("empty"),
        hardlink("d/again", "cap"),
    )
    assert (found[b""].mode, found[b""].owner) == (stat.S_IFDIR | 0o751, (1, 2))
    assert found[b"d"].owner == (70_000, 3_000_000_000)
    assert found[b"d"].mtime_ns == WHEN
    assert (found[b""].links, found[b"d"].links) == (3, 2)
    assert found[b"d/suid"].contents == b"x" * 5000
    assert found[b"d/suid"].mode == stat.S_IFREG | 0o6755
    assert found[b"d/suid"].xattrs == {b"user.k": b"\0v"}
    assert found[b"cap"].xattrs == {b"security.capability": CAPABILITY}
    assert (found[b"link"].contents, found[b"link"].mode) == (b"/absolute", stat.S_IFLNK | 0o777)
    assert found[b"longlink"].contents == b"t" * 700
    assert found[b"null"].rdev == disk.device_number(1, 3)
    assert found[b"disk"].rdev == disk.device_number(8, 300)
    assert found[b"pipe"].mode == stat.S_IFIFO | 0o622
    assert (found[long].contents, found[odd].contents) == (b"long", b"bytes")
    assert found[b"empty"].contents == b""
    assert found[b"cap"].nid == found[b"d/again"].nid
    assert found[b"cap"].links == 2


def test_a_file_in_one_piece_stays_in_the_tar(tmp_path: Path) -> None:
    made = image(tmp_path, tar(file("f", b"here", mtime_ns=0)))
    assert made.device_blocks == [4]  # header, contents, and two blocks at the end
    assert made.tree()[b"f"].contents == b"here"


def test_sparse_files_go_beside_the_tar(tmp_path: Path) -> None:
    sparse = Entry(b"s", FILE, size=70_000, sparse=[(512, 3), (65_000, 2)], mtime_ns=WHEN)
    made = image(tmp_path, tar((sparse, b"abcde"), file("f", b"here"), (sparse, b"fghij")))
    found = made.tree()
    assert found[b"s"].contents == bytes(512) + b"fgh" + bytes(64_485) + b"ij" + bytes(4998)
    assert found[b"f"].contents == b"here"


def test_deletions_as_overlayfs_wants_them(tmp_path: Path) -> None:
    (tmp_path / "low/d/sub").mkdir(parents=True)
    (tmp_path / "low/gone").touch()
    (tmp_path / "low/d/kept").write_text("from below")
    (tmp_path / "low/d/sub").chmod(0o2711)
    base = os.open(tmp_path, os.O_RDONLY)
    try:
        lowers = Lowers([Below(base, b"low")])
        data = tar(
            file(".wh.gone"), file(".wh.absent"), hardlink("copy", "d/kept"), file("d/sub/new"),
            directory("o"), file("o/.wh..wh..opq"),
        )  # fmt: skip
        found = image(tmp_path, data, lowers).tree()
    finally:
        os.close(base)
    assert (found[b"gone"].mode, found[b"gone"].rdev) == (stat.S_IFCHR, 0)
    assert b"absent" not in found
    assert found[b"copy"].contents == b"from below"
    assert found[b"copy"].nid == found[b"d/kept"].nid
    assert found[b"d/sub"].mode == stat.S_IFDIR | 0o2711
    assert found[b"o"].xattrs == {b"trusted.overlay.opaque": b"y"}


UNFIT = {
    "acl": file("f", xattrs={b"system.posix_acl_access": b"\2\0\0\0"}),
    "capability": file("f", xattrs={b"security.capability": b"nonsense"}),
    "value": file("f", xattrs={b"user.fat": bytes(70_000)}),
    "name": file("f", xattrs={b"user." + b"n" * 300: b""}),
    "all": directory("d", xattrs={b"user.%d" % i: bytes(60_000) for i in range(5)}),
    "file": (Entry(b"f", FILE, size=1 << 61, sparse=[(0, 1)]), b"x"),
    "many": (Entry(b"f", FILE, size=1 << 40, sparse=[(0, 1)]), b"x"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_an_index_cannot_hold(case: str, tmp_path: Path) -> None:
    members = [UNFIT[case]] if case != "many" else [
        (Entry(b"f%d" % i, FILE, size=1 << 40, sparse=[(0, 1)]), b"x") for i in range(3)
    ]  # fmt: skip
    with pytest.raises(CannotIndex):
        tree(tmp_path, *members)


def test_a_tree_that_needs_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.snapshots.erofs.tree._MEMORY", 10_000)
    with pytest.raises(CannotIndex, match="memory"):
        tree(tmp_path, *(file(f"f{i}") for i in range(100)))


@pytest.mark.parametrize(
    "members",
    [
        [file("../x")],
        [file("f"), file("f/x")],
        [node("f", CHARACTER)],
        [hardlink("x", "y")],
        [file("n" * 256)],
        [(Entry(b"s", "symlink"), b"")],
        [symlink("s", "t" * 5000)],
        [file("./", b"evil")],
    ],
    ids=["escape", "below", "mark", "link", "name", "empty link", "long link", "root"],
)
def test_hostile_archives_are_refused(members: list[Member], tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive):
        tree(tmp_path, *members)


def test_contents_are_passed_over_and_must_be_there(tmp_path: Path) -> None:
    data = tar(file("big", bytes(5 << 20), mtime_ns=0), file("after", b"x", mtime_ns=0))
    for cut, fine in ((0, True), (3000, False)):
        path = tmp_path / f"tar{cut}"
        path.write_bytes(data[: len(data) - cut])
        fd = os.open(path, os.O_RDONLY)
        try:
            source = index.Skipping(fd)
            entries = TarReader(source, None, source.skip)
            if fine:
                assert [(each.name, entries.offset) for each in entries] == [
                    (b"big", 512), (b"after", 1024 + (5 << 20)),
                ]  # fmt: skip
            else:
                with pytest.raises(InvalidArchive, match="truncated"):
                    list(entries)
        finally:
            os.close(fd)


_NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, 0x2F})


@given(st.dictionaries(_NAMES, st.binary(max_size=1500), max_size=60), st.integers(1, 1400))
def test_directories_and_links_of_every_size(
    tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, bytes], target: int
) -> None:
    """Blocks of names, tails and contents lie so that each is found again."""
    files = {k: v for k, v in files.items() if not k.startswith(b".")}
    folder = tmp_path_factory.mktemp("image")
    members = [file(b"d/" + name, data) for name, data in files.items()]
    members += [symlink(b"l/" + name, b"t" * target) for name in files]
    found = tree(folder, directory("d"), directory("l"), *members)
    assert {k[2:]: v.contents for k, v in found.items() if k.startswith(b"d/")} == files
    assert {k[2:] for k, v in found.items() if k.startswith(b"l/")} == set(files)
    assert all(v.contents == b"t" * target for k, v in found.items() if k.startswith(b"l/"))
