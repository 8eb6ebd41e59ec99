"""top of real containers: who is inside, who is not."""

from __future__ import annotations

import os

import pytest

from knarr import ContainerConfig, Engine, ExecConfig, errors
from tests.support.waiting import wait_until


def test_its_processes_and_those_of_exec(engine: Engine) -> None:
    other = engine.containers.launch(ContainerConfig("busybox", ("sleep", "611")), attach=False)[0]
    container = engine.containers.launch(
        ContainerConfig("busybox", ("sh", "-c", "sleep 612 & exec sleep 613")), attach=False
    )[0]
    with container.exec(ExecConfig(("sleep", "614"))):
        wait_until(lambda: len(container.top()[1]) == 3)  # the shell forks when it likes to
        wait_until(lambda: all(row[-1].startswith("sleep") for row in container.top()[1]))
        titles, rows = container.top()
        assert (titles[0], titles[1], titles[-1]) == ("UID", "PID", "CMD")
        pids = [int(row[1]) for row in rows]
        assert container.state.pid in pids
        assert not {other.state.pid, os.getpid()} & set(pids)
        assert sorted(row[-1] for row in rows) == ["sleep 612", "sleep 613", "sleep 614"]
        assert container.top(["-o pid,comm"])[0] == ["PID", "COMMAND"]
        container.pause()
        assert len(container.top()[1]) == 3
        container.unpause()


def test_refusals(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    with pytest.raises(errors.Conflict, match=f"container {container.id} is not running"):
        container.top()
    container.start()
    for options, text in (
        (["-o", "comm"], "Couldn't find PID field in ps output"),
        (["--nonsense"], "ps: .*"),
        (["-o", "ppid=PID"], 'specifying "ppid=PID" is not allowed'),
    ):
        with pytest.raises(errors.InvalidArgument, match=text):
            container.top(options)
