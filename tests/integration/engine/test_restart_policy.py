"""Restart policies: who is started again, after what time, and who stops that."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from knarr import Container, ContainerConfig, Engine, Settings, errors
from knarr.engine import bypolicy, host, restartrules, start, waiting
from knarr.engine.model import RestartPolicy
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.supervisor import rundir
from knarr.supervisor import state as states
from tests.support.processes import launcher
from tests.support.waiting import wait_until

ALWAYS = RestartPolicy("always")
# Appends a line and ends, at once or when it is told to.
COUNT = ("sh", "-c", "echo x >> /count; exit 3")
ENDURE = ("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 1 & wait $!; done")


def make(engine: Engine, *command: str, restart: RestartPolicy = ALWAYS) -> Container:
    container = engine.containers.create(ContainerConfig("busybox", command, restart=restart))
    container.start()
    return container


def ended(pid: int) -> bool:
    return states.start_time(pid) is None


def record_of(container: Container) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(container.paths.exit).read_text())
    return found


def test_on_failure_stops_after_so_many(engine: Engine) -> None:
    container = make(engine, *COUNT, restart=RestartPolicy("on-failure", 3))
    wait_until(lambda: container.status == "exited" and container.state.restarts == 3)
    shown = container.inspect()
    assert (shown["RestartCount"], shown["State"]["ExitCode"]) == (3, 3)
    assert shown["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    with container.paths.locked():  # who was to start it and comes late: somebody else did
        assert not bypolicy.start_again(engine, container.record, container.paths)
    counted = b"".join(container.get_archive("/count"))
    assert counted.count(b"x\n") == 4


def test_on_failure_leaves_success_alone(engine: Engine) -> None:
    container = make(engine, "true", restart=RestartPolicy("on-failure"))
    container.wait(30)
    wait_until(lambda: not container.paths.supervisor_lives())
    assert (container.status, container.state.restarts) == ("exited", 0)


def test_each_wait_is_twice_the_last(engine: Engine) -> None:
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    told = json.loads(Path(container.paths.state).read_text())["restart"]
    assert told["seconds"] == 0.8
    container.remove(force=True)


def test_waiting_shows(engine: Engine) -> None:
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 5)
    assert container.describe().startswith("Restarting (3) ")
    shown = container.inspect()["State"]
    assert (shown["Status"], shown["Running"], shown["Restarting"]) == ("restarting", True, True)
    assert [found.id for found in engine.containers.list(filters={"status": ["restarting"]})] == [
        container.id
    ]
    with pytest.raises(errors.NotModified):
        container.start()
    with pytest.raises(errors.Conflict, match="is restarting: stop the container before"):
        container.remove()
    with pytest.raises(errors.Conflict, match="restarting container, wait until it is running"):
        container.attach()
    container.remove(force=True)
    with pytest.raises(errors.NotFound):
        engine.containers.get(container.id)


def test_a_successor_may_come_while_it_is_removed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 3)
    whole = os.rmdir
    came: list[str] = []

    def rmdir(path: str, *, dir_fd: int | None = None) -> None:
        if path == container.paths.run and not came:
            came.append(path)
            Path(path, "lock").touch()
        whole(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    container.remove(force=True)
    assert came
    assert not os.path.exists(container.paths.run)


def test_stop_ends_the_waiting(engine: Engine) -> None:
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    container.stop()
    assert (container.status, container.state.exit_code) == ("exited", 3)
    assert not container.paths.supervisor_lives()
    assert engine.recover().lines() == []
    assert container.status == "exited"


def waits_for_lock(container: Container) -> bool:
    """Return whether somebody waits for the lock of a container."""
    path = Path(container.paths.run_root, "locks", container.id)
    mark = f":{path.stat().st_ino} "
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if " -> " in line]
    return any(mark in line for line in waiting)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_stopped_while_it_is_being_started_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither lost nor late: its record is that of neither life then."""
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    waiting.kill_supervisor(container.paths)  # so that we are who starts it again
    done: list[str] = []

    def end() -> None:
        container.stop(0) if how == "stop" else container.kill()
        done.append(how)

    thread = threading.Thread(target=end)

    def reached(step: str) -> None:
        if step == "start.rundir":
            thread.start()
            wait_until(lambda: done or waits_for_lock(container))

    monkeypatch.setattr(start, "reached", reached)
    engine.recover_container(container.record)
    thread.join()
    assert done == [how]
    assert not container.state.running
    wait_until(lambda: not container.paths.supervisor_lives())
    assert container.status == "exited"
    container.remove()


