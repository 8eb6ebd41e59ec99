"""clone and fork: the same files, and then each its own."""

from __future__ import annotations

import asyncio

import pytest

from knarr import AsyncSandbox, ContainerConfig, Engine, ExecConfig, Limits, Sandbox, errors
from tests.support.waiting import wait_until


@pytest.mark.parametrize("userns", [None, "host"])
def test_a_clone_has_files_and_configuration(engine: Engine, userns: str | None) -> None:
    script = "echo x > /made; chown 7:8 /made; rm /bin/ls; mkdir /d; ln /made /d/link; "
    script += "exec sleep 600"
    config = ContainerConfig(
        "busybox", ("sh", "-c", script), env=("A=1",), limits=Limits(pids=50), name="one",
        userns=userns,
    )  # fmt: skip
    container = engine.containers.launch(config, attach=False).container
    wait_until(lambda: container.top()[1][0][-1] == "sleep 600")
    copy = container.clone("two")
    assert (container.status, copy.status, copy.name) == ("running", "created", "two")
    assert (copy.image, copy.config.env, copy.config.limits.pids) == ("busybox", ("A=1",), 50)
    assert copy.diff() == container.diff()
    look = ExecConfig(
        ("sh", "-c", "stat -c '%u %g %h' /made; cat /made; test -e /bin/ls || echo $A")
    )
    container.exec_run(ExecConfig(("sh", "-c", "echo changed > /made")))
    container.remove(force=True)
    copy.start()
    assert copy.exec_run(look).stdout == b"7 8 2\nx\n1\n"


def test_an_image_whose_name_has_moved(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("true",)))
    other = container.commit()
    engine.images.tag(other.id, "busybox")
    copy = container.clone()
    assert copy.image_id == container.image_id
    copy.start()
    assert copy.wait(30).exit_code == 0


def test_refusals(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", name="one"))
    with pytest.raises(errors.Conflict, match='container name "/one" is already in use'):
        container.clone("one")
    assert len(engine.driver.list_keys()) == 1
    container.remove()
    with pytest.raises(errors.NotFound):
        container.clone("two")


def test_a_fork_goes_its_own_way(engine: Engine) -> None:
    with Sandbox("busybox", engine=engine, memory="64m", name="first") as box:
        box.files.write("/file", "one")
        box.run("sh", "-c", "sleep 600 &")
        with box.fork() as fork:
            assert fork.files.read("/file") == b"one"
            assert [row[-1] for row in fork.container.top()[1]][1:] == []
            fork.files.write("/file", "two")
            fork.files.write("/more", "x")
            assert box.files.read("/file") == b"one"
            assert not box.files.exists("/more")
            assert fork.container.config.limits.memory == 64 << 20
            with fork.fork("third") as third:
                assert third.files.read("/file") == b"two"
                assert third.name == "third"
        assert box.run("cat", "/file").text == "one"
    with pytest.raises(errors.Conflict, match="is closed"):
        box.fork()
    assert engine.containers.list(all=True) == []


def test_a_fork_outlives_what_it_was_made_from(engine: Engine) -> None:
    with Sandbox("busybox", engine=engine) as box:
        box.files.write("/file", "one")
        fork = box.fork()
    with fork:
        assert fork.run("cat", "/file").text == "one"


def test_a_clone_of_a_sandbox_stays(engine: Engine) -> None:
    with Sandbox("busybox", engine=engine) as box:
        box.files.write("/file", "one")
        copy = box.container.clone("kept")
    copy.start()
    assert copy.exec_run(ExecConfig(("cat", "/file"))).stdout == b"one"
    assert [container.name for container in engine.containers.list()] == ["kept"]


def test_forks_in_asyncio(engine: Engine) -> None:
    async def play() -> list[bytes]:
        async with AsyncSandbox("busybox", engine=engine) as box:
            await box.write("/file", "one")
            forks = await asyncio.gather(*(box.fork() for _ in range(3)))
            found = await asyncio.gather(*(fork.read("/file") for fork in forks))
            await asyncio.gather(*(fork.close() for fork in forks))
            return found

    assert asyncio.run(play()) == [b"one"] * 3
