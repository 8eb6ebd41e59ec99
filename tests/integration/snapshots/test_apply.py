"""Layers on a real file system: what they do to the layers below, and what they must not do."""

from __future__ import annotations

import io
import os
import random
import secrets
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.errors import InvalidArchive
from knarr.snapshots.apply import apply_layer, clean_parts
from knarr.snapshots.drivers.overlay import Driver
from knarr.snapshots.lowers import Lowers
from knarr.snapshots.tarentry import CHARACTER, FIFO, FILE, Entry, Limits
from knarr.snapshots.tarstream import TarReader
from tests.support import tars
from tests.support.hurtful import members
from tests.support.tars import (
    WHEN,
    commit,
    directory,
    file,
    hardlink,
    mounted,
    node,
    symlink,
    tar,
)


def apply(folder: Path, data: bytes, *, limits: Limits | None = None) -> Path:
    """Apply a layer without anything below it in a fresh directory of folder."""
    root = folder / f"layer-{secrets.token_hex(8)}"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    try:
        apply_layer(fd, TarReader(io.BytesIO(data), limits), Lowers(()))
    finally:
        os.close(fd)
    return root


def view(driver: Driver, *layers: bytes) -> tars.Tree:
    with mounted(driver.view(commit(driver, *layers))) as root:
        return tars.tree(root)


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


