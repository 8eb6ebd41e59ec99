"""``cp`` and ``export`` on mounted trees whose owner would like to get at the host."""

from __future__ import annotations

import io
import multiprocessing
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.errors import Conflict, InvalidArchive, InvalidArgument, NotFound
from knarr.kernel import mounts as k
from knarr.kernel.files import RENAME_EXCHANGE, renameat2
from knarr.kernel.namespaces import CLONE_NEWNS, unshare
from knarr.runtime.rootfs import open_root
from knarr.snapshots.archive import export_tree, get_archive, put_archive, stat_path
from knarr.snapshots.drivers.overlay import Driver
from knarr.snapshots.idmap import IdMap, IdRange
from knarr.snapshots.tarentry import CHARACTER, DIRECTORY, FILE, SYMLINK, Limits
from knarr.snapshots.tarstream import TarReader
from tests.support import tars
from tests.support.namespaces import user_namespace
from tests.support.tars import commit, directory, file, hardlink, node, symlink, tar


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A container's tree, with the host's beside it."""
    top = tmp_path / "root"
    for name in ("etc", "tmp", "home/user"):
        (top / name).mkdir(parents=True)
    (top / "etc/passwd").write_text("root")
    (top / "abs").symlink_to("/etc")
    (top / "up").symlink_to("../../../../etc")
    (top / "link").symlink_to("etc/passwd")
    (top / "loop").symlink_to("loop")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("the host's")
    return top


@pytest.fixture
def root(top: Path) -> Iterator[int]:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def names(pieces: Iterator[bytes]) -> list[str]:
    return [entry.name.decode() for entry in TarReader(io.BytesIO(b"".join(pieces)))]


def put(root: int, path: str, *members: tars.Member, **options: object) -> None:
    put_archive(root, path, io.BytesIO(tar(*members)), **options)  # type: ignore[arg-type]


def test_stat(root: int) -> None:
    found = stat_path(root, "/etc/passwd")
    assert (found.name, found.size, found.link_target) == ("passwd", 4, "")
    assert stat.S_ISREG(found.mode)
    assert stat_path(root, "link").link_target == "etc/passwd"
    assert stat_path(root, "link", follow=True).size == 4
    assert stat_path(root, "/up/passwd").size == 4
    assert stat_path(root, "/../../etc/passwd").size == 4
    assert stat_path(root, "/").name == "/"
    for path in ("nothing", "/etc/nothing/x", "../root/nothing"):
        with pytest.raises(NotFound):
            stat_path(root, path)
    for path in ("etc/passwd/x", "loop/x", "x" * 5000):
        with pytest.raises(InvalidArgument):
            stat_path(root, path)


def test_get_names_as_docker_does(root: int) -> None:
    assert names(get_archive(root, "/etc")) == ["etc/", "etc/passwd"]
    assert names(get_archive(root, "/etc/")) == ["etc/", "etc/passwd"]
    assert names(get_archive(root, "/etc/.")) == ["./", "./passwd"]
    assert names(get_archive(root, "/etc/passwd")) == ["passwd"]
    assert names(get_archive(root, "/"))[:3] == ["./", "abs", "etc/"]
    assert names(get_archive(root, "abs/")) == ["abs/", "abs/passwd"]


def test_get_follows_only_when_asked(root: int) -> None:
    [entry] = TarReader(io.BytesIO(b"".join(get_archive(root, "link"))))
    assert (entry.kind, entry.name, entry.link) == (SYMLINK, b"link", b"etc/passwd")
    reader = TarReader(io.BytesIO(b"".join(get_archive(root, "link", follow=True))))
    entry = next(iter(reader))
    assert (entry.kind, entry.name, reader.read(99)) == (FILE, b"link", b"root")
    reader = TarReader(io.BytesIO(b"".join(get_archive(root, "up/passwd"))))
    next(iter(reader))
    assert reader.read(99) == b"root"


def test_get_reports_missing_paths_at_once(root: int) -> None:
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotFound):
        get_archive(root, "nothing")
    get_archive(root, "etc")
    assert len(os.listdir("/proc/self/fd")) == opened


def test_get_leaves_sockets_out_and_does_not_hang_on_fifos(root: int, top: Path) -> None:
    os.mknod(top / "tmp/socket", 0o140644)
    os.mkfifo(top / "tmp/fifo")
    assert names(get_archive(root, "tmp")) == ["tmp/", "tmp/fifo"]
    assert names(get_archive(root, "tmp/socket")) == []
    assert names(get_archive(root, "tmp/fifo")) == ["fifo"]


def test_kernel_views_come_empty() -> None:
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert stat_path(fd, "/proc/self/status").name == "status"
        with pytest.raises((NotFound, InvalidArgument)):
            stat_path(fd, "/proc/self/root/etc")  # a magic link
    finally:
        os.close(fd)


def test_put_and_get_again(root: int, top: Path) -> None:
    put(
        root,
        "/home",
        directory("d", 0o2750, uid=5, gid=6, mtime_ns=77),
        file("d/f", b"1", mode=0o4711, uid=7, gid=8, xattrs={b"user.a": b"b"}),
        symlink("d/s", "/etc/passwd", uid=9),
        hardlink("d/h", "d/f"),
        node("d/n", CHARACTER, major=1, minor=3),
        file("implied/by/name", b"2"),
    )
    found = tars.tree(top / "home")
    assert found["d"][1:4] == ("0o2750", 5, 6)
    assert found["d"][6] == 77
    assert found["d/f"][1:4] == ("0o4711", 7, 8)
    assert found["d/f"][7] == (("user.a", b"b"),)
    assert found["d/h"][5] == "d/f"
    assert found["d/s"][2:5] == (9, 0, b"/etc/passwd")
    assert found["implied/by"][1:4] == ("0o755", 0, 0)
    first = b"".join(get_archive(root, "/home/d"))
    put_archive(root, "/tmp", io.BytesIO(first))
    assert b"".join(get_archive(root, "/tmp/d")) == first


def test_put_replaces_but_does_not_follow(root: int, top: Path, tmp_path: Path) -> None:
    put(root, "/", file("abs", b"now a file"), file("link", b"a file too"), directory("up"))
    assert (top / "abs").read_bytes() == b"now a file"
    assert not (top / "abs").is_symlink()
    assert (top / "etc/passwd").read_text() == "root"
    assert (top / "up").is_dir()
    assert not (top / "up").is_symlink()
    put(root, "/", file("home", b"file over directory"))
    assert (top / "home").is_file()
    put(root, "/", directory("home", 0o700))
    assert (top / "home").is_dir()
    assert (tmp_path / "etc/passwd").read_text() == "the host's"


def test_put_keeps_kinds_when_asked(root: int, top: Path) -> None:
    with pytest.raises(Conflict, match="directory with a file"):
        put(root, "/", file("home", b"x"), keep_kinds=True)
    with pytest.raises(Conflict, match="file with a directory"):
        put(root, "/etc", directory("passwd"), keep_kinds=True)
    put(root, "/etc", file("passwd", b"x"), keep_kinds=True)
    assert (top / "etc/passwd").read_bytes() == b"x"


def test_put_existing_directories_keep_their_children(root: int, top: Path) -> None:
    put(root, "/", directory("etc", 0o711))
    assert (top / "etc/passwd").read_text() == "root"
    assert stat.S_IMODE((top / "etc").stat().st_mode) == 0o711


def test_put_owner(root: int, top: Path) -> None:
    put(root, "/tmp", directory("d", uid=5), file("d/f", uid=6), file("p/q"), owner=(33, 44))
    for name in ("d", "d/f", "p", "p/q"):
        status = (top / "tmp" / name).stat()
        assert (status.st_uid, status.st_gid) == (33, 44)


@pytest.mark.parametrize("where", ["/abs", "/up", "/../../etc", "abs/../etc"])
def test_put_through_symlinks_stays_inside(
    root: int, top: Path, tmp_path: Path, where: str
) -> None:
    put(root, where, file("new", b"1"), symlink("out", "/../../etc"), file("out/second", b"2"))
    assert sorted(os.listdir(top / "etc")) == ["new", "out", "passwd", "second"]
    assert os.listdir(tmp_path / "etc") == ["passwd"]


def test_put_refuses(root: int, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        put(root, "/nothing", file("x"))
    with pytest.raises(InvalidArgument):
        put(root, "/etc/passwd", file("x"))
    bad = [
        (file("../x"),),
        (file("d/../../x"),),
        (hardlink("x", "../../etc/passwd"),),
        (hardlink("x", "nothing"),),
        (hardlink("x", "/"),),
        (directory("d"), hardlink("x", "d")),
        (node("x", CHARACTER),),
        (symlink("a", "a"), file("a/x")),
        (file("f"), file("f/x")),
    ]
    for members in bad:
        with pytest.raises(InvalidArchive):
            put(root, "/tmp", *members)
    with pytest.raises(InvalidArchive, match="truncated"):
        put_archive(root, "/tmp", io.BytesIO(tar(file("x", b"1" * 2000))[:2500]))
    with pytest.raises(InvalidArchive, match="bytes in files"):
        put(root, "/tmp", file("x", b"123"), limits=Limits(max_bytes=2))
    assert os.listdir(tmp_path / "etc") == ["passwd"]


def test_a_container_that_swaps_directories_gains_nothing(
    root: int, top: Path, tmp_path: Path
) -> None:
    """While we unpack into /tmp/d it is a directory, then a symlink to the outside, then..."""
    stop = threading.Event()
    real, fake = top / "tmp/d", top / "tmp/evil"
    real.mkdir()
    fake.symlink_to(tmp_path / "etc")

    def swap() -> None:
        while not stop.is_set():
            renameat2(-100, str(real), -100, str(fake), RENAME_EXCHANGE)

    members = [file(f"d/f{number}", b"x") for number in range(20)]
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(60):
            try:
                put(root, "/tmp", *members)
                b"".join(get_archive(root, "/tmp/d/"))
            except (InvalidArchive, NotFound, InvalidArgument, Conflict):
                continue
    finally:
        stop.set()
        thread.join()
    assert os.listdir(tmp_path / "etc") == ["passwd"]
    assert (tmp_path / "etc/passwd").read_text() == "the host's"


def test_export_leaves_mounts_out(root: int, top: Path, driver: Driver) -> None:
    data = b"".join(export_tree(root))
    assert data == b"".join(export_tree(root))
    with tars.mounted(driver.view(commit(driver, data))) as copy:
        assert tars.tree(copy) == tars.tree(top)


def _export_with_mounts(top: Path, result: str) -> None:
    """In a mount namespace of its own: mount things inside the tree, export it."""
    unshare(CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE, None)
    k.mount("tmpfs", str(top / "tmp"), "tmpfs", 0, None)
    (top / "tmp/volume").write_text("x")
    k.mount(str(top.parent / "etc"), str(top / "home"), None, k.MS_BIND, None)
    k.mount(str(top.parent / "etc/passwd"), str(top / "etc/passwd"), None, k.MS_BIND, None)
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    Path(result).write_bytes(b"".join(export_tree(fd)))


def test_export_shows_mount_points_empty(top: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.tar"
    child = multiprocessing.get_context("fork").Process(
        target=_export_with_mounts, args=(top, str(result))
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    entries = {entry.name: entry for entry in TarReader(io.BytesIO(result.read_bytes()))}
    assert entries[b"etc/passwd"].size == 0
    assert {b"home/", b"tmp/"} <= set(entries)
    assert not any(name.startswith((b"home/p", b"tmp/v")) for name in entries)


def test_idmapped_trees(driver: Driver, tmp_path: Path) -> None:
    base = commit(driver, tar(directory("./"), directory("etc"), file("etc/f", b"1", uid=5, gid=6)))
    ranges = (IdRange(0, 200_000, 1000),)
    idmap = IdMap(ranges, ranges)
    with user_namespace(200_000) as userns:
        root = open_root(driver.prepare("c", base), userns, (200_000, 200_000))
    try:
        put(root, "/etc", file("new", b"2", uid=7, gid=8), file("p/q"), idmap=idmap)
        put(root, "/", directory("d"), symlink("d/s", "x"), owner=(3, 4), idmap=idmap)
        with pytest.raises(InvalidArgument, match="does not exist"):
            put(root, "/", file("x", uid=5000), idmap=idmap)
        reader = TarReader(io.BytesIO(b"".join(get_archive(root, "/etc", idmap=idmap))))
        owners = {entry.name: (entry.uid, entry.gid) for entry in reader}
        exported = TarReader(io.BytesIO(b"".join(export_tree(root, idmap=idmap))))
        assert {entry.uid for entry in exported} == {0, 3, 5, 7}
    finally:
        os.close(root)
    assert owners == {
        b"etc/": (0, 0), b"etc/f": (5, 6), b"etc/new": (7, 8), b"etc/p/": (0, 0),
        b"etc/p/q": (0, 0),
    }  # fmt: skip
    upper = tmp_path / "snapshots/c/c/fs"
    assert (upper / "etc/new").stat().st_uid == 7
    assert (upper / "etc/p").stat().st_uid == 0
    assert os.lstat(upper / "d/s").st_gid == 4


_PATHS = st.lists(
    st.sampled_from(["a", "b", "..", ".", "etc", "abs", "up", "link", "loop"]), max_size=4
).map("/".join)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_archive_gets_out(root: int, tmp_path: Path, data: st.DataObject) -> None:
    members = []
    for _ in range(data.draw(st.integers(1, 6))):
        name = data.draw(_PATHS)
        members.append(
            data.draw(
                st.sampled_from(
                    [file(name, b"1"), directory(name), symlink(name, data.draw(_PATHS)),
                     symlink(name, "/" + data.draw(_PATHS)), hardlink(name, data.draw(_PATHS))]
                )
            )
        )  # fmt: skip
    outside = tars.tree(tmp_path / "etc")
    try:
        put(root, data.draw(_PATHS), *members)
        b"".join(get_archive(root, data.draw(_PATHS), follow=data.draw(st.booleans())))
    except (InvalidArchive, InvalidArgument, NotFound):
        pass
    assert tars.tree(tmp_path / "etc") == outside
    assert sorted(os.listdir(tmp_path)) == ["etc", "root"]


def test_kinds_of_members(root: int) -> None:
    entries = list(TarReader(io.BytesIO(b"".join(get_archive(root, "/home")))))
    assert [entry.kind for entry in entries] == [DIRECTORY, DIRECTORY]
