"""Files in and out, of running containers and of others."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, ExecConfig, errors
from knarr.engine import start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Engine

SCRIPT = "mkdir /d; echo data > /d/f; ln -s /etc/passwd /d/l; chown 5:6 /d/f; exec sleep 1000"


@pytest.fixture(params=["running", "stopped"])
def container(request: pytest.FixtureRequest, engine: Engine) -> Container:
    made = engine.containers.create(ContainerConfig("busybox", ("sh", "-c", SCRIPT)))
    made.start()
    while made.exec_run(ExecConfig(("stat", "-c", "%u", "/d/f"))).stdout != b"5\n":
        continue
    if request.param == "stopped":
        made.kill()
        made.wait(30)
    return made


def unpacked(pieces: Iterable[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(pieces)))


def packed(**files: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid = len(data), 7, 8
            archive.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def test_out(container: Container) -> None:
    archive = unpacked(container.get_archive("/d"))
    assert sorted(archive.getnames()) == ["d", "d/f", "d/l"]
    member = archive.getmember("d/f")
    assert (member.uid, member.gid) == (5, 6)
    source = archive.extractfile(member)
    assert source is not None
    assert source.read() == b"data\n"
    assert archive.getmember("d/l").linkname == "/etc/passwd"


def test_in_and_out_again(container: Container) -> None:
    container.put_archive("/d", packed(new=b"fresh"))
    member = unpacked(container.get_archive("/d/new")).getmember("new")
    assert (member.size, member.uid, member.gid) == (5, 7, 8)
    container.put_archive("/d", packed(new=b"fresh"), owner=(0, 0))
    member = unpacked(container.get_archive("/d/new")).getmember("new")
    assert (member.uid, member.gid) == (0, 0)


def test_links_lead_nowhere_outside(container: Container) -> None:
    host = os.stat("/etc/passwd").st_size
    with open("/etc/passwd", "rb") as file:
        before = file.read()
    found = container.stat_path("/d/l", follow=True)
    assert found.size != host or found.size == 0
    with pytest.raises(errors.KnarrError):
        container.put_archive("/d/l", packed(x=b"evil"))
    with open("/etc/passwd", "rb") as file:
        assert file.read() == before


def test_stat(container: Container) -> None:
    found = container.stat_path("/d/f")
    assert (found.name, found.size) == ("f", 5)
    assert container.stat_path("/d/l").link_target == "/etc/passwd"
    with pytest.raises(errors.NotFound):
        container.stat_path("/absent")


def test_what_is_not_there(container: Container) -> None:
    with pytest.raises(errors.NotFound):
        list(container.get_archive("/absent"))
    with pytest.raises(errors.NotFound):
        container.put_archive("/absent", packed(x=b""))


def test_directories(container: Container) -> None:
    assert [entry.name for entry in container.list_directory("/d")] == ["f", "l"]
    container.remove_path("/d/f")
    assert [entry.name for entry in container.list_directory("/d")] == ["l"]
    container.remove_path("/d")
    with pytest.raises(errors.NotFound):
        container.list_directory("/d")
    with pytest.raises(errors.InvalidArgument):
        container.remove_path("/")


def test_export(container: Container) -> None:
    archive = unpacked(container.export())
    names = archive.getnames()
    assert "bin/busybox" in [name.removeprefix("./") for name in names]
    member = next(m for m in archive.getmembers() if m.name.removeprefix("./") == "d/f")
    assert (member.uid, member.gid, member.size) == (5, 6, 5)
    assert not [name for name in names if name.removeprefix("./").startswith("proc/")]


def test_a_read_only_container(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", read_only=True))
    with pytest.raises(errors.Forbidden, match="read-only"):
        container.put_archive("/", packed(x=b""))


def test_what_was_removed_meanwhile_is_told_as_that(engine: Engine, container: Container) -> None:
    older = engine.containers.get(container.id)
    container.remove(force=True)
    for look in (
        lambda: older.stat_path("/"),
        lambda: list(older.export()),
        older.diff,
        lambda: older.commit("copy"),
        lambda: older.clone("copy"),
        older.inspect,
    ):
        with pytest.raises(errors.NotFound, match=f"No such container: {container.id}"):
            look()
    assert os.listdir(f"{engine.settings.run_root}/locks") == []


def test_what_is_being_removed_is_left_alone(engine: Engine) -> None:
    """Its files are gone, or go; whoever was at it may have been killed."""
    made = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    engine.table.mark_removing(made.id)
    engine.driver.remove(made.id)
    half = engine.containers.get(made.id)
    for look in (lambda: half.stat_path("/"), half.diff, half.clone):
        with pytest.raises(errors.Conflict, match="marked for removal"):
            look()
    with pytest.raises(errors.Conflict, match="being removed"):
        half.commit("copy")
    shown = half.inspect()
    assert (shown["State"]["Status"], shown["GraphDriver"]["Data"]) == ("removing", {})
    half.remove()


def test_one_that_is_started_meanwhile_shows_what_it_sees_itself(engine: Engine) -> None:
    made = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    with ThreadPoolExecutor(1) as pool:
        with made.paths.locked():
            found = pool.submit(made.stat_path, "/proc/meminfo")
            inode = os.stat(f"{engine.settings.run_root}/locks/{made.id}").st_ino
            wait_until(lambda: _is_waited_for(inode))
            start.start(engine, made.record, attach=False)
        assert found.result(30).name == "meminfo"
    made.remove(force=True)


def _is_waited_for(inode: int) -> bool:
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and line.split()[6].endswith(f":{inode}") for line in lines)