def test_an_end_that_nobody_saw(engine: Engine, settings: Settings) -> None:
    """Its supervisor is dead before it: the policy counts all the same."""
    container = make(engine, *ENDURE)
    live = json.loads(Path(container.paths.state).read_text())
    for pid in (launcher(settings), live["supervisor_pid"], live["pid"]):
        os.kill(pid, signal.SIGKILL)
        wait_until(partial(ended, pid))
    report = engine.recover()
    assert (report.started, report.problems) == ([container.id], [])
    assert (container.state.running, container.state.restarts) == (True, 1)
    container.stop(0)
    assert container.status == "exited"


def test_another_policy_while_it_waits(engine: Engine) -> None:
    """It does not want the start that is due: nobody waits for that any more."""
    container = make(engine, "true")
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    container.update(restart=RestartPolicy("on-failure"))
    assert container.status == "exited"
    assert container.wait(30).exit_code == 0
    wait_until(lambda: not container.paths.supervisor_lives())
    with pytest.raises(errors.Conflict, match="You cannot attach to a stopped container"):
        container.attach()
    container.remove()


def test_it_is_never_taken_for_ended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    waiting.kill_supervisor(container.paths)
    shown: list[str] = []
    whole = start._set_exit_aside

    def aside(paths: Paths) -> bool:
        shown.append(merged(container.record, paths).status)
        done = whole(paths)
        shown.append(merged(container.record, paths).status)
        return done

    monkeypatch.setattr(start, "_set_exit_aside", aside)
    engine.recover_container(container.record)
    assert shown == ["restarting", "restarting"]
    container.remove(force=True)


def test_a_start_that_is_killed_is_tried_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make(engine, *ENDURE)
    os.kill(container.state.pid, signal.SIGKILL)
    wait_until(lambda: container.state.restarts == 1 and container.state.running)
    tries: list[str] = []

    def reached(step: str) -> None:
        tries.append(step)
        if tries == ["start.rundir"]:
            raise errors.Unavailable("the launcher ended before it answered")

    monkeypatch.setattr(start, "reached", reached)
    with container.paths.locked():  # its supervisor is not to be quicker with the start
        supervisor = json.loads(Path(container.paths.state).read_text())["supervisor_pid"]
        os.kill(container.state.pid, signal.SIGKILL)
        wait_until(lambda: container.state.restarting)
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: ended(supervisor))
        engine.recover_container(container.record, held=True)
    assert tries == ["start.rundir", "start.rundir", "start.announced", "start.launched"]
    assert (container.state.running, container.state.restarts) == (True, 2)
    container.remove(force=True)


def test_what_waits_is_not_waited_for(engine: Engine) -> None:
    """Its end was seen before it was stopped: its supervisor sleeps, for nothing."""
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 5)
    assert restartrules.set_stopped(container.paths, stopped=True)
    assert container.status == "exited"
    slept = json.loads(Path(container.paths.state).read_text())["supervisor_pid"]
    container.start()
    assert states.start_time(slept) is None
    container.remove(force=True)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_stopped_stays_so_until_it_is_started(engine: Engine, how: str) -> None:
    container = make(engine, *ENDURE)
    container.stop() if how == "stop" else container.kill()
    wait_until(lambda: not container.paths.supervisor_lives())
    assert container.status == "exited"
    container.start()
    os.kill(container.state.pid, signal.SIGKILL)  # nobody asked for that
    wait_until(lambda: container.state.running and container.state.restarts == 1)
    container.remove(force=True)


