"""Crashes, several processes, full disks and many layers."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.errors import Unsupported
from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers import erofs
from knarr.snapshots.drivers.overlay import Driver
from knarr.snapshots.tarentry import FILE, Entry
from tests.support import tars
from tests.support.tars import commit, directory, file, mounted, source, symlink, tar

BASE = tar(directory("./"), directory("etc"), file("etc/passwd", b"root"), symlink("s", "etc"))
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
_fork = multiprocessing.get_context("fork")


def _paths(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


class DiesHalfWay(io.BytesIO):
    """A layer whose reader is killed after the first piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(4608)


def _die(kind: type[Driver], root: str) -> None:
    name = digests.of(BASE)
    kind(root).commit_layer(name, None, LayerSource(name, lambda: DiesHalfWay(BASE)))


def test_cleanup_after_a_killed_process(driver: Driver, tmp_path: Path) -> None:
    root = tmp_path / "snapshots"
    before = _paths(root)
    child = _fork.Process(target=_die, args=(type(driver), str(root)))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert any(name.endswith(("~/fs/etc", "~/layer.tar")) for name in _paths(root))
    assert not driver.has(digests.of(BASE))
    driver.cleanup()
    left = _paths(root) - before
    assert all(name.startswith("locks/") for name in left)
    commit(driver, BASE)
    assert _paths(root / "locks") == {"all"}


