"""Layers as images: where their bytes are, how they are mounted, and that nothing stays mounted."""

from __future__ import annotations

import contextlib
import gzip
import io
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.errors import Unsupported
from knarr.kernel import mounts as k
from knarr.kernel.namespaces import CLONE_NEWNS, unshare
from knarr.runtime import imagemount
from knarr.runtime.rootfs import clone_image, open_root
from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers import overlay
from knarr.snapshots.drivers.erofs import Driver
from knarr.snapshots.tarentry import CHARACTER, FILE, Entry
from knarr.spec.mount import Mount
from tests.integration.snapshots.test_umoci import CASES
from tests.support import leftovers, tars
from tests.support.tars import (
    WHEN,
    commit,
    directory,
    file,
    mounted,
    node,
    nothing_mounted_after,
    symlink,
    tar,
)

BASE = tar(directory("./", 0o751), directory("etc"), file("etc/passwd", b"root" * 300),
           file("etc/gone"), symlink("s", "etc"))  # fmt: skip
TOP = tar(file("etc/.wh.gone"), file("etc/new", b"n"))
_fork = multiprocessing.get_context("fork")
ACL = bytes.fromhex(
    "02000000" "01000700ffffffff" "0200070001000000" "04000500ffffffff" "10000700ffffffff"
    "20000500ffffffff"
)  # fmt: skip


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(str(tmp_path / "snapshots"), str(tmp_path / "run"))
    try:
        made.probe()
    except Unsupported as error:
        pytest.skip(str(error))
    with nothing_mounted_after(made, tmp_path):
        yield made


def files(driver: Driver, chain_id: str) -> set[str]:
    return set(os.listdir(Path(driver._root) / "l" / driver._layers.get(chain_id).number))


def places(tmp_path: Path) -> list[str]:
    return leftovers.mounts(str(tmp_path / "run/layers"))[1:]


def stored(folder: Path, blob: bytes, diff_id: str) -> LayerSource:
    path = folder / "blob"
    path.write_bytes(blob)
    path.chmod(0o444)
    return LayerSource(
        diff_id, lambda: io.BytesIO(gzip.decompress(blob) if blob != BASE else blob),
        blob_path=str(path), blob_digest=digests.of(blob),
    )  # fmt: skip


def test_a_stored_tar_is_used_where_it_is(driver: Driver, tmp_path: Path) -> None:
    name = digests.of(BASE)
    seen: list[int] = []
    driver.commit_layer(name, None, stored(tmp_path, BASE, name), seen.append)
    assert seen == [len(BASE)]
    assert files(driver, name) == {"index.erofs", "layer.tar", "meta.json", "fs"}
    number = driver._layers.get(name).number
    kept = Path(driver._root) / "l" / number / "layer.tar"
    assert kept.samefile(tmp_path / "blob")
    assert driver.layer_disk(name) == (kept.parent / "index.erofs").stat().st_size
    (tmp_path / "blob").unlink()
    with mounted(driver.view(name)) as root:
        assert (root / "etc/passwd").read_bytes() == b"root" * 300
    assert driver.layer_disk(name) > len(BASE)


def test_a_compressed_layer_is_unpacked_once(driver: Driver, tmp_path: Path) -> None:
    name = digests.of(BASE)
    driver.commit_layer(name, None, stored(tmp_path, gzip.compress(BASE), name))
    number = driver._layers.get(name).number
    assert (Path(driver._root) / "l" / number / "layer.tar").read_bytes() == BASE
    assert driver.layer_disk(name) > len(BASE)