def test_another_signal_is_no_stop(engine: Engine) -> None:
    container = make(engine, "sleep", "1000")
    container.kill("USR1")
    os.kill(container.state.pid, signal.SIGKILL)
    wait_until(lambda: container.state.running and container.state.restarts == 1)
    container.remove(force=True)


def test_restart_of_one_that_is_started_again(engine: Engine) -> None:
    container = make(engine, *ENDURE)
    container.restart()
    assert (container.state.running, container.state.restarts) == (True, 0)
    container.remove(force=True)


def test_a_supervisor_killed_while_it_waits(engine: Engine) -> None:
    """What it was waiting for is done by whoever looks next."""
    container = make(engine, *COUNT)
    wait_until(lambda: container.state.restarting and container.state.restarts == 5)
    pid = json.loads(Path(container.paths.state).read_text())["supervisor_pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: states.start_time(pid) is None)
    wait_until(lambda: container.state.restarts > 5)
    container.remove(force=True)


@pytest.mark.parametrize(
    ("policy", "stopped", "expected"),
    [
        (ALWAYS, False, True),
        (ALWAYS, True, True),
        (RestartPolicy("unless-stopped"), False, True),
        (RestartPolicy("unless-stopped"), True, False),
        (RestartPolicy("on-failure"), False, True),
        (RestartPolicy(), False, False),
    ],
)
def test_after_a_boot(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    policy: RestartPolicy,
    stopped: bool,
    expected: bool,
) -> None:
    """The boot is told by its id alone; real ones are those of the virtual machines."""
    container = make(engine, *ENDURE, restart=policy)
    if stopped:
        container.stop()
        wait_until(lambda: not container.paths.supervisor_lives())
    mark = engine.table.get(container.id)
    assert mark is not None
    engine.table.mark_started(container.id, mark.started, "of another boot")
    if not stopped:
        state = json.loads(Path(container.paths.state).read_text())
        os.kill(state["supervisor_pid"], signal.SIGSTOP)
        os.kill(state["supervisor_pid"], signal.SIGKILL)
        os.kill(state["pid"], signal.SIGKILL)
        wait_until(lambda: states.start_time(state["pid"]) is None)
        wait_until(lambda: not container.paths.supervisor_lives())
        states.write(container.paths.run, {**state, "boot_id": "of another boot"})
    report = engine.recover()
    assert (container.id in report.started) == expected
    again = engine.containers.get(container.id)
    assert again.state.running == expected
    assert again.record.boot_id == (host.boot_id() if expected else "of another boot")
    again.remove(force=True)


@pytest.mark.parametrize(
    ("name", "retries", "message"),
    [
        ("sometimes", 0, "unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure'"),
        ("always", 2, "maximum retry count can only be used with 'on-failure'"),
        ("on-failure", -1, "maximum retry count cannot be negative"),
    ],
)
def test_what_is_no_policy(name: str, retries: int, message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        RestartPolicy(name, retries)


def test_not_with_removal(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("true",), auto_remove=True, restart=ALWAYS)
    with pytest.raises(errors.InvalidArgument, match="cannot specify both --restart and --rm"):
        engine.containers.create(config)


def test_who_looks_whether_a_supervisor_lives_is_in_nobodys_way(engine: Engine) -> None:
    """The look takes the lock for a moment, and a start may want it just then."""
    done = threading.Event()

    def look(container: Container) -> None:
        while not done.is_set():
            container.paths.supervisor_lives()

    container = engine.containers.create(ContainerConfig("busybox", ("true",)))
    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(look, container) for _ in range(2)]
        try:
            for _ in range(20):
                container.start()
                assert container.wait(30).exit_code == 0
        finally:
            done.set()
        for each in looks:
            each.result(30)


def test_a_successor_that_finds_nothing_to_do_starts_nothing(engine: Engine) -> None:
    """It has the lock for a moment, as who sleeps until the next start had."""
    container = make(engine, "false")
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    waiting.kill_supervisor(container.paths)
    lock = rundir.lock(container.paths.run, wait=True)
    assert merged(container.record, container.paths).stale
    os.close(lock)
    wait_until(lambda: engine.recover().started or container.state.restarts > 4)
    container.stop()