HOSTILE = {
    "dot dot": tar(file("../outside/x", b"evil")),
    "dot dot inside": tar(directory("a"), file("a/../../outside/x", b"evil")),
    "whiteout dot dot": tar(file(".wh...")),
    "whiteout dot": tar(file("a/.wh..")),
    "whiteout of nothing": tar(file("a/.wh.")),
    "inside a whiteout": tar(file(".wh.a/b")),
    "root becomes a file": tar(file("./", b"evil")),
    "root becomes a link": tar(symlink("/", "/outside")),
    "below a file": tar(file("f"), file("f/x")),
    "below a device": tar(node("f", CHARACTER, major=1, minor=3), file("f/x")),
    "link loop": tar(symlink("a", "b"), symlink("b", "a"), file("a/x")),
    "link to itself": tar(symlink("a", "a"), file("a/x")),
    "deletion mark": tar(node("f", CHARACTER)),
    "hard link to the root": tar(hardlink("x", "/")),
    "hard link to a directory": tar(directory("d"), hardlink("x", "d")),
    "hard link to nothing": tar(hardlink("x", "y")),
    "hard link into itself": tar(directory("d"), file("d/f"), hardlink("d", "d/f")),
    "hard link outside": tar(hardlink("x", "../outside/file")),
    "hard link through a symlink": tar(symlink("s", "../outside"), hardlink("x", "s/file")),
    "name too long": tar(file("n" * 256)),
    "path too long": tar(file("p/" * 2500 + "x")),
    "empty symlink": tar((Entry(b"s", "symlink"), b"")),
    "bad capability": tar(file("f", xattrs={b"security.capability": b"nonsense"})),
    "fat attribute": tar(file("f", xattrs={b"user.fat": bytes(70_000)})),
    "file too big": tar((Entry(b"f", FILE, size=(1 << 61), sparse=[(0, 1)]), b"x")),
    "lying size": tar(file("f", b"x" * 600))[:-1536],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused(case: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    before = tars.tree(outside)
    opened = fds()
    with pytest.raises(InvalidArchive):
        apply(tmp_path, HOSTILE[case])
    assert fds() == opened
    assert tars.tree(outside) == before
    assert len(os.listdir(tmp_path)) == 2


CONFINED = {
    "absolute name": (tar(file("/etc/x", b"1")), "etc/x"),
    "absolute symlink": (tar(symlink("s", "/outside"), file("s/x", b"1")), "outside/x"),
    "climbing symlink": (tar(symlink("s", "../../outside"), file("s/x", b"1")), "outside/x"),
    "two symlinks": (
        tar(symlink("a", "/b/../.."), symlink("s", "a/outside"), file("s/x", b"1")),
        "outside/x",
    ),
    "symlink as name": (tar(symlink("s", "/etc/passwd"), file("s", b"1")), "s"),
    "symlink for directory": (tar(symlink("s", "/etc"), directory("s"), file("s/x", b"1")), "s/x"),
    "hard link to a symlink": (
        tar(symlink("s", "/etc/passwd"), hardlink("h", "s"), file("h", b"1")),
        "h",
    ),
    "fifo as name": (tar(node("p", FIFO), file("p", b"1")), "p"),
    "device as name": (tar(node("d", CHARACTER, major=1, minor=5), file("d", b"1")), "d"),
    "device hard link": (
        tar(node("d", CHARACTER, major=1, minor=5), hardlink("h", "d"), file("h", b"1")),
        "h",
    ),
    "device as directory": (
        tar(node("d", CHARACTER, major=1, minor=5), directory("d"), file("d/x", b"1")),
        "d/x",
    ),
}


@pytest.mark.parametrize("case", CONFINED)
def test_escapes_end_inside(case: str, tmp_path: Path) -> None:
    data, where = CONFINED[case]
    outside = tmp_path / "outside"
    outside.mkdir()
    root = apply(tmp_path, data)
    assert os.listdir(outside) == []
    found = root / where
    assert stat.S_ISREG(os.lstat(found).st_mode)
    assert found.read_bytes() == b"1"


def test_clean_parts() -> None:
    assert clean_parts(b"./a//b/./c/") == [b"a", b"b", b"c"]
    assert clean_parts(b"/a/../b") == [b"b"]
    assert clean_parts(b"./") == clean_parts(b"") == clean_parts(b"a/..") == []
    for name in (b"..", b"a/../..", b"/../x", b"a\0b", b"x" * 5000):
        with pytest.raises(InvalidArchive):
            clean_parts(name)


def test_limits_stop_a_bomb(tmp_path: Path) -> None:
    many = tar(*(file(f"f{i}", mtime_ns=0) for i in range(50)))
    with pytest.raises(InvalidArchive, match="entries"):
        apply(tmp_path, many, limits=Limits(max_entries=10))
    with pytest.raises(InvalidArchive, match="bytes in files"):
        apply(tmp_path, tar(file("f", bytes(1 << 20))), limits=Limits(max_bytes=1 << 19))


def test_attributes_that_may_not_travel(tmp_path: Path) -> None:
    names = [
        "trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.x", "user.overlay.opaque",
        "security.selinux", "security.ima", "user.ok",
    ]  # fmt: skip
    data = tar(
        directory("d", xattrs={name.encode(): b"y" for name in names}),
        file("f", b"1", xattrs={name.encode(): b"y" for name in names}),
        symlink("s", "f", xattrs={b"user.ok": b"y", b"trusted.x": b"y"}),
    )
    root = apply(tmp_path, data)
    assert os.listxattr(root / "d") == ["user.ok"]
    assert os.listxattr(root / "f") == ["user.ok"]
    assert os.listxattr(root / "s", follow_symlinks=False) == []


def test_sparse_files_keep_their_holes(tmp_path: Path) -> None:
    stretches = [(1 << 20, 5), (20 << 30, 3)]
    big = Entry(b"big", FILE, size=21 << 30, sparse=stretches, mtime_ns=WHEN)
    root = apply(tmp_path, tar((big, b"helloend")))
    status = (root / "big").stat()
    assert status.st_size == 21 << 30
    assert status.st_blocks * 512 < 1 << 20
    with (root / "big").open("rb") as opened:
        opened.seek(20 << 30)
        assert opened.read(4) == b"end\0"


def test_setgid_and_default_acls_do_not_leak(tmp_path: Path) -> None:
    acl = bytes.fromhex(
        "02000000" "01000700ffffffff" "0200070001000000" "04000500ffffffff"
        "10000700ffffffff" "20000500ffffffff"
    )  # fmt: skip
    data = tar(
        directory("d", 0o2775, gid=77, xattrs={b"system.posix_acl_default": acl}),
        file("d/f", b"1", mode=0o640),
        directory("d/sub", 0o700),
    )
    root = apply(tmp_path, data)
    assert os.getxattr(root / "d", "system.posix_acl_default") == acl
    for name, mode in (("f", 0o640), ("sub", 0o700)):
        status = os.stat(root / "d" / name)
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (mode, 0)
        assert os.listxattr(root / "d" / name) == []


def test_umask_plays_no_part(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        root = apply(tmp_path, tar(directory("d", 0o777), file("d/f", mode=0o666), file("p/q")))
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(root / "d").st_mode) == 0o777
    assert stat.S_IMODE(os.stat(root / "d/f").st_mode) == 0o666
    assert stat.S_IMODE(os.stat(root / "p").st_mode) == 0o755


def test_directory_times_survive_their_children(tmp_path: Path) -> None:
    root = apply(
        tmp_path, tar(directory("./", mtime_ns=5), directory("d", mtime_ns=7), file("d/f"))
    )
    assert os.stat(root / "d").st_mtime_ns == 7
    assert os.stat(root).st_mtime_ns == 5


@pytest.mark.parametrize("marker_first", [True, False])
def test_opaque_wherever_it_stands(driver: Driver, marker_first: bool) -> None:
    base = tar(directory("d", 0o700), file("d/old"), directory("d/sub"), file("d/sub/deep"))
    members = [directory("d", 0o711), file("d/new"), directory("d/sub"), file("d/sub/fresh")]
    members.insert(1 if marker_first else 4, file("d/.wh..wh..opq"))
    found = view(driver, base, tar(*members))
    assert set(found) == {"", "d", "d/new", "d/sub", "d/sub/fresh"}
    assert found["d"][1] == "0o711"


@pytest.mark.parametrize("marker_first", [True, False])
def test_whiteout_does_not_hide_its_own_layer(driver: Driver, marker_first: bool) -> None:
    base = tar(directory("d"), file("d/old"), file("f", b"old"))
    members = [file(".wh.d"), file(".wh.f"), directory("d"), file("d/new"), file("f", b"new")]
    if not marker_first:
        members = members[2:] + members[:2]
    found = view(driver, base, tar(*members))
    assert set(found) == {"", "d", "d/new", "f"}
    assert found["f"][4] == view(driver, tar(file("f", b"new")))["f"][4]


def test_whiteouts_where_nothing_is_hidden_do_not_show(driver: Driver) -> None:
    base = tar(directory("d"), directory("d/sub"), file("d/sub/x"))
    layer = tar(
        file("new/.wh.gone"),
        file("d/sub/.wh.x"),
        file("d/.wh.absent"),
        file("d/.wh..wh..opq"),
        file("d/sub/y"),
    )
    assert set(view(driver, base, layer)) == {"", "d", "d/sub", "d/sub/y"}


@pytest.mark.parametrize("last", [".wh.d", "d/.wh..wh..opq"])
def test_what_only_came_from_below_can_still_be_hidden(driver: Driver, last: str) -> None:
    """Copies for hard links and parents of whiteouts are not the layer's own content."""
    base = tar(
        directory("d"), file("d/tool", b"elf"), directory("d/sub"), file("d/sub/x"), file("d/y")
    )
    layer = tar(hardlink("copy", "d/tool"), file("d/sub/.wh.x"), file("d/.wh.y"), file(last))
    expected = {"", "copy"} if last == ".wh.d" else {"", "copy", "d"}
    found = view(driver, base, layer)
    assert set(found) == expected
    assert found["copy"][4] == view(driver, tar(file("copy", b"elf")))["copy"][4]


def test_opaque_root(driver: Driver) -> None:
    base = tar(directory("a"), file("a/x"), directory("b"), file("b/y"), file("c"))
    layer = tar(directory("a"), file("a/new"), file(".wh..wh..opq"), file("d"))
    assert set(view(driver, base, layer)) == {"", "a", "a/new", "d"}
    last = tar(file(".wh..wh..opq"), directory("b"))
    assert set(view(driver, base, layer, last)) == {"", "b"}


def test_a_directory_after_a_file_hides_what_was_below(driver: Driver) -> None:
    base = tar(directory("d"), file("d/old"))
    assert set(view(driver, base, tar(file("d"), directory("d"), file("d/new")))) == {
        "", "d", "d/new",
    }  # fmt: skip
    assert set(view(driver, base, tar(file(".wh.d"), file("d/new")))) == {"", "d", "d/new"}


def test_whiteouts_in_the_first_layer_leave_nothing(driver: Driver) -> None:
    assert set(view(driver, tar(file("a"), file(".wh.b"), file("x/.wh..wh..opq")))) == {"", "a"}


def test_aufs_leftovers_are_ignored(driver: Driver) -> None:
    layer = tar(
        directory(".wh..wh.plnk"), file(".wh..wh.plnk/12.34", b"x"), file(".wh..wh.aufs"), file("a")
    )
    assert set(view(driver, tar(file("z")), layer)) == {"", "a", "z"}


def test_missing_parents_are_as_below(driver: Driver) -> None:
    base = tar(
        directory("./", 0o701, uid=1),
        directory("p", 0o2711, uid=8, gid=9, xattrs={b"user.p": b"q"}),
        directory("p/q", 0o1700, mtime_ns=99),
    )
    middle = tar(file("other"))
    found = view(driver, base, middle, tar(file("p/q/r/s", b"1")))
    assert found[""][1:3] == ("0o701", 1)
    assert found["p"][1:4] == ("0o2711", 8, 9)
    assert found["p"][7] == (("user.p", b"q"),)
    assert found["p/q"][1] == "0o1700"
    assert found["p/q"][6] == 99
    assert found["p/q/r"][1:4] == ("0o755", 0, 0)
    assert found["p/q/r"][6] == 0


def test_hidden_parents_lend_no_attributes(driver: Driver) -> None:
    base = tar(directory("p", 0o700), directory("p/q", 0o711), directory("w", 0o700))
    layer = tar(directory("p", 0o755), file("p/.wh..wh..opq"), file("p/q/r"), file(".wh.w"),
                file("w/x"))  # fmt: skip
    found = view(driver, base, layer)
    assert found["p/q"][1] == "0o755"
    assert found["w"][1] == "0o755"


def test_hard_links_to_files_below_copy_up(driver: Driver) -> None:
    xattrs = {b"user.k": b"v"}
    base = tar(directory("bin", 0o711), file("bin/tool", b"elf" * 1000, mode=0o4755, uid=3,
                                             xattrs=xattrs), symlink("s", "target"))  # fmt: skip
    layer = tar(directory("new"), hardlink("new/tool", "bin/tool"), hardlink("t", "s"))
    found = view(driver, base, layer)
    assert found["bin/tool"][5] == found["new/tool"][5] is not None
    assert found["bin/tool"][:5] == found["new/tool"][:5]
    assert found["bin/tool"][1:3] == ("0o4755", 3)
    assert found["bin/tool"][7] == (("user.k", b"v"),)
    assert found["bin"][1] == "0o711"
    assert found["t"][4] == b"target"
    gone = tar(file(".wh.bin"), hardlink("new/tool", "bin/tool"))
    with pytest.raises(InvalidArchive, match="hard link"):
        view(driver, base, gone)


def test_symlinks_below_are_followed_for_parents(driver: Driver) -> None:
    base = tar(directory("usr"), directory("usr/lib", 0o750), symlink("lib", "usr/lib"))
    found = view(driver, base, tar(file("lib/a"), file("lib/sub/b")))
    assert found["lib"][4] == b"usr/lib"
    assert {"usr/lib/a", "usr/lib/sub/b"} <= set(found)
    assert found["usr/lib"][1] == "0o750"
    # Once the layer itself puts something in the link's place, that counts.
    found = view(driver, base, tar(file("lib/a"), directory("lib"), file("lib/b")))
    assert stat.S_ISDIR(found["lib"][0])  # type: ignore[arg-type]
    assert {"usr/lib/a", "lib/b"} <= set(found)
    with pytest.raises(InvalidArchive):
        view(driver, base, tar(file("lib/a"), file("lib"), file("lib/b")))


def test_many_parents_at_once(tmp_path: Path) -> None:
    names = [f"d{i}/e{j}" for i in range(40) for j in range(10)]
    random.Random(1).shuffle(names)
    opened = fds()
    root = apply(tmp_path, tar(*(file(f"{name}/f", name.encode()) for name in names * 2)))
    assert all((root / name / "f").read_bytes() == name.encode() for name in names)
    assert fds() == opened


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), max_size=8), st.lists(members(), max_size=8), st.data())
def test_no_archive_gets_out(
    tmp_path: Path, first: list[tars.Member], second: list[tars.Member], data: st.DataObject
) -> None:
    """Two layers of nasty names in any order: an error or a tree, and nothing outside."""
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "a").write_text("mine")
    before = tars.tree(outside)
    driver = Driver(str(tmp_path / "snapshots"))
    layers = [bytearray(tar(*first)), bytearray(tar(*second))]
    for layer in layers:
        for _ in range(data.draw(st.integers(0, 2))):
            layer[data.draw(st.integers(0, len(layer) - 1))] = data.draw(st.integers(0, 255))
    opened = fds()
    try:
        top = commit(driver, *map(bytes, layers))
    except InvalidArchive:
        pass
    else:
        with mounted(driver.view(top)) as root:
            tars.tree(root)
    assert fds() == opened
    assert tars.tree(outside) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "snapshots"]
    assert not [name for name in os.listdir(tmp_path / "snapshots/l") if name.endswith("~")]
    assert os.listdir(tmp_path / "snapshots/trash") == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), max_size=10), st.lists(members(), max_size=10))
def test_export_and_apply_again_is_the_same_tree(
    tmp_path: Path, first: list[tars.Member], second: list[tars.Member]
) -> None:
    """build -> apply -> mount, and: its layer -> diff -> apply -> mount give one tree."""
    driver = Driver(str(tmp_path / f"snapshots-{secrets.token_hex(8)}"))
    try:
        base = commit(driver, tar(*first))
        top = commit(driver, tar(*first), tar(*second))
    except InvalidArchive:
        return
    with mounted(driver.view(top)) as root:
        expected = tars.tree(root)
    # The second layer's directory is written as a container's would be: read it as one.
    driver.prepare("c", base)
    number = driver._layers.get(top).number
    writable = Path(driver._layers.key_path("c")) / "fs"
    writable.rmdir()
    os.rename(Path(driver._root) / "l" / number / "fs", writable)
    again = b"".join(driver.export_diff("c"))
    other = Driver(str(tmp_path / f"snapshots-{secrets.token_hex(8)}"))
    copy = commit(other, tar(*first), again)
    with mounted(other.view(copy)) as root:
        assert tars.tree(root) == expected
