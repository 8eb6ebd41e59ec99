"""stats of real containers: processors, memory, network, block devices, processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr import (
    AsyncSandbox,
    Container,
    ContainerConfig,
    Engine,
    ExecConfig,
    Sandbox,
    Stats,
    errors,
)
from knarr.config import Settings
from knarr.engine.model import Limits
from knarr.engine.stats import Board
from tests.support.waiting import wait_until

MIB = 1 << 20
BUSY = ("sh", "-c", "while :; do :; done")
IDLE = ("sleep", "1000")


def started(engine: Engine, *command: str, **options: object) -> Container:
    config = ContainerConfig("busybox", command or IDLE, **options)  # type: ignore[arg-type]
    return engine.containers.launch(config, attach=False)[0]


def inside(container: Container, script: str) -> None:
    done = container.exec_run(ExecConfig(("sh", "-c", script)))
    assert done.exit_code == 0, done.stderr


def known(value: int | None) -> int:
    assert value is not None
    return value


def shown(board: Board) -> dict[str, Stats]:
    return {found.name: found for found in board.read()}


# What an engine keeps: a connection for each thread that asked, the init program.
_OTHERS = ("/knarr.db", "knarr-init")


def descriptors(engine: Engine) -> int:
    engine.tidier.wait()  # it looks through what was removed
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            link = os.readlink(f"/proc/self/fd/{name}")
            count += not any(word in link for word in _OTHERS)
    return count


@pytest.mark.vm
def test_a_busy_container_and_an_idle_one(engine: Engine) -> None:
    busy, idle = started(engine, *BUSY), started(engine)
    with engine.containers.stats([busy.id, idle.name]) as board:
        begins, first, begun = time.monotonic_ns(), board.read(), time.monotonic_ns()
        inside(idle, "sleep 0.5")
        ends, second, ended = time.monotonic_ns(), board.read(), time.monotonic_ns()
    assert [found.id for found in second] == [busy.id, idle.id]
    used = known(second[0].cpu_total) - known(first[0].cpu_total)
    percent = second[0].cpu_percent
    assert percent is not None
    # A whole processor, on a machine that has one to spare; on any the share of the time.
    assert percent > 0
    assert (ends - begun) * 0.999 <= used * 100 / percent <= (ended - begins) * 1.001
    assert (second[1].cpu_percent or 0.0) < percent
    assert second[1].running
    assert known(second[1].pids) == 1
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert second[1].memory_limit == machine
    assert 0 < known(second[1].memory) < 64 * MIB
    assert 0 < (second[1].memory_percent or 0.0) < 100


def test_a_clock_that_was_set_back(engine: Engine) -> None:
    container = started(engine, *BUSY)
    # Written down by a clock that was an hour ahead.
    path = Path(container.paths.state)
    record = json.loads(path.read_text())
    record["started_at"] += 3600 * 10**9
    path.write_text(json.dumps(record))
    with engine.containers.stats([container.id]) as board:
        (first,) = board.read()
    assert 0 < (first.cpu_percent or 0.0) <= 100 * (os.cpu_count() or 1) + 50


def test_one_answer(engine: Engine) -> None:
    container = started(engine, *BUSY, name="web")
    found = container.stats()
    assert (found.id, found.name, found.running) == (container.id, "web", True)
    assert 5 < (found.cpu_percent or 0.0) < 110
    container.pause()
    assert container.stats().cpu_percent == pytest.approx(0, abs=1)
    container.unpause()
    with pytest.raises(errors.NotFound, match="No such container: none"):
        engine.containers.stats(["web", "none"])


@pytest.mark.vm
def test_memory_is_what_is_used_without_idle_cache(engine: Engine) -> None:
    container = started(engine, limits=Limits(memory=256 * MIB, memory_swap=256 * MIB))
    with engine.containers.stats([container.id]) as board:
        (before,) = board.read()
        assert before.memory_limit == 256 * MIB
        inside(container, "dd if=/dev/zero of=/dev/shm/a bs=1M count=32")
        (after,) = board.read()
        assert 30 * MIB < known(after.memory) - known(before.memory) < 48 * MIB
        inside(container, "dd if=/dev/zero of=/big bs=1M count=48 conv=fsync")
        (cached,) = board.read()
        assert known(cached.memory) - known(after.memory) < 24 * MIB
        container.update(Limits(memory=512 * MIB, memory_swap=512 * MIB))
        assert board.read()[0].memory_limit == 512 * MIB


def test_commands_of_exec_are_counted(engine: Engine) -> None:
    container = started(engine)
    with (
        engine.containers.stats([container.id]) as board,
        container.exec(ExecConfig(("sh", "-c", "while :; do :; done"))) as session,
    ):
        wait_until(lambda: known(board.read()[0].pids) == 2)
        wait_until(lambda: known(board.read()[0].cpu_total) > 50_000_000)
        session.signal(9)


def test_block_devices(engine: Engine, settings: Settings) -> None:
    if os.major(os.stat(settings.data_root).st_dev) == 0:
        pytest.skip("needs the data root on a block device")
    container = started(engine)
    with engine.containers.stats([container.id]) as board:
        (before,) = board.read()
        if before.block_written is None:
            pytest.skip("this kernel accounts no block devices")
        # Past the page cache, which v1 does not attribute.
        inside(container, "dd if=/dev/zero of=/a bs=64k count=16 oflag=direct")
        inside(container, "dd if=/a of=/dev/null bs=64k count=4 iflag=direct")
        (after,) = board.read()
    assert known(after.block_written) - before.block_written >= MIB
    assert known(after.block_read) - known(before.block_read) >= MIB // 4


def test_network_of_two_that_share_it(engine: Engine) -> None:
    one = started(engine, name="one", cap_add=("NET_ADMIN",), network="none")
    two = started(engine, network="container:one")
    script = "ip link add name a type veth && ip link set a up && ip link set veth0 up"
    inside(one, script)
    with engine.containers.stats([one.id, two.id]) as board:
        before = board.read()[0]
        # A broadcast that nobody answers: what one end sends the other receives.
        inside(one, "arping -q -D -c 1 -w 1 -I a 10.9.9.9")
        first, second = board.read()
    assert known(first.network_sent) - known(before.network_sent) >= 42
    assert known(first.network_received) - known(before.network_received) >= 42
    assert (first.network_sent, first.network_received) == (
        second.network_sent,
        second.network_received,
    )


def test_the_network_of_the_host_is_nobodys(engine: Engine) -> None:
    container = started(engine, network="host")
    assert Path("/proc/net/dev").read_text().count(":") > 1
    found = container.stats()
    assert (found.network_received, found.network_sent) == (0, 0)


def test_containers_come_and_go(engine: Engine) -> None:
    before = descriptors(engine)
    with engine.containers.stats() as board:
        assert board.read() == []
        one = started(engine, name="one")
        wait_until(lambda: shown(board)["one"].running)
        two = engine.containers.create(ContainerConfig("busybox", IDLE, name="two"))
        assert list(shown(board)) == ["one"]
        two.start()
        wait_until(lambda: shown(board)["two"].running)
        one.rename("first")
        assert list(shown(board)) == ["first", "two"]
        one.stop(timeout=0)
        assert list(shown(board)) == ["two"]
        two.restart(timeout=0)
        wait_until(lambda: shown(board)["two"].running)
        two.remove(force=True)
        assert board.read() == []
        board.close()
        assert board.read() == []
    assert descriptors(engine) <= before + 1  # the database's


def test_all_and_what_has_ended(engine: Engine) -> None:
    old = engine.containers.create(ContainerConfig("busybox", IDLE, name="old"))
    with engine.containers.stats(all=True) as board:
        assert list(shown(board)) == ["old"]
        found = shown(board)["old"]
        assert found == Stats(old.id, "old", found.time)
        assert (found.running, found.cpu_percent, found.memory, found.pids) == (False, 0, 0, 0)
        assert found.memory_percent == 0
        new = engine.containers.create(ContainerConfig("busybox", IDLE, name="new"))
        assert list(shown(board)) == ["old", "new"]
        new.start()
        wait_until(lambda: shown(board)["new"].running)
        new.stop(timeout=0)
        assert not shown(board)["new"].running
        new.remove()
        assert list(shown(board)) == ["old"]


def test_a_named_one_stays_whatever_becomes_of_it(engine: Engine) -> None:
    container = started(engine, name="one")
    with engine.containers.stats(["one"]) as board:
        assert shown(board)["one"].running
        container.stop(timeout=0)
        assert shown(board)["one"].memory == 0
        container.start()
        wait_until(lambda: shown(board)["one"].running)
        container.remove(force=True)
        found = shown(board)["one"]
        assert (found.running, found.cpu_percent, found.memory_percent) == (False, None, None)
        started(engine, name="one")  # another one
        assert shown(board)["one"].id == container.id


def frames_of(stream: Iterator[Stats], container: Container) -> Iterator[Stats]:
    """Yield what the stream does; the container is removed after the second."""
    for number, found in enumerate(stream):
        yield found
        if number == 1:
            container.remove(force=True)


def test_a_stream_ends_with_its_container(engine: Engine) -> None:
    before = descriptors(engine)
    container = started(engine, *BUSY)
    found = list(frames_of(container.stats(stream=True, interval=0.05), container))
    assert len(found) == 2
    assert known(found[1].cpu_total) > known(found[0].cpu_total)
    with pytest.raises(errors.NotFound):
        next(container.stats(stream=True))
    assert descriptors(engine) <= before


def test_many_keep_few_descriptors(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    containers = [started(engine) for _ in range(3)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Room for two of three in half of what there may be.
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2 * 3 * 7, hard))
    before = descriptors(engine)
    with engine.containers.stats() as board:
        assert descriptors(engine) - before <= 2 * 7 + 1
        found = board.read()
        assert {one.id for one in found} == {one.id for one in containers}
        assert all(one.running and one.pids == 1 for one in found)
        containers[0].remove(force=True)
        assert len(board.read()) == 2


def test_without_control_groups(settings: Settings, busybox_archive: Path) -> None:
    fields = {name: getattr(settings, name) for name in Settings.__slots__}
    with Engine(Settings(**{**fields, "cgroup_manager": "none"})) as engine:
        engine.images.load(str(busybox_archive))
        container = started(engine)
        found = container.stats()
        assert found.running
        assert (found.cpu_percent, found.memory, found.memory_limit, found.pids) == (None,) * 4
        assert (found.network_received, found.block_read) == (0, None)
        container.remove(force=True)


def test_a_sandbox(engine: Engine) -> None:
    with Sandbox("busybox", engine=engine) as box:
        assert box.stats().memory_limit == 256 * MIB
        stream = box.stats(stream=True, interval=0.05)
        assert next(stream).running
        box.close()
        assert list(stream) == []


def test_an_asynchronous_stream(engine: Engine) -> None:
    async def use() -> tuple[Stats, list[Stats]]:
        async with AsyncSandbox("busybox", engine=engine) as box:
            one, seen = await box.stats(), []
            async for found in box.stats_stream(interval=0.05):
                seen.append(found)
                if len(seen) == 2:
                    await box.close()
            return one, seen

    before = descriptors(engine)
    one, seen = asyncio.run(use())
    assert one.running
    assert [found.running for found in seen] == [True, True]
    assert descriptors(engine) <= before


def test_an_asynchronous_stream_that_is_cancelled(engine: Engine) -> None:
    async def use() -> None:
        async with AsyncSandbox("busybox", engine=engine) as box:
            before = descriptors(engine)

            async def read() -> None:
                async for _ in box.stats_stream(interval=0.0):
                    begun.set()

            begun = asyncio.Event()
            task = asyncio.create_task(read())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert descriptors(engine) == before

    asyncio.run(use())
