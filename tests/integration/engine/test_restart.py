"""restart: of what runs, of what does not, and of what would be removed at its end."""

from __future__ import annotations

import threading

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, Sandbox, errors
from knarr.engine.model import RestartPolicy
from knarr.supervisor import restart
from tests.support.waiting import wait_until

SCRIPT = """
trap 'echo term; exit 0' TERM
trap 'echo int; exit 0' INT
echo ready
while :; do sleep 600 & wait $!; done
"""
TRAPPING = ("sh", "-c", SCRIPT)


def launch(engine: Engine, **options: object) -> Container:
    """Start a container in the background; return when its traps are set."""
    config = ContainerConfig("busybox", TRAPPING, **options)  # type: ignore[arg-type]
    container = engine.containers.launch(config, attach=False).container
    wait_until(lambda: _lines(container)[-1:] == [b"ready"])
    return container


def _lines(container: Container) -> list[bytes]:
    return [entry.data.strip() for entry in container.logs(lines=True)]


def test_a_running_one_stops_and_starts(engine: Engine) -> None:
    container = launch(engine)
    before = container.state
    container.restart()
    after = container.state
    assert (after.status, after.pid != before.pid) == ("running", True)
    assert after.started_at > before.started_at
    wait_until(lambda: _lines(container) == [b"ready", b"term", b"ready"])
    container.restart(30, "INT")
    wait_until(lambda: _lines(container)[3:] == [b"int", b"ready"])


def test_one_that_does_not_run_is_started(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    container.restart()
    assert container.status == "running"
    container.kill()
    container.restart()
    assert container.status == "running"


def test_a_paused_one(engine: Engine) -> None:
    container = launch(engine)
    container.pause()
    container.restart()
    assert container.status == "running"


def test_an_unknown_signal_changes_nothing(engine: Engine) -> None:
    container = launch(engine)
    before = container.state.pid
    with pytest.raises(errors.InvalidArgument):
        container.restart(signal="NONE")
    assert container.state.pid == before


def test_one_with_auto_remove_outlives_it(engine: Engine) -> None:
    container = launch(engine, auto_remove=True)
    for _ in range(3):
        before = container.state.pid
        container.restart(30)
        assert container.state.running
        assert container.state.pid != before
        wait_until(lambda: _lines(container)[-1:] == [b"ready"])
    container.stop()
    wait_until(lambda: engine.containers.list(all=True) == [])


def test_one_with_auto_remove_whose_owner_waits(engine: Engine) -> None:
    config = ContainerConfig("busybox", TRAPPING, auto_remove=True, name="one")
    results = []
    runner = threading.Thread(target=lambda: results.append(engine.containers.run(config)))
    runner.start()
    wait_until(lambda: bool(engine.containers.list()))
    container = engine.containers.get("one")
    wait_until(lambda: _lines(container)[-1:] == [b"ready"])
    container.restart()
    runner.join(30)
    assert results[0].stdout == b"ready\nterm\n"
    assert container.status == "running"
    container.remove(force=True)
    assert engine.containers.list(all=True) == []


@pytest.mark.parametrize("policy", ["no", "always"])
def test_who_prunes_meanwhile_takes_it_for_one_that_runs(policy: str, engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "600"), restart=RestartPolicy(policy))
    container = engine.containers.launch(config, attach=False).container
    removed, done = [], threading.Event()

    def prune() -> None:
        while not done.is_set():
            removed.extend(engine.containers.prune()[0])

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        for _ in range(20):
            container.restart(signal="KILL")
    finally:
        done.set()
        pruner.join(30)
    assert (removed, container.status) == ([], "running")


def test_it_can_be_killed_while_it_is_waited_for(engine: Engine) -> None:
    """Whoever restarts a container that does not want to end does not hold up who kills it."""
    config = ContainerConfig("busybox", TRAPPING, restart=RestartPolicy("always"))
    container = engine.containers.launch(config, attach=False).container
    wait_until(lambda: _lines(container) == [b"ready"])
    runner = threading.Thread(target=lambda: container.restart(-1, "USR1"))
    container.exec_run(ExecConfig(("sh", "-c", "kill -STOP 1")))
    before = container.state.pid
    runner.start()
    wait_until(lambda: bool((restart.rules(container.paths.exit) or {}).get("stopped")))
    container.kill()
    runner.join(30)
    assert not runner.is_alive()
    assert container.state.running
    assert container.state.pid != before


def test_a_sandbox_is_not_restarted(engine: Engine) -> None:
    with Sandbox("busybox", engine=engine) as box:
        with pytest.raises(errors.Conflict, match="lives as long as the program that made it"):
            box.container.restart()
        assert box.run("echo", "x").text == "x\n"