def test_cleanup_spares_the_living(driver: Driver, tmp_path: Path) -> None:
    name = digests.of(BASE)

    class CleansHalfWay(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            type(driver)(str(tmp_path / "snapshots")).cleanup()
            return super().read(600)

    driver.commit_layer(name, None, LayerSource(name, lambda: CleansHalfWay(BASE)))
    with mounted(driver.view(name)) as root:
        assert (root / "etc/passwd").read_text() == "root"


def test_a_lost_index_is_rebuilt(driver: Driver, tmp_path: Path) -> None:
    top = commit(driver, BASE, tar(file("x")))
    chains = tmp_path / "snapshots/chains"
    for name in os.listdir(chains):
        (chains / name).unlink()
    (chains / digests.of(b"stale")).symlink_to("99")
    assert not driver.has(top)
    driver.cleanup()
    assert driver.list_layers() == sorted([digests.of(BASE), top])
    assert driver.prepare("c", top)


def test_cleanup_empties_the_trash(driver: Driver, tmp_path: Path) -> None:
    base = commit(driver, BASE)
    driver.prepare("c", base)
    driver.remove("c")
    driver.remove_layer(base)
    assert len(os.listdir(tmp_path / "snapshots/trash")) == 2
    driver.cleanup()
    assert os.listdir(tmp_path / "snapshots/trash") == []
    assert os.listdir(tmp_path / "snapshots/l") == []


def _commit_in_child(kind: type[Driver], root: str, log: str) -> None:
    def opening() -> io.BytesIO:
        with open(log, "a", encoding="ascii") as opened:
            opened.write("opened\n")
        return io.BytesIO(BASE)

    name = digests.of(BASE)
    kind(root).commit_layer(name, None, LayerSource(name, opening))


def test_processes_apply_a_layer_once(driver: Driver, tmp_path: Path) -> None:
    root, log = str(tmp_path / "snapshots"), str(tmp_path / "log")
    work = (type(driver), root, log)
    children = [_fork.Process(target=_commit_in_child, args=work) for _ in range(5)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 5
    assert Path(log).read_text() == "opened\n"
    assert driver.list_layers() == [digests.of(BASE)]


@pytest.mark.parametrize("kind", [Driver, erofs.Driver])
def test_a_full_disk_leaves_nothing_of_a_layer(small_disk: Path, kind: type[Driver]) -> None:
    driver = kind(str(small_disk / "snapshots"))
    commit(driver, BASE)
    before = _paths(small_disk)
    big = tar(file("big", os.urandom(12 << 20)))
    with pytest.raises(OSError, match="No space left") as caught:
        commit(driver, big)
    assert caught.value.errno == errno.ENOSPC
    assert _paths(small_disk) == before
    commit(driver, tar(file("fits", os.urandom(4 << 20))))


def test_a_full_disk_leaves_nothing_of_a_blob(small_disk: Path) -> None:
    store = ContentStore(str(small_disk / "content"))
    before = _paths(small_disk)
    with pytest.raises(OSError, match="No space left"), store.ingest() as writer:
        for _ in range(12):
            writer.write(os.urandom(1 << 20))
    assert _paths(small_disk) == before
    store.add(os.urandom(4 << 20))


def test_probe(driver: Driver, tmp_path: Path) -> None:
    driver.probe()
    assert not [name for name in os.listdir(tmp_path / "snapshots") if "probe" in name]
    with mounted(driver.prepare("c", commit(driver, BASE, tar(file("x"))))) as root:
        nested = Driver(str(root / "nested"))
        with pytest.raises(Unsupported, match="overlayfs"):
            nested.probe()


def test_the_most_layers_overlayfs_takes(small_disk: Path) -> None:
    driver = Driver(str(small_disk / "snapshots"))
    layers = [tar(file(f"f{number % 7}", b"%d" % number)) for number in range(500)]
    top = commit(driver, *layers)
    with mounted(driver.prepare("c", top)) as root:
        assert sorted(os.listdir(root)) == [f"f{number}" for number in range(7)]
        assert (root / "f2").read_bytes() == b"499"
    last = source(tar(file("one too many")))
    chain = digests.chain_id(top, last.diff_id)
    with pytest.raises(Unsupported, match="501"):
        driver.commit_layer(chain, top, last)


def test_a_size_limit_is_refused(driver: Driver) -> None:
    with pytest.raises(Unsupported, match="disk space"):
        driver.prepare("c", commit(driver, BASE), size=1 << 30)
    assert driver.list_keys() == []


def test_nobody_else_gets_at_layers(driver: Driver, tmp_path: Path) -> None:
    commit(driver, tar(file("suid", b"x", mode=0o4755)))
    assert os.stat(tmp_path / "snapshots").st_mode & 0o777 == 0o700


def test_export_of_holes_links_and_sockets(driver: Driver) -> None:
    base = commit(driver, BASE)
    with mounted(driver.prepare("c", base)) as root:
        with (root / "holes").open("wb") as opened:
            opened.truncate(1 << 26)
            opened.seek(1 << 25)
            opened.write(b"data")
        os.link(root / "holes", root / "same")
        os.mkfifo(root / "pipe")
        os.mknod(root / "socket", 0o140644)
        os.setxattr(root / "holes", "user.a", b"1")
        expected = tars.tree(root)
    del expected["socket"]
    data = b"".join(driver.export_diff("c"))
    assert len(data) < 1 << 20
    copy = digests.chain_id(base, digests.of(data))
    driver.commit_layer(copy, base, source(data))
    with mounted(driver.view(copy)) as root:
        assert tars.tree(root) == expected


def test_diff_knows_replaced_directories(driver: Driver) -> None:
    layer = tar(
        directory("d"), file("d/old"), file("d/kept", b"1"), file("plain", b"2"), file("bin")
    )
    base = commit(driver, layer)
    with mounted(driver.prepare("c", base)) as root:
        for name in ("old", "kept"):
            (root / "d" / name).unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()
        (root / "d/kept").write_text("new")
        # Opened for writing, so copied up, but unchanged.
        with (root / "plain").open("r+b"):
            pass
        os.setxattr(root / "bin", "security.capability", CAPABILITY)
    changes = list(driver.diff("c"))
    assert changes == [("C", "/bin"), ("C", "/d"), ("C", "/d/kept"), ("D", "/d/old")]


def test_stored_bytes_of_sparse_files_are_counted(driver: Driver) -> None:
    big = Entry(b"big", FILE, size=1 << 40, sparse=[(0, 3), (1 << 39, 4)])
    assert driver.layer_size(commit(driver, tar((big, b"1234567")))) == 7