def test_a_blob_that_is_stored_while_it_is_read_is_not_kept_twice(
    driver: Driver, tmp_path: Path
) -> None:
    class Stores(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if not data:
                (tmp_path / "blob").write_bytes(BASE)
            return data

    name = digests.of(BASE)
    path = str(tmp_path / "blob")
    source = LayerSource(name, lambda: Stores(BASE), blob_path=path, blob_digest=name)
    driver.commit_layer(name, None, source)
    number = driver._layers.get(name).number
    assert os.path.samefile(f"{driver._root}/l/{number}/layer.tar", path)
    assert files(driver, name) == {"index.erofs", "layer.tar", "meta.json", "fs"}
    with mounted(driver.view(name)) as root:
        assert (root / "etc/passwd").read_bytes() == b"root" * 300


def test_an_image_that_cannot_be_mounted_says_which(driver: Driver) -> None:
    base = commit(driver, BASE)
    folder = Path(driver._root) / "l" / driver._layers.get(base).number
    (folder / "index.erofs").write_bytes(bytes(8192))
    with pytest.raises(OSError, match=f"EROFS image {folder}"):
        open_root(driver.prepare("c", base))


@pytest.mark.parametrize("plain", [True, False])
def test_what_no_index_can_hold_is_unpacked(driver: Driver, tmp_path: Path, plain: bool) -> None:
    data = tar(file("f", b"1"), directory("d", xattrs={b"system.posix_acl_default": ACL}),
               (Entry(b"s", FILE, size=9, sparse=[(7, 2)], mtime_ns=WHEN), b"xy"))  # fmt: skip
    name = digests.of(data)
    source = LayerSource(name, lambda: io.BytesIO(data))
    if plain:
        (tmp_path / "blob").write_bytes(data)
        source = LayerSource(name, lambda: io.BytesIO(data), None, str(tmp_path / "blob"), name)
    driver.commit_layer(name, None, source)
    assert files(driver, name) == {"meta.json", "fs"}
    top = commit(driver, data, TOP)
    with mounted(driver.view(top)) as root:
        assert os.getxattr(root / "d", "system.posix_acl_default") == ACL
        assert (root / "s").read_bytes() == bytes(7) + b"xy"
        assert (root / "etc/new").read_bytes() == b"n"
    assert (tmp_path / "blob").exists() == plain


def test_contents_beside_the_tar(driver: Driver) -> None:
    sparse = Entry(b"s", FILE, size=3 << 30, sparse=[(1 << 20, 5), (2 << 30, 3)], mtime_ns=WHEN)
    name = commit(driver, tar((sparse, b"helloend"), file("f", b"whole")))
    assert "rest" in files(driver, name)
    assert driver.layer_disk(name) < 1 << 20
    with mounted(driver.view(name)) as root:
        assert (root / "s").stat().st_size == 3 << 30
        assert (root / "f").read_bytes() == b"whole"
        with (root / "s").open("rb") as opened:
            opened.seek(2 << 30)
            assert opened.read(4) == b"end\0"


def test_layers_are_mounted_once_for_all(driver: Driver, tmp_path: Path) -> None:
    top = commit(driver, BASE, TOP)
    one, two = driver.prepare("one", top), driver.prepare("two", top)
    assert len(places(tmp_path)) <= 1  # the base, which the layer above was made in view of
    with mounted(one) as root, mounted(two) as other:
        mounts = places(tmp_path)
        assert len(mounts) == 2
        assert sorted(os.listdir(root / "etc")) == ["new", "passwd"]
        # Pages that one has read are there for the other: it is one file system below both.
        assert os.path.samestat(os.stat(root / "etc/passwd"), os.stat(root / "etc/passwd"))
        assert (other / "etc/passwd").read_bytes() == b"root" * 300
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(tmp_path) in line.split()[4]:
            assert "shared:" not in line or line.split()[4].endswith("/layers")
    driver.cleanup()
    assert places(tmp_path) == mounts, "a prepared container's layers stay"
    driver.remove("one")
    driver.remove("two")
    driver.cleanup()
    assert leftovers.mounts(str(tmp_path)) == []


def test_a_container_keeps_what_is_taken_away(driver: Driver, tmp_path: Path) -> None:
    base = commit(driver, BASE)
    with mounted(driver.prepare("c", base)) as root:
        driver.remove("c")
        driver.remove_layer(base)
        driver.purge_trash()
        assert leftovers.mounts(str(tmp_path)) == []
        assert (root / "etc/passwd").read_bytes() == b"root" * 300


def test_a_number_used_again_keeps_no_old_mount(driver: Driver, tmp_path: Path) -> None:
    """Whoever is killed between taking a layer away and unmounting it leaves its mount."""
    base = commit(driver, BASE)
    with mounted(driver.view(base)):
        pass
    driver._layers.remove_layer(base)
    stale = places(tmp_path)
    other = commit(driver, TOP)
    mounts = driver.prepare("c", other)
    assert driver._layers.get(other).number == Path(stale[0]).name.partition("-")[0]
    with mounted(mounts) as root:
        assert os.listdir(root / "etc") == ["new"]
    driver.cleanup()
    assert set(places(tmp_path)).isdisjoint(stale)
    assert len(places(tmp_path)) == 1


def test_nothing_is_assumed_of_an_earlier_boot(driver: Driver, tmp_path: Path) -> None:
    mounts = driver.prepare("c", commit(driver, BASE, TOP))
    with mounted(mounts):
        pass
    imagemount.release(str(tmp_path / "run/layers"), os.listdir(tmp_path / "run/layers"))
    assert leftovers.mounts(str(tmp_path)) == []
    with mounted(mounts) as root:
        assert (root / "etc/new").read_bytes() == b"n"
    assert list(driver.diff("c")) == []


def test_one_device_number_for_all_layers(driver: Driver) -> None:
    """Programs that stay on one file system (tar --one-file-system, find -xdev) go by it."""
    with mounted(driver.prepare("c", commit(driver, BASE, TOP))) as root:
        (root / "etc/own").touch()
        seen = {os.lstat(root / name).st_dev for name in
                ("etc", "etc/passwd", "etc/new", "etc/own", "s")}  # fmt: skip
        assert seen == {os.stat(root).st_dev}
        before = os.stat(root / "etc/passwd").st_ino
        with (root / "etc/passwd").open("a") as opened:
            opened.write("x")
        assert os.stat(root / "etc/passwd").st_ino == before


def test_programs_get_their_rights_in_containers(driver: Driver) -> None:
    """The mounts that the host sees are nosuid and nodev; the overlay on them is not."""
    null = node("n", CHARACTER, major=1, minor=3, mode=0o666)
    base = commit(driver, tar(file("suid", b"x", mode=0o4755), null))
    with mounted(driver.prepare("c", base)) as root:
        flags = os.statvfs(root).f_flag
        assert not flags & (os.ST_NOSUID | os.ST_NODEV)
        assert (root / "suid").stat().st_mode & 0o7777 == 0o4755
        (root / "n").write_bytes(b"into /dev/null")
    layer = driver._layers.get(base)
    place = Path(driver._places) / str(layer.image(layer.number))
    assert os.statvfs(place).f_flag & os.ST_NOSUID
    assert place.parent.stat().st_mode & 0o777 == 0o700


def test_loop_devices_where_files_cannot_be_mounted(driver: Driver) -> None:
    name = commit(driver, BASE)
    folder = Path(driver._root) / "l" / driver._layers.get(name).number
    opened = [os.open(folder / each, os.O_RDONLY) for each in ("index.erofs", "layer.tar")]
    before = set(_backing())
    try:
        try:
            fd = imagemount.open_by_loop(opened)
        except FileNotFoundError:
            pytest.skip("no loop devices here")
        assert len(set(_backing()) - before) == 2
        assert Path(f"/proc/self/fd/{fd}/etc/passwd").read_bytes() == b"root" * 300
        os.close(fd)
    finally:
        for each in opened:
            os.close(each)
    assert leftovers.settle(lambda: [x for x in _backing() if str(folder) in x]) == []


def _backing() -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(path.read_text())
    return found


def _by_old_interface(mounts: list[Mount]) -> None:
    root = open_root(mounts, append=False)
    path = Path(f"/proc/self/fd/{root}/etc")
    os._exit(0 if sorted(os.listdir(path)) == ["new", "passwd"] else 1)


def test_kernels_that_take_all_layers_in_one_string(driver: Driver, tmp_path: Path) -> None:
    mounts = driver.prepare("c", commit(driver, BASE, TOP))
    child = _fork.Process(target=_by_old_interface, args=(mounts,))
    child.start()
    child.join()
    assert child.exitcode == 0
    driver.remove("c")
    driver.cleanup()
    assert leftovers.mounts(str(tmp_path)) == []


def _open_often(mounts: list[Mount], start: int) -> None:
    os.read(start, 1)
    for _ in range(20):
        os.close(open_root(mounts))


def test_many_processes_mount_at_once(driver: Driver, tmp_path: Path) -> None:
    mounts = driver.view(commit(driver, BASE, TOP))
    driver.cleanup()
    assert places(tmp_path) == []
    reader, writer = os.pipe()
    children = [_fork.Process(target=_open_often, args=(mounts, reader)) for _ in range(6)]
    for child in children:
        child.start()
    os.write(writer, bytes(len(children)))
    for child in children:
        child.join()
    os.close(reader)
    os.close(writer)
    assert [child.exitcode for child in children] == [0] * 6
    assert len(places(tmp_path)) == 2
    assert len(set(places(tmp_path))) == 2


def _die_in(name: str, mounts: list[Mount]) -> None:
    def die(*args: object, **more: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(k, name, die)
    open_root(mounts)


@pytest.mark.parametrize("call", ["mount", "attach", "fsconfig_create", "fsmount", "open_tree"])
def test_whoever_is_killed_leaves_a_mount_or_none(
    driver: Driver, tmp_path: Path, call: str
) -> None:
    mounts = driver.prepare("c", commit(driver, BASE))
    child = _fork.Process(target=_die_in, args=(call, mounts))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with mounted(mounts) as root:
        assert (root / "etc/gone").exists()
    assert len(places(tmp_path)) == 1
    driver.remove("c")
    driver.cleanup()
    assert leftovers.mounts(str(tmp_path)) == []


def _in_another_namespace(directory: str, place: str) -> None:
    unshare(CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)
    fd = clone_image(directory, place)
    os._exit(0 if os.path.exists(f"/proc/self/fd/{fd}/etc/passwd") else 1)


def test_another_mount_namespace_has_mounts_of_its_own(driver: Driver, tmp_path: Path) -> None:
    base = commit(driver, BASE)
    [mount] = driver.view(base)
    place = mount.options[0].removeprefix("at=")
    child = _fork.Process(target=_in_another_namespace, args=(mount.source, place))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert leftovers.mounts(str(tmp_path)) == []


def test_the_other_driver_uses_what_is_there(driver: Driver, tmp_path: Path) -> None:
    top = commit(driver, BASE, TOP)
    other = overlay.Driver(str(tmp_path / "snapshots"), str(tmp_path / "run"))
    assert other.has(top)
    again = commit(other, BASE, TOP, tar(file("s/by-the-other", b"o")))
    with mounted(other.prepare("c", again)) as root:
        assert sorted(os.listdir(root / "etc")) == ["by-the-other", "new", "passwd"]
        (root / "etc/passwd").unlink()
    assert [(each.kind, each.path) for each in driver.diff("c")] == [
        ("C", "/etc"), ("D", "/etc/passwd"),
    ]  # fmt: skip
    other.remove("c")
    other.remove_layer(again)
    other.remove_layer(top)
    assert other.list_layers() == [digests.of(BASE)]


def _can_check() -> bool:
    """Return whether there is an fsck.erofs that knows blocks of 512 bytes and several devices."""
    if shutil.which("fsck.erofs") is None:
        return False
    told = subprocess.run(["fsck.erofs", "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    return found is not None and (int(found[1]), int(found[2])) >= (1, 8)


@pytest.mark.peer
@pytest.mark.skipif(not _can_check(), reason="fsck.erofs 1.8 or later is not installed")
@pytest.mark.parametrize("case", CASES)
def test_erofs_utils_have_nothing_to_say(case: str, driver: Driver) -> None:
    parent: str | None = None
    for data in CASES[case]:
        chain = digests.chain_id(parent, digests.of(data))
        driver.commit_layer(chain, parent, tars.source(data))
        parent = chain
        folder = Path(driver._root) / "l" / driver._layers.get(chain).number
        devices = [f"--device={folder / name}" for name in ("layer.tar", "rest")
                   if (folder / name).exists()]  # fmt: skip
        words = ["fsck.erofs", "--extract", *devices, str(folder / "index.erofs")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
