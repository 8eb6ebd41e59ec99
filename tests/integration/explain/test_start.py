"""A start that is explained: its steps with their times, and the command that waits meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from knarr import Container, ContainerConfig, Engine, errors
from knarr.config import Settings
from knarr.runtime.program.carrier import INTERPRETER_VARIABLE
from tests.support import runtimes
from tests.support.waiting import wait_until


@pytest.fixture
def explained(engine: Engine) -> Iterator[Any]:
    """Start a container and return it with its explanation."""
    made: list[Container] = []

    def begin(*command: str, **options: Any) -> tuple[Container, dict[str, Any]]:
        told: list[dict[str, Any]] = []
        config = ContainerConfig("busybox", command or ("sleep", "1000"), **options)
        container, _ = engine.containers.launch(config, attach=False, explained=told.append)
        made.append(container)
        (found,) = told
        return container, found

    yield begin
    for container in made:
        container.remove(force=True)


def by_process(start: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in start["Steps"] if each["By"] == "process"]


def tracer(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    raise AssertionError("no TracerPid")


def is_free(pid: int) -> bool:
    return tracer(pid) == 0


@pytest.mark.parametrize("userns", [None, "host"])
def test_times_are_in_the_order_of_the_steps(explained: Any, userns: str | None) -> None:
    before = time.monotonic_ns()
    for _ in range(2):  # the second may be born in namespaces that were made ahead
        _, found = explained(userns=userns)
        start = found["Start"]
        assert start["Timed"]
        assert start["Note"] == ""
        assert 0 < start["Total"] < time.monotonic_ns() - before
        steps = by_process(start)
        moments = [each["At"] for each in steps if each["At"] is not None]
        assert moments == sorted(moments)
        names = [each["Step"] for each in steps]
        for one, other in (
            ("prepare", "pivot root, let go of the host's tree"),
            ("pivot root, let go of the host's tree", "ready"),
            ("ready", "drop"), ("drop", "user"), ("user", "signals"), ("signals", "execute"),
        ):  # fmt: skip
            assert names.index(one) < names.index(other)
        # With a filter in force nobody may ask for the time.
        assert [each["Step"] for each in steps if each["At"] is None] in (
            ["confine"], ["create", "confine"],
        )  # fmt: skip
        assert all(each["Took"] >= 0 for each in start["Steps"] if each["Took"] is not None)
        timed = [each for each in steps if each["At"] is not None]
        for before_it, each in pairwise(timed):
            assert each["At"] - each["Took"] == before_it["At"]
        (clocks,) = (each["At"] for each in start["Steps"] if each["Step"] == "clocks")
        assert timed[0]["At"] - timed[0]["Took"] == clocks
        maker = [each for each in start["Steps"] if each["By"] == "maker"]
        for before_it, each in pairwise(maker):
            assert each["At"] - each["Took"] == before_it["At"]
        assert all(each["Meaning"] for each in start["Steps"])
        all_moments = [each["At"] for each in start["Steps"] if each["At"] is not None]
        assert all_moments == sorted(all_moments)


def test_what_the_maker_did_comes_first_and_last(explained: Any) -> None:
    _, found = explained(userns="host")
    steps = found["Start"]["Steps"]
    assert [each["Step"] for each in steps[:2]] == ["request", "control group"]
    assert [each["Step"] for each in steps[-2:]] == ["command", "published"]
    assert {each["By"] for each in steps} == {"maker", "process"}


def test_system_calls_are_those_that_were_made(explained: Any) -> None:
    container, _ = explained(userns="host", hostname="box")
    start = container.explain(calls=True)["Start"]
    steps = {each["Step"]: each for each in start["Steps"]}
    (call,) = steps["host name box"]["Calls"]
    assert (call["Call"], call["Outcome"]) == ('sethostname("box", 3)', "done")
    assert 0 < call["At"] <= start["Total"]
    proc = [call["Call"] for call in steps["mount proc on /proc"]["Calls"]]
    made = [text.partition("=")[2].partition("(")[0].strip() or text.partition("(")[0]
            for text in proc]  # fmt: skip
    assert "fsopen" in made
    assert "mkdirat" not in made  # the image has that directory
    # /usr/local/sbin has no sleep: to look there fails, as it may.
    assert "failed" in [call["Outcome"] for call in steps["find"]["Calls"]]
    assert all(each["CallCount"] == sum("(" in c["Call"] and not c["Call"].startswith("test ")
               for c in each["Calls"]) for each in by_process(start) if each["Calls"])  # fmt: skip
    short = container.explain()["Start"]["Steps"]
    assert all("Calls" not in each for each in short)
    assert [each["CallCount"] for each in short] == [each["CallCount"] for each in start["Steps"]]


def test_the_command_has_done_nothing_yet(explained: Any) -> None:
    container, found = explained("sh", "-c", "touch /done; exec sleep 1000")
    limits = {each["Name"]: each for each in found["ControlGroups"]["Limits"]}
    assert limits["processes and threads"]["Use"] == 1
    assert found["Process"]["Executable"] == "/bin/busybox"
    assert found["Seccomp"]["Mode"] == "filter"
    wait_until(lambda: [c for c in container.diff() if c.path == "/done"])
    assert tracer(container.state.pid) == 0


def test_one_that_ends_at_once_is_explained_in_full(explained: Any) -> None:
    container, found = explained("true")
    assert found["Running"]
    assert found["Capabilities"]["Effective"]
    assert container.wait().exit_code == 0
    # What the maker has left stays until it is started again.
    assert container.explain()["Start"]["Timed"]
    container.start()
    container.wait()
    assert not container.explain()["Start"]["Timed"]


def test_with_a_terminal_an_init_and_a_strict_filter(explained: Any, tmp_path: Path) -> None:
    profile = tmp_path / "strict.json"
    # Nobody may ask for the time here.
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["clock_gettime"],'
        ' "action": "SCMP_ACT_KILL_PROCESS"}]}'
    )
    for options in (
        {"tty": True, "open_stdin": True},
        {"init": True},
        {"security_opt": (f"seccomp={profile}",)},
        {"security_opt": (f"seccomp={profile}", "no-new-privileges"), "user": "1000"},
    ):
        container, found = explained("sleep", "1000", **options)
        assert found["Start"]["Timed"]
        assert container.state.running
        wait_until(partial(is_free, container.state.pid))


def test_by_the_interpreter(explained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERPRETER_VARIABLE, "1")
    container, found = explained()
    start = container.explain(calls=True)["Start"]
    assert start["Timed"]
    moments = [each["At"] for each in by_process(start) if each["At"] is not None]
    assert moments == sorted(moments)
    assert len(moments) > 20
    assert found["Process"]["Executable"] == "/bin/busybox"


def test_a_command_that_is_not_there_leaves_nothing(engine: Engine) -> None:
    told: list[Any] = []
    config = ContainerConfig("busybox", ("nope",), name="gone")
    with pytest.raises(errors.CommandNotFound, match="nope"):
        engine.containers.launch(config, attach=False, explained=told.append)
    assert told == []
    container = engine.containers.get("gone")
    assert container.status == "created"
    container.remove()


KILLED = """
import os, signal, sys
from knarr import ContainerConfig, Engine
with Engine() as engine:
    config = ContainerConfig("busybox", ("sleep", "1000"), name="orphan")
    engine.containers.launch(
        config, attach=False, explained=lambda found: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_who_looks_is_killed_and_the_container_goes_on(
    engine: Engine, environment: dict[str, str]
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    container = engine.containers.get("orphan")
    pid = container.state.pid
    wait_until(lambda: tracer(pid) == 0)
    assert container.status == "running"
    container.stop(timeout=0)
    container.remove()


def test_the_maker_is_killed_while_it_holds_the_command(engine: Engine) -> None:
    found: list[int] = []

    def kill(told: dict[str, Any]) -> None:
        pid = told["Process"]["Pid"]
        maker = tracer(pid)
        assert maker != 0
        os.kill(maker, signal.SIGKILL)
        found.append(pid)

    config = ContainerConfig("busybox", ("sh", "-c", "touch /done; exec sleep 1000"))
    container, _ = engine.containers.launch(config, attach=False, explained=kill)
    wait_until(lambda: [c for c in container.diff() if c.path == "/done"])
    assert tracer(found[0]) == 0
    container.remove(force=True)


def test_the_container_is_killed_while_it_is_held(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "1000"))
    container, _ = engine.containers.launch(
        config, attach=False, explained=lambda told: os.kill(told["Process"]["Pid"], 9)
    )
    assert container.wait(timeout=60).exit_code == 137
    container.remove()


def test_where_nobody_may_trace_the_command_is_not_held(
    settings: Settings, engine: Engine, environment: dict[str, str]
) -> None:
    """As in a container without CAP_SYS_PTRACE that runs containers."""
    words = ["setpriv", "--bounding-set=-sys_ptrace", "knarr", "run", "--explain", "-d", "--userns",
             "host", "--name", "free", "busybox", "sleep", "1000"]  # fmt: skip
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Steps of its start" in done.stderr
    container = engine.containers.get("free")
    assert container.explain()["Start"]["Timed"]
    assert tracer(container.state.pid) == 0
    container.remove(force=True)


def test_another_runtimes_start_has_the_makers_times(explained: Any, tmp_path: Path) -> None:
    _, found = explained("sleep", "1000", runtime=runtimes.find("runc", tmp_path))
    start = found["Start"]
    assert start["Timed"]
    assert by_process(start) == []
    took = {each["Step"]: each["Took"] for each in start["Steps"]}
    assert took["create"] > 0
    assert list(took)[-1] == "published"
