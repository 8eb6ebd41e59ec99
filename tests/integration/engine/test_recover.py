"""Nothing dies with knarr's processes, and nothing stays that should have gone."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, Sandbox, errors
from knarr.engine import host
from knarr.engine.records import REMOVING
from knarr.engine.waiting import await_supervisor
from knarr.kernel import process
from tests.support.kernels import tells_exits
from tests.support.processes import launcher

if TYPE_CHECKING:
    from knarr import Settings

LISTEN = "trap 'exit 5' TERM; echo ready; while :; do sleep 1 & wait $!; done"
LOST = 255  # what a container's second supervisor, which is not its parent, must report


@pytest.fixture
def container(engine: Engine) -> Container:
    made, attachment = engine.containers.launch(
        ContainerConfig("busybox", ("sh", "-c", LISTEN), name="web")
    )
    assert attachment is not None
    with attachment:
        next(attachment.output(30))
    return made


def live(container: Container) -> dict[str, int]:
    value: dict[str, int] = json.loads(Path(container.paths.state).read_bytes())
    return value


def kill_and_wait(pid: int) -> None:
    handle = process.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([handle], [], [], 30)
    os.close(handle)


def test_the_container_outlives_its_supervisor(container: Container) -> None:
    before = live(container)
    kill_and_wait(before["supervisor_pid"])
    assert container.state.running
    assert container.exec_run(ExecConfig(("echo", "alive"))).stdout == b"alive\n"
    container.stop()
    assert container.state.exit_code == (5 if tells_exits() else LOST)


def test_the_container_outlives_launcher_and_supervisor(
    container: Container, settings: Settings
) -> None:
    """With the launcher dead too nobody notices: the next look at the container does."""
    before = live(container)
    os.kill(before["supervisor_pid"], signal.SIGSTOP)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["supervisor_pid"])
    assert container.state.running
    assert live(container)["supervisor_pid"] != before["supervisor_pid"]
    assert live(container)["pid"] == before["pid"]
    container.stop()
    assert container.state.exit_code == (5 if tells_exits() else LOST)


def test_recover_takes_over(container: Container, settings: Settings) -> None:
    before = live(container)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["supervisor_pid"])
    with Engine(settings) as other:
        report = other.recover()
        assert report.adopted == [container.id]
        assert report.problems == []
        assert other.recover().lines() == []
    assert container.state.running


def test_a_waiting_client_survives_the_supervisor(container: Container) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(container.wait(60).exit_code))
    thread.start()
    kill_and_wait(live(container)["supervisor_pid"])
    container.stop()
    thread.join()
    assert codes == [5 if tells_exits() else LOST]


def test_container_and_supervisor_die_together(container: Container, settings: Settings) -> None:
    before = live(container)
    os.kill(before["supervisor_pid"], signal.SIGSTOP)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["pid"])
    kill_and_wait(before["supervisor_pid"])
    state = container.state
    assert (state.status, state.exit_code) == ("exited", 255)
    assert "lost" in state.error
    container.start()
    assert container.state.running
    container.remove(force=True)


def test_start_of_one_that_died_unseen(container: Container, settings: Settings) -> None:
    """It does not take what the dead supervisor wrote for a container that runs."""
    before = live(container)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["supervisor_pid"])
    kill_and_wait(before["pid"])
    container.start()
    assert container.state.running
    assert live(container)["pid"] != before["pid"]
    container.remove(force=True)


def test_removing_what_died_unseen(container: Container, settings: Settings) -> None:
    before = live(container)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["supervisor_pid"])
    kill_and_wait(before["pid"])
    container.remove()
    with pytest.raises(errors.NotFound):
        container.start()


def test_a_paused_one_is_not_started(container: Container, settings: Settings) -> None:
    container.pause()
    kill_and_wait(launcher(settings))
    kill_and_wait(live(container)["supervisor_pid"])
    with pytest.raises(errors.Conflict, match="cannot start a paused container"):
        container.start()
    assert container.state.paused
    container.remove(force=True)


def test_removing_by_force_with_everything_dead(
    container: Container, engine: Engine, settings: Settings
) -> None:
    before = live(container)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["supervisor_pid"])
    container.remove(force=True)
    assert engine.table.all() == []
    with pytest.raises(ProcessLookupError):
        os.kill(before["pid"], 0)


def test_a_sandbox_whose_supervisor_died_dies_too(engine: Engine, settings: Settings) -> None:
    """Its tie to the owner was the supervisor's; without it nobody would end it."""
    box = Sandbox("busybox", engine=engine)
    before = live(box.container)
    kill_and_wait(launcher(settings))
    kill_and_wait(before["supervisor_pid"])
    engine.recover()
    assert engine.table.all() == []
    with pytest.raises(errors.KnarrError):
        box.run("true")
    box.close()


