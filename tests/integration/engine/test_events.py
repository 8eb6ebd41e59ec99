"""Events: all of them, in order, from whichever process."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from knarr import Container, ContainerConfig, Engine, errors
from knarr.engine import recover
from knarr.engine.model import ExecConfig, Limits
from knarr.supervisor import state as states
from tests.support.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


# One process that wants more than there may be, and that the kernel takes before all others.
HUNGRY = "echo 1000 >/proc/self/oom_score_adj; exec tail -c 150000000 /dev/zero"


def told(engine: Engine, **filters: list[str]) -> list[dict[str, Any]]:
    return list(engine.events(since=0, until=time.time_ns(), filters=filters))


def actions(engine: Engine, container: Container) -> list[str]:
    return [event["Action"] for event in told(engine, container=[container.id])]


def once(found: list[str]) -> list[str]:
    """Leave out repetitions: the kernel may take several processes for one want of memory."""
    return [action for action, _ in itertools.groupby(found)]


def attributes(engine: Engine, container: Container, action: str) -> dict[str, str]:
    (event,) = told(engine, container=[container.id], event=[action])
    found: dict[str, str] = event["Actor"]["Attributes"]
    return found


def test_a_life(engine: Engine) -> None:
    script = "trap 'exit 7' TERM; while :; do sleep 1 & wait $!; done"
    config = ContainerConfig("busybox", ("sh", "-c", script), name="web", labels={"tier": "a"})
    container = engine.containers.create(config)
    container.start()
    container.pause()
    container.unpause()
    container.rename("site")
    assert container.exec_run(ExecConfig(("sh", "-c", "exit 4"))).exit_code == 4
    container.stop()
    container.remove()
    assert actions(engine, container) == [
        "create", "start", "pause", "unpause", "rename", "exec_create: sh -c exit 4",
        "exec_start: sh -c exit 4", "exec_die", "kill", "die", "stop", "destroy",
    ]  # fmt: skip
    created = attributes(engine, container, "create")
    assert created == {"image": "busybox", "name": "web", "tier": "a"}
    assert attributes(engine, container, "rename") == {
        "image": "busybox", "name": "site", "oldName": "/web", "tier": "a",
    }  # fmt: skip
    died = attributes(engine, container, "die")
    assert died.pop("execDuration").isdigit()
    assert died == {"image": "busybox", "name": "site", "tier": "a", "exitCode": "7"}
    assert attributes(engine, container, "kill")["signal"] == "15"
    ended = attributes(engine, container, "exec_die")
    assert ended["exitCode"] == "4"
    assert ended["execID"] == attributes(engine, container, "exec_create")["execID"]


def test_one_that_is_removed_when_it_ends(engine: Engine) -> None:
    result = engine.containers.run(ContainerConfig("busybox", ("true",), auto_remove=True))
    assert result.exit_code == 0
    found = [event["Action"] for event in told(engine, type=["container"])]
    assert found == ["create", "attach", "start", "die", "destroy"]


def test_signals_of_an_attached_client(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "1000"))
    container, attachment = engine.containers.launch(config)
    assert attachment is not None
    with attachment:
        attachment.signal(9)
        assert attachment.wait(PATIENCE) is not None
        container.finish(attachment)
    assert actions(engine, container) == ["create", "attach", "start", "kill", "die"]
    assert attributes(engine, container, "kill")["signal"] == "9"


def test_kill_and_forced_removal(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "1000"))
    container = engine.containers.create(config)
    container.start()
    container.kill("KILL")
    container.start()
    container.remove(force=True)
    assert actions(engine, container) == [
        "create", "start", "kill", "die", "start", "kill", "die", "destroy",
    ]  # fmt: skip


def test_what_fails_is_not_told(engine: Engine) -> None:
    with pytest.raises(errors.NotFound):
        engine.containers.create(ContainerConfig("nosuch", pull="never"))
    container = engine.containers.create(ContainerConfig("busybox", ("nope",)))
    with pytest.raises(errors.CommandNotFound):
        container.start()
    with pytest.raises(errors.NotModified):
        container.stop()
    assert actions(engine, container) == ["create"]
    assert told(engine, image=["nosuch"]) == []


def test_memory_that_is_not_there(engine: Engine) -> None:
    limits = Limits(memory=32 << 20, memory_swap=32 << 20)
    container = engine.containers.create(
        ContainerConfig("busybox", ("sh", "-c", f"({HUNGRY}); exit 1"), limits=limits)
    )
    container.start()
    assert container.wait(PATIENCE).oom_killed
    assert once(actions(engine, container)) == ["create", "start", "oom", "die"]


@pytest.mark.vm
def test_a_kill_for_memory_is_told_when_it_happens(engine: Engine) -> None:
    """Also by the successor of a supervisor that was killed; the container goes on."""
    limits = Limits(memory=32 << 20, memory_swap=32 << 20)
    until, wanted = time.time_ns() + 2 * int(PATIENCE) * 10**9, {"event": ["oom"]}
    kills = engine.events(until=until, filters=wanted)
    config = ContainerConfig("busybox", ("sleep", "1000"), limits=limits)
    container, _ = engine.containers.launch(config, attach=False)
    assert container.exec_run(ExecConfig(("sh", "-c", HUNGRY))).exit_code
    assert next(kills)["Actor"]["ID"] == container.id
    kill_supervisor(container)
    assert container.state.running
    further = engine.events(until=until, filters=wanted)
    assert container.exec_run(ExecConfig(("sh", "-c", HUNGRY))).exit_code
    assert next(further)["Actor"]["ID"] == container.id
    container.kill()
    assert container.wait(PATIENCE).oom_killed
    found = [action for action in actions(engine, container) if action in ("oom", "die")]
    assert found.count("oom") >= 2
    assert once(found) == ["oom", "die"]


@pytest.mark.vm
def test_a_limit_that_came_later_is_watched_from_then_on(engine: Engine) -> None:
    """Also by the successor of the supervisor that was told of it."""
    config = ContainerConfig("busybox", ("sleep", "1000"))
    container, _ = engine.containers.launch(config, attach=False)
    watched = json.loads(Path(container.paths.state).read_bytes())
    assert "oom" not in watched
    container.update(Limits(memory=32 << 20, memory_swap=32 << 20))
    until, wanted = time.time_ns() + 2 * int(PATIENCE) * 10**9, {"event": ["oom"]}
    kills = engine.events(until=until, filters=wanted)
    assert container.exec_run(ExecConfig(("sh", "-c", HUNGRY))).exit_code
    assert next(kills)["Actor"]["ID"] == container.id
    kill_supervisor(container)
    assert container.state.running
    further = engine.events(until=until, filters=wanted)
    assert container.exec_run(ExecConfig(("sh", "-c", HUNGRY))).exit_code
    assert next(further)["Actor"]["ID"] == container.id
    container.kill()
    assert container.wait(PATIENCE).oom_killed
    found = [action for action in actions(engine, container) if action in ("oom", "die")]
    assert found.count("oom") >= 2
    assert once(found) == ["oom", "die"]


def kill_supervisor(container: Container) -> None:
    """Kill the supervisor of a container, and wait until it is gone."""
    handle = os.pidfd_open(json.loads(Path(container.paths.state).read_bytes())["supervisor_pid"])
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [], PATIENCE)
    os.close(handle)


def test_an_end_that_nobody_saw(engine: Engine) -> None:
    """Supervisor and container killed together: whoever finds that out tells it, once."""
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "1000")))
    container.start()
    live = states.read(container.paths.run)
    assert live is not None
    for pid in (live["supervisor_pid"], live["pid"]):
        os.kill(pid, 9)
    container.wait(PATIENCE)
    container.remove()
    assert actions(engine, container) == ["create", "start", "die", "destroy"]


def test_an_end_that_a_successor_saw_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher gives it a supervisor, and it ends, just before somebody else tries so too."""
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "1000")))
    container.start()
    live = states.read(container.paths.run)
    assert live is not None
    engine.launcher.quit()
    os.kill(live["supervisor_pid"], 9)
    wait_until(lambda: not container.paths.supervisor_lives())
    take_over = recover._take_over

    def late(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
        assert engine.launcher.adopt(paths.run)
        os.kill(live["pid"], 9)
        wait_until(lambda: (states.read(paths.run) or {}).get("status") == "exited")
        assert not take_over(engine, record, paths)
        return False

    monkeypatch.setattr(recover, "_take_over", late)
    recover.recover_container(engine, container.record)
    container.remove()
    assert actions(engine, container) == ["create", "start", "die", "destroy"]


def test_images(engine: Engine) -> None:
    engine.images.tag("busybox", "other:1")
    engine.images.remove("other:1")
    image_id = engine.images.get("busybox").id
    engine.images.remove("busybox")
    found = [
        (event["Action"], event["Actor"]["Attributes"]["name"])
        for event in told(engine, type=["image"])
    ]
    assert found == [
        ("load", "busybox:latest"),
        ("tag", "other:1"),
        ("untag", "other:1"),
        ("untag", "busybox:latest"),
        ("delete", image_id),
    ]
    assert {event["Actor"]["ID"] for event in told(engine, type=["image"])} == {image_id}


def test_complete_and_in_order_across_processes(engine: Engine, settings: Settings) -> None:
    """Four processes with an engine each, while somebody watches."""
    each, processes = 4, 4
    live: list[dict[str, Any]] = []
    watched = engine.events(filters={"type": ["container"], "event": ["destroy", "die"]})

    def watch() -> None:
        for event in watched:
            live.append(event)
            if len(live) == 2 * each * processes:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with Engine(settings) as own:
                    for _ in range(each):
                        config = ContainerConfig("busybox", ("true",), auto_remove=True)
                        own.containers.run(config)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    watcher.join(PATIENCE)
    assert not watcher.is_alive()
    found = told(engine, type=["container"])
    times = [event["timeNano"] for event in found]
    assert times == sorted(times)
    lives: dict[str, list[str]] = {}
    for event in found:
        lives.setdefault(event["id"], []).append(event["Action"])
    assert len(lives) == each * processes
    assert {tuple(life) for life in lives.values()} == {
        ("create", "attach", "start", "die", "destroy")
    }
    assert live == [event for event in found if event["Action"] in ("die", "destroy")]
