"""The contract of ``knarr.snapshots.driver.Driver``, over every driver there is."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.errors import (
    Conflict,
    InvalidArchive,
    InvalidArgument,
    NotFound,
    Unsupported,
)
from knarr.snapshots import registry
from knarr.snapshots.driver import Driver, LayerSource
from tests.support import tars
from tests.support.tars import commit, directory, file, hardlink, mounted, source, symlink, tar

BASE = tar(
    directory("./", 0o751, uid=3, gid=4),
    directory("etc"),
    file("etc/passwd", b"root"),
    file("etc/gone", b"x"),
    directory("var", 0o1777),
    file("var/data", b"v"),
    symlink("lib", "usr/lib"),
    directory("usr/lib", 0o750, uid=5),
)
TOP = tar(
    file("etc/.wh.gone"),
    file("var/.wh..wh..opq"),
    file("var/new", b"n"),
    file("lib/so", b"elf"),
    hardlink("etc/passwd-", "etc/passwd"),
)


@pytest.fixture(params=registry.names())
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    try:
        made = registry.open_driver(request.param, str(tmp_path / "snapshots"))
    except Unsupported as error:
        pytest.skip(f"driver {request.param} does not work here: {error}")
    with tars.nothing_mounted_after(made, tmp_path):
        yield made


def test_the_driver_has_the_whole_protocol(driver: Driver) -> None:
    assert isinstance(driver, Driver)
    assert driver.name in registry.names()


def test_layers_come_and_go(driver: Driver) -> None:
    base, layer = digests.of(BASE), source(BASE)
    assert not driver.has(base)
    assert driver.list_layers() == []
    seen: list[int] = []
    driver.commit_layer(base, None, layer, seen.append)
    assert driver.has(base)
    assert driver.list_layers() == [base]
    assert seen[-1] == len(BASE)
    assert driver.layer_size(base) == len(b"rootxv")
    driver.remove_layer(base)
    assert not driver.has(base)
    assert driver.list_layers() == []
    driver.purge_trash()
    with pytest.raises(NotFound):
        driver.remove_layer(base)
    with pytest.raises(NotFound):
        driver.layer_size(base)


def test_a_layer_verifies_until_it_is_damaged(driver: Driver, tmp_path: Path) -> None:
    """Of an unpacked layer nothing is kept to compare; the tar of one that is not, is."""
    base = commit(driver, tar(file("a", b"some")))
    driver.verify_layer(base)
    with pytest.raises(NotFound):
        driver.verify_layer(digests.of(b"none"))
    for kept in tmp_path.rglob("layer.tar"):
        kept.chmod(0o600)
        kept.write_bytes(b"other")
        with pytest.raises(InvalidArchive, match="damaged"):
            driver.verify_layer(base)


def test_a_tar_that_is_kept_can_be_replaced(driver: Driver, tmp_path: Path) -> None:
    data = tar(file("a", b"some"))
    base = commit(driver, data)
    path = driver.layer_tar(base)
    assert (path is not None) == driver.keeps_tars
    with pytest.raises(NotFound):
        driver.layer_tar(digests.of(b"none"))
    if path is None:
        with pytest.raises(Unsupported, match="is unpacked"):
            driver.mend_layer(base, source(data))
        return
    assert Path(path).read_bytes() == data
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    linked = LayerSource(base, lambda: io.BytesIO(b""), blob_path=str(blob), blob_digest=base)
    for replacement in (source(data), linked):
        os.chmod(path, 0o600)
        Path(path).write_bytes(b"other")
        wrong = LayerSource(base, lambda: io.BytesIO(b"wrong"))
        with pytest.raises(InvalidArchive, match="is corrupt"):
            driver.mend_layer(base, wrong)
        with pytest.raises(InvalidArchive, match="damaged"):
            driver.verify_layer(base)
        driver.mend_layer(base, replacement)
        driver.verify_layer(base)
        with mounted(driver.view(base)) as root:
            assert (root / "a").read_bytes() == b"some"
    assert os.path.samefile(path, blob)
    assert sorted(os.listdir(os.path.dirname(path))) == [
        "fs",
        "index.erofs",
        "layer.tar",
        "meta.json",
    ]


def test_layers_stack_up(driver: Driver) -> None:
    top = commit(driver, BASE, TOP)
    with mounted(driver.view(top)) as root:
        assert sorted(os.listdir(root)) == ["etc", "lib", "usr", "var"]
        assert sorted(os.listdir(root / "etc")) == ["passwd", "passwd-"]
        assert os.listdir(root / "var") == ["new"]
        assert (root / "usr/lib/so").read_bytes() == b"elf"
        assert os.stat(root / "etc/passwd").st_ino == os.stat(root / "etc/passwd-").st_ino
        found = tars.tree(root)
        assert found[""][1:4] == ("0o751", 3, 4)
        assert found["usr/lib"][1:4] == ("0o750", 5, 0)
        with pytest.raises(OSError, match="Read-only"):
            (root / "new").touch()


def test_a_present_layer_is_not_read_again(driver: Driver) -> None:
    base = commit(driver, BASE)

    def refuse() -> io.BytesIO:
        raise AssertionError("opened although the layer is there")

    driver.commit_layer(base, None, LayerSource(base, refuse))


def test_ids_are_verified(driver: Driver) -> None:
    base, other = digests.of(BASE), digests.of(TOP)
    with pytest.raises(InvalidArgument, match="diff id"):
        driver.commit_layer(other, None, source(BASE))
    with pytest.raises(InvalidArgument, match="malformed"):
        driver.has("sha256:../../etc")
    with pytest.raises(InvalidArchive, match="corrupt"):
        driver.commit_layer(other, None, LayerSource(other, lambda: io.BytesIO(BASE)))
    with pytest.raises(NotFound):
        driver.commit_layer(digests.chain_id(base, other), base, source(TOP))
    assert driver.list_layers() == []


def test_sha512_layers(driver: Driver) -> None:
    name = digests.of(BASE, "sha512")
    driver.commit_layer(name, None, LayerSource(name, lambda: io.BytesIO(BASE)))
    assert driver.list_layers() == [name]
    assert driver.prepare("c", name)


def test_bytes_after_the_archive_count_for_the_diff_id(driver: Driver) -> None:
    data = BASE + b"trailing rubbish" * 1000
    commit(driver, data)


@pytest.mark.parametrize(
    "data",
    [
        BASE[:700],
        b"no tar at all" * 100,
        tar(file("a/../../../etc/passwd", b"x")),
        tar(file("f"), file("f/below")),
    ],
    ids=["truncated", "no tar", "escape", "below a file"],
)
def test_a_bad_layer_leaves_nothing(driver: Driver, tmp_path: Path, data: bytes) -> None:
    before = _everything(tmp_path)
    with pytest.raises(InvalidArchive):
        commit(driver, data)
    assert driver.list_layers() == []
    driver.purge_trash()
    assert _everything(tmp_path) == before


def test_a_failing_source_leaves_nothing(driver: Driver, tmp_path: Path) -> None:
    before = _everything(tmp_path)
    closed = []

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(1024)
            if not data:
                raise OSError(5, "the line went dead")
            return data

        def close(self) -> None:
            closed.append(True)
            super().close()

    name = digests.of(BASE)
    with pytest.raises(OSError, match="went dead"):
        driver.commit_layer(name, None, LayerSource(name, lambda: Broken(BASE[:2048])))
    assert closed == [True]
    assert _everything(tmp_path) == before


def test_prepare_write_remove(driver: Driver) -> None:
    top = commit(driver, BASE, TOP)
    mounts = driver.prepare("one", top)
    assert driver.mounts("one") == mounts
    assert driver.list_keys() == ["one"]
    driver.prepare("two", top)
    assert driver.is_untouched("one")
    with mounted(mounts) as root, mounted(driver.mounts("two")) as other:
        assert tars.tree(root)[""][1:4] == ("0o751", 3, 4)
        (root / "etc/passwd").write_text("changed")
        os.unlink(root / "var/new")
        os.mkdir(root / "fresh")
        assert (other / "etc/passwd").read_text() == "root"
    with mounted(driver.mounts("one")) as root:
        assert (root / "etc/passwd").read_text() == "changed"
    shown = {(change.kind, change.path) for change in driver.diff("one")}
    assert (driver.is_untouched("one"), driver.is_untouched("two")) == (False, True)
    assert shown == {
        ("C", "/etc"),
        ("C", "/etc/passwd"),
        ("C", "/var"),
        ("D", "/var/new"),
        ("A", "/fresh"),
    }
    used = driver.usage("one")
    assert used.size >= len("changed")
    assert used.inodes >= 4
    driver.remove("one")
    driver.remove("one")
    assert driver.list_keys() == ["two"]
    driver.purge_trash()
    calls = (
        driver.mounts, driver.is_untouched, driver.usage, driver.diff, driver.export_diff,
    )  # fmt: skip
    for call in calls:
        with pytest.raises(NotFound):
            call("one")


def test_an_empty_file_system(driver: Driver) -> None:
    with mounted(driver.prepare("scratch", None)) as root:
        assert os.listdir(root) == []
        (root / "x").write_text("y")
    with mounted(driver.mounts("scratch")) as root:
        assert os.listdir(root) == ["x"]
    assert list(driver.diff("scratch")) == [("A", "/x")]


def test_keys_are_checked(driver: Driver) -> None:
    base = commit(driver, BASE)
    for key in ("", "..", "a/b", ".hidden", "x" * 200, "a\nb"):
        with pytest.raises(InvalidArgument):
            driver.prepare(key, base)
    driver.prepare("k", base)
    with pytest.raises(Conflict):
        driver.prepare("k", base)
    with pytest.raises(NotFound):
        driver.prepare("other", digests.of(b"absent"))
    assert driver.list_keys() == ["k"]


def test_what_is_used_stays(driver: Driver) -> None:
    base, top = commit(driver, BASE), commit(driver, BASE, TOP)
    with pytest.raises(Conflict, match="in use"):
        driver.remove_layer(base)
    driver.prepare("c", top)
    with pytest.raises(Conflict, match="container c"):
        driver.remove_layer(top)
    driver.remove("c")
    driver.remove_layer(top)
    driver.remove_layer(base)
    assert driver.list_layers() == []


def test_commit_of_a_container_gives_the_same_tree(driver: Driver) -> None:
    base = commit(driver, BASE)
    with mounted(driver.prepare("c", base)) as root:
        (root / "etc/new").write_text("1")
        os.unlink(root / "etc/gone")
        os.unlink(root / "var/data")
        os.rmdir(root / "var")
        os.mkdir(root / "var")
        (root / "var/again").write_text("2")
        os.link(root / "etc/new", root / "etc/linked")
        expected = tars.tree(root)
    first = b"".join(driver.export_diff("c"))
    assert first == b"".join(driver.export_diff("c"))
    top = digests.chain_id(base, digests.of(first))
    driver.commit_layer(top, base, source(first))
    with mounted(driver.view(top)) as root:
        assert tars.tree(root) == expected


def test_two_threads_apply_a_layer_once(driver: Driver) -> None:
    opened = []

    def opening() -> io.BytesIO:
        opened.append(True)
        return io.BytesIO(BASE)

    name = digests.of(BASE)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            driver.commit_layer(name, None, LayerSource(name, opening))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert opened == [True]
    assert driver.list_layers() == [name]


def test_another_instance_sees_the_same(driver: Driver, tmp_path: Path) -> None:
    top = commit(driver, BASE, TOP)
    mounts = driver.prepare("c", top)
    again = registry.open_driver(driver.name, str(tmp_path / "snapshots"))
    assert again.list_layers() == driver.list_layers()
    assert again.mounts("c") == mounts
    again.cleanup()
    assert again.has(top)
    assert again.list_keys() == ["c"]


def _everything(root: Path) -> set[str]:
    return {str(path) for path in root.rglob("*")}


def test_a_copy_has_everything_and_goes_its_own_way(driver: Driver) -> None:
    top = commit(driver, BASE, TOP)
    with mounted(driver.prepare("one", top)) as root:
        (root / "etc/passwd").write_text("changed")
        (root / "etc/passwd").chmod(0o640)
        (root / "var/new").unlink()
        (root / "more").mkdir()
        os.link(root / "etc/passwd", root / "more/linked")
    before = list(driver.diff("one"))
    mounts = driver.copy("one", "two")
    assert mounts == driver.mounts("two") != driver.mounts("one")
    assert list(driver.diff("two")) == before
    assert b"".join(driver.export_diff("two")) == b"".join(driver.export_diff("one"))
    with mounted(mounts) as root:
        (root / "etc/passwd").write_text("again")
        assert (root / "more/linked").read_text() == "again"
    with mounted(driver.mounts("one")) as root:
        assert (root / "etc/passwd").read_text() == "changed"
    driver.remove("one")
    with mounted(driver.mounts("two")) as root:
        assert (root / "etc/passwd").read_text() == "again"
    with pytest.raises(Conflict):
        driver.copy("two", "two")
    with pytest.raises(NotFound):
        driver.copy("one", "three")
    assert driver.list_keys() == ["two"]