def reboot(container: Container, engine: Engine) -> None:
    """Make it look as after a power loss: another boot id, an empty run root."""
    container.kill()
    container.wait(30)
    await_supervisor(container.paths)
    shutil.rmtree(container.paths.run)
    Path(container.paths.exit).unlink(missing_ok=True)
    with engine.store.write() as db:
        db.execute("UPDATE containers SET boot_id = 'the boot before'")


def test_after_a_power_loss(container: Container, engine: Engine) -> None:
    reboot(container, engine)
    found = engine.containers.get("web")
    assert found.status == "exited"
    report = engine.recover()
    assert report.ended == [container.id]
    state = engine.containers.get("web").state
    assert (state.status, state.exit_code) == ("exited", 255)
    assert engine.recover().lines() == []
    found.start()
    assert found.state.running


def test_auto_remove_does_not_outlive_a_reboot(engine: Engine) -> None:
    made = engine.containers.create(ContainerConfig("busybox", ("true",), auto_remove=True))
    with engine.store.write() as db:
        db.execute("UPDATE containers SET boot_id = 'the boot before'")
    assert engine.recover().removed == [made.id]
    assert engine.table.all() == []
    assert engine.driver.list_keys() == []


def test_half_removed(engine: Engine) -> None:
    made = engine.containers.create(ContainerConfig("busybox"))
    with engine.store.write() as db:
        db.execute("UPDATE containers SET state = ?", (REMOVING,))
    assert engine.containers.get(made.id).status == "removing"
    assert engine.recover().removed == [made.id]


def test_half_created_by_somebody_who_died(engine: Engine) -> None:
    made = engine.containers.create(ContainerConfig("busybox"))
    Path(made.paths.spec).unlink()
    with engine.store.write() as db:
        db.execute("UPDATE containers SET state = 'creating', owner_pid = 1, owner_start = 1")
    assert engine.containers.list(all=True) == []
    assert engine.recover().removed == [made.id]


def test_half_created_by_somebody_who_lives_is_left_alone(engine: Engine) -> None:
    made = engine.containers.create(ContainerConfig("busybox"))
    Path(made.paths.spec).unlink()
    with engine.store.write() as db:
        db.execute(
            "UPDATE containers SET state = 'creating', owner_pid = ?, owner_start = ?",
            host.own_identity(),
        )
    assert engine.recover().lines() == []
    made.remove()


def test_strangers_on_disk_go(engine: Engine, settings: Settings) -> None:
    stranger = "f" * 64
    for folder in (settings.run_root, settings.data_root):
        os.makedirs(f"{folder}/containers/{stranger}")
    engine.driver.prepare(stranger, None)
    Path(f"{settings.run_root}/locks").mkdir(exist_ok=True)
    Path(f"{settings.run_root}/locks/{'e' * 64}").touch()
    report = engine.recover()
    assert report.leftovers == [f"container {stranger[:12]}"]
    assert engine.driver.list_keys() == []
    for folder in (settings.run_root, settings.data_root):
        assert os.listdir(f"{folder}/containers") == []
    assert os.listdir(f"{settings.run_root}/locks") == []


def test_what_is_being_worked_on_is_left_alone(container: Container, engine: Engine) -> None:
    kill_and_wait(launcher(engine.settings))
    kill_and_wait(live(container)["supervisor_pid"])
    with container.paths.locked():
        assert engine.recover().lines() == []
    assert engine.recover().adopted == [container.id]


def test_recovering_beside_a_busy_engine(engine: Engine, settings: Settings) -> None:
    """Recover over and over while containers come and go: neither disturbs the other."""
    stop = threading.Event()
    problems: list[str] = []

    def recover() -> None:
        with Engine(settings) as other:
            while not stop.is_set():
                report = other.recover()
                problems.extend(report.lines())

    thread = threading.Thread(target=recover)
    thread.start()
    try:
        for number in range(12):
            config = ContainerConfig("busybox", ("echo", str(number)), auto_remove=number % 2 == 0)
            assert engine.containers.run(config).text == f"{number}\n"
    finally:
        stop.set()
        thread.join()
    assert [line for line in problems if "cleaned" not in line] == []
    assert len(engine.containers.list(all=True)) == 6
