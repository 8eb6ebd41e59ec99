"""A container whose process is gone, and whose supervisor has yet to say so."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, ExecConfig, errors
from knarr.engine import execprocess
from knarr.engine.model import RestartPolicy
from tests.support.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from knarr import Engine


@pytest.fixture
def sleeper(engine: Engine) -> Container:
    """A container that runs until it is killed."""
    return engine.containers.launch(ContainerConfig("busybox", ("sleep", "600")), attach=False)[0]


def test_its_files_are_there(sleeper: Container) -> None:
    for _ in range(8):
        os.kill(sleeper.state.pid, signal.SIGKILL)
        assert sleeper.stat_path("/bin/sh").name == "sh"
        sleeper.wait(30)
        sleeper.start()


def end(pid: int) -> None:
    """Kill a container's first process; it is gone when this returns, with all others inside."""
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)


def test_a_command_is_refused_because_it_does_not_run(sleeper: Container) -> None:
    for _ in range(8):
        end(sleeper.state.pid)
        for _ in range(3):
            with pytest.raises(errors.Conflict, match="is not running"):
                sleeper.exec_run(ExecConfig(("true",), user="root"), timeout=30)
        sleeper.wait(30)
        sleeper.start()


def test_a_command_that_comes_at_the_end_is_refused_or_ends_too(sleeper: Container) -> None:
    """The signal may take its time, so that the command is there before it, or quicker."""
    for _ in range(8):
        os.kill(sleeper.state.pid, signal.SIGKILL)
        try:
            found = sleeper.exec_run(ExecConfig(("true",), user="root"), timeout=30)
        except errors.Conflict as error:
            assert "is not running" in str(error)
        else:
            assert found.exit_code in (0, 137)
            assert not found.timed_out
        assert sleeper.wait(30).exit_code == 137
        sleeper.start()


@pytest.mark.parametrize("sign", ["TERM", "KILL"])
def test_one_that_was_stopped_while_it_waited_does_not_run(engine: Engine, sign: str) -> None:
    config = ContainerConfig("busybox", ("false",), restart=RestartPolicy("always"))
    container = engine.containers.launch(config, attach=False)[0]
    wait_until(lambda: container.state.restarting and container.state.restarts == 4)
    container.stop()
    assert container.status == "exited"
    with pytest.raises(errors.Conflict, match="is not running"):
        container.kill(sign)
    with pytest.raises(errors.NotModified):
        container.stop()


def test_what_is_removed_under_a_command_does_not_run(sleeper: Container) -> None:
    with pytest.raises(FileNotFoundError), execprocess.gone_is_not_running(sleeper):
        raise FileNotFoundError
    sleeper.remove(force=True)
    with (
        pytest.raises(errors.Conflict, match="is not running"),
        execprocess.gone_is_not_running(sleeper),
    ):
        raise FileNotFoundError


def test_it_is_not_paused(sleeper: Container) -> None:
    for _ in range(8):
        end(sleeper.state.pid)
        with pytest.raises(errors.Conflict, match="is not running"):
            sleeper.pause()
        assert sleeper.wait(30).exit_code == 137
        sleeper.start()
