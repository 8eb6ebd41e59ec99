"""A full disk, a read-only run root, a database out of reach: one line each, and nothing left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr import ContainerConfig, Engine, Settings, errors
from knarr.kernel import mounts
from knarr.runtime.rootfs import clone_tree
from tests.support.namespaces import user_namespace


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounts.mount("tmpfs", str(folder), "tmpfs", 0, "size=8m")
    yield folder
    mounts.umount2(str(folder), mounts.MNT_DETACH)


def _one_line(error: BaseException) -> bool:
    return "\n" not in str(error) and bool(str(error))


def test_a_full_disk(
    engine: Engine, settings: Settings, small: Path, busybox_archive: Path
) -> None:
    full = Settings(
        default_network="none",
        data_root=str(small / "d"), run_root=settings.run_root,
        cgroup_parent=settings.cgroup_parent, launcher_idle=60.0,
    )  # fmt: skip
    with Engine(full) as other:
        other.images.load(str(busybox_archive))
        other.containers.create(ContainerConfig("busybox")).remove()
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        with pytest.raises(errors.ResourceExhausted) as caught:
            for _ in range(50):
                other.containers.create(ContainerConfig("busybox"))
        assert _one_line(caught.value)
        filler.unlink()
        other.recover()
        other.containers.prune()
        assert other.table.all() == []
        assert other.driver.list_keys() == []
        assert os.listdir(f"{full.data_root}/containers") == []


def test_a_read_only_run_root(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir(mode=0o700)
    mounts.mount("tmpfs", str(folder), "tmpfs", mounts.MS_RDONLY)
    try:
        frozen = Settings(
            default_network="none",
            data_root=settings.data_root,
            run_root=str(folder),
            cgroup_parent="/knarr-ro",
        )
        with Engine(frozen) as other:
            with pytest.raises(errors.KnarrError) as caught:
                other.containers.run(ContainerConfig("busybox", ("true",)))
            assert str(folder) in str(caught.value)
            assert _one_line(caught.value)
            assert other.table.all() == []
            assert other.driver.list_keys() == []
    finally:
        mounts.umount2(str(folder), mounts.MNT_DETACH)


@pytest.fixture
def mapped(settings: Settings) -> Iterator[Path]:
    """A directory on a mount with mapped ids, which the kernel does not map a second time."""
    folder = Path(settings.run_root).parent / "mapped"
    folder.mkdir()
    with user_namespace(0) as userns:
        try:
            tree = clone_tree(str(folder), userns)
        except OSError:
            pytest.skip("this kernel has no mounts with mapped ids here")
    target = os.open(folder, os.O_PATH)
    mounts.attach(tree, target)
    os.close(target)
    os.close(tree)
    yield folder
    mounts.umount2(str(folder), mounts.MNT_DETACH)


def test_owners_that_cannot_be_mapped(
    mapped: Path, settings: Settings, busybox_archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning in a boot, and containers have the host's ids."""
    chosen = Settings(
        default_network="none",
        data_root=str(mapped / "d"), run_root=settings.run_root,
        cgroup_parent=settings.cgroup_parent, launcher_idle=60.0,
    )  # fmt: skip
    for _ in range(2):
        with Engine(chosen) as other:
            other.images.load(str(busybox_archive))
            config = ContainerConfig("busybox", ("cat", "/proc/self/uid_map"), auto_remove=True)
            assert other.containers.run(config).text.split() == ["0", "0", "4294967295"]
            (told,) = caplog.records
            assert told.getMessage() == (
                "the owners of layers cannot be mapped (mount_setattr: Operation not permitted): "
                "containers share the host's user namespace"
            )
            assert other.info()["Warnings"] == [told.getMessage()]


def test_a_data_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = Settings(data_root=str(tmp_path / "file" / "d"), run_root=str(tmp_path / "r"))
    with Engine(blocked) as other, pytest.raises(errors.KnarrError) as caught:
        other.containers.list()
    assert _one_line(caught.value)


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "knarr.db").write_bytes(b"no database" * 999)
    broken = Settings(data_root=str(tmp_path), run_root=str(tmp_path / "r"))
    with Engine(broken) as other, pytest.raises(errors.Internal, match="state database"):
        other.containers.list()


def test_a_damaged_spec(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("true",), name="web"))
    Path(container.paths.spec).write_text("{")
    with pytest.raises(errors.Internal, match="container web"):
        container.start()
    container.remove()
