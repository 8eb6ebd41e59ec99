"""``--mount`` and ``--volumes-from`` in real containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr import ContainerConfig, Engine, errors
from knarr.cli import mountargs
from knarr.engine.model import BindMount, RunResult, Tmpfs


def run(engine: Engine, script: str, *texts: str, **options: Any) -> RunResult:
    made = [mountargs.mount(text) for text in texts]
    options.setdefault("binds", tuple(each for each in made if isinstance(each, BindMount)))
    options.setdefault("tmpfs", tuple(each for each in made if isinstance(each, Tmpfs)))
    config = ContainerConfig("busybox", ("sh", "-c", script), auto_remove=True, **options)
    return engine.containers.run(config)


def test_a_directory_of_the_host(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("here")
    text = f"type=bind,source={tmp_path},target=/data"
    assert run(engine, "cat /data/f; echo new > /data/g", text).text == "here"
    assert (tmp_path / "g").read_text() == "new\n"
    refused = run(engine, "echo more > /data/g", text + ",readonly")
    assert refused.exit_code != 0
    assert b"Read-only file system" in refused.stderr


def test_a_path_that_is_not_there_is_refused_at_creation(engine: Engine) -> None:
    config = ContainerConfig(
        "busybox", binds=(BindMount("/not/there", "/b", create_source=False, by_mount=True),)
    )
    with pytest.raises(errors.InvalidArgument) as caught:
        engine.containers.create(config)
    assert str(caught.value) == (
        'invalid mount config for type "bind": bind source path does not exist: /not/there'
    )
    assert engine.containers.list(all=True) == []


def test_what_is_mounted_below_comes_along_or_not(engine: Engine) -> None:
    script = "grep -c ' /data/' /proc/self/mountinfo"
    with_all = run(engine, script, "type=bind,source=/dev,target=/data")
    without = run(engine, script, "type=bind,source=/dev,target=/data,bind-recursive=disabled")
    assert int(with_all.text) > 0
    assert without.text == "0\n"


def test_read_only_for_what_is_mounted_below(engine: Engine) -> None:
    script = "grep ' /data/shm ' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1"
    source = "type=bind,source=/dev,target=/data,readonly"
    assert set(run(engine, script, source).text.split()) == {"ro"}
    assert set(run(engine, script, source + ",bind-recursive=writable").text.split()) == {"rw"}
    forced = ",bind-recursive=readonly,bind-propagation=rprivate"
    assert set(run(engine, script, source + forced).text.split()) == {"ro"}


def test_a_tmpfs(engine: Engine) -> None:
    text = "type=tmpfs,target=/scratch,tmpfs-size=1m,tmpfs-mode=1750"
    found = run(engine, "stat -c %a /scratch; df -k /scratch | tail -1", text).text.splitlines()
    assert found[0] == "1750"
    assert found[1].split()[:2] == ["tmpfs", "1024"]
    assert run(engine, "touch /scratch/x", text + ",readonly").exit_code != 0


def test_inspect_tells_mounts_from_binds(engine: Engine, tmp_path: Path) -> None:
    made = mountargs.mount(f"type=bind,src={tmp_path},dst=/a,ro,bind-propagation=rslave")
    scratch = mountargs.mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700")
    assert isinstance(made, BindMount)
    assert isinstance(scratch, Tmpfs)
    config = ContainerConfig(
        "busybox", ("true",), binds=(BindMount(str(tmp_path), "/v"), made), tmpfs=(scratch,)
    )
    found = engine.containers.create(config).inspect()
    assert found["HostConfig"]["Binds"] == [f"{tmp_path}:/v"]
    assert found["HostConfig"]["Tmpfs"] == {}
    assert found["HostConfig"]["Mounts"] == [
        {"Type": "bind", "Source": str(tmp_path), "Target": "/a", "ReadOnly": True,
         "BindOptions": {"Propagation": "rslave"}},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}},
    ]  # fmt: skip
    assert {point["Destination"] for point in found["Mounts"]} == {"/v", "/a", "/t"}


def test_the_mounts_of_another_container(engine: Engine, tmp_path: Path) -> None:
    for name in ("one", "two", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    binds = (BindMount(f"{tmp_path}/one", "/one"), BindMount(f"{tmp_path}/two", "/two"))
    engine.containers.create(ContainerConfig("busybox", ("true",), name="data", binds=binds))
    script = "cat /one/f /two/f; touch /one/new; touch /two/new"
    mine = (BindMount(f"{tmp_path}/own", "/two"),)
    result = run(engine, script, volumes_from=("data:ro",), binds=mine)
    assert result.stdout == b"oneown"
    assert not (tmp_path / "one" / "new").exists()
    assert (tmp_path / "own" / "new").exists()
    third = engine.containers.create(
        ContainerConfig("busybox", ("true",), volumes_from=("data",))
    ).inspect()
    assert third["HostConfig"]["VolumesFrom"] == ["data"]
    assert third["HostConfig"]["Binds"] is None
    assert {point["Source"] for point in third["Mounts"]} == {
        f"{tmp_path}/one", f"{tmp_path}/two",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", errors.InvalidArgument, "volumes-from specification cannot be an empty string"),
        ("data:rx", errors.InvalidArgument, "invalid mode: rx"),
        ("nobody", errors.NotFound, "No such container: nobody"),
    ],
)
def test_mounts_of_nobody(
    engine: Engine, text: str, error: type[errors.KnarrError], message: str
) -> None:
    with pytest.raises(error) as caught:
        run(engine, "true", volumes_from=(text,))
    assert str(caught.value) == message


@pytest.mark.parametrize("userns", ["host", "private"])
def test_places_that_are_links_to_nowhere(engine: Engine, tmp_path: Path, userns: str) -> None:
    """As /etc/resolv.conf of an image with systemd: what they lead to is made.

    The gate of such a container is opened ahead, before its process asks.
    """
    if userns != "host" and not engine.machine.private_users():
        pytest.skip("this kernel cannot map the owners of layers")
    (tmp_path / "f").write_text("here\n")
    script = "mkdir /data; ln -s /run/deep/one /data/one; ln -s ../run/deep/two /data/two"
    found = engine.containers.create(ContainerConfig("busybox", ("sh", "-c", script)))
    found.start()
    found.wait()
    found.commit("linked")
    texts = [f"type=bind,source={tmp_path}/f,target=/data/{name}" for name in ("one", "two")]
    binds = tuple(each for each in map(mountargs.mount, texts) if isinstance(each, BindMount))
    look = "cat /run/deep/one /data/two; stat -c %u:%g /run/deep"
    config = ContainerConfig("linked", ("sh", "-c", look), binds=binds, auto_remove=True,
                             userns=userns, tmpfs=(Tmpfs("/run"),))  # fmt: skip
    assert engine.containers.run(config).text == "here\nhere\n0:0\n"
    config = ContainerConfig("linked", ("sh", "-c", look), binds=binds, auto_remove=True,
                             userns=userns)  # fmt: skip
    assert engine.containers.run(config).text == "here\nhere\n0:0\n"
