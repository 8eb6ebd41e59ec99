"""Health checks: what they run, what follows from it, and when nothing is checked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from knarr import (
    AsyncSandbox,
    Container,
    ContainerConfig,
    Engine,
    ExecConfig,
    Sandbox,
    Tmpfs,
    errors,
)
from knarr.engine.model import HealthCheck
from knarr.engine.pause import running_group
from tests.support import processes
from tests.support.waiting import wait_until

MS = 10**6
SOON = 30 * MS
HOUR = 3600 * 10**9


def launch(engine: Engine, test: str = "", *, image: str = "busybox", **said: Any) -> Container:
    """Start a container that is checked; said: other settings, and ``config`` for all others."""
    config = said.pop("config", {})
    words = said.pop("words", ("CMD-SHELL", test) if test else ())
    check = HealthCheck(words, **{"interval": SOON, **said})
    made = ContainerConfig(image, ("sleep", "600"), health=check, **config)
    return engine.containers.launch(made, attach=False).container


def become(container: Container, status: str) -> None:
    wait_until(lambda: container.health.status == status)


def results(container: Container, count: int = 1) -> list[tuple[int, str]]:
    """Return exit codes and outputs once there are so many."""
    wait_until(lambda: len(container.health.log) >= count)
    return [(result.exit_code, result.output) for result in container.health.log]


def sh(container: Container, text: str) -> str:
    return container.exec_run(ExecConfig(("sh", "-c", text))).text


def await_check(container: Container) -> None:
    """Return once a check that hangs runs in the container."""
    wait_until(lambda: any("sleep 600" in line[-1] for line in container.top().processes[1:]))


def told(engine: Engine, container: Container, *actions: str) -> list[dict[str, Any]]:
    filters = {"container": [container.id], "event": list(actions)}
    return list(engine.events(since=0, until=time.time_ns(), filters=filters))


@pytest.mark.vm
def test_good_bad_and_good_again(engine: Engine) -> None:
    container = launch(engine, "echo looked; test -e /ok", retries=2)
    assert container.health.status in ("starting", "unhealthy")
    become(container, "unhealthy")
    assert container.health.failing_streak >= 2
    assert container.describe().endswith(" (unhealthy)")
    sh(container, "touch /ok")
    become(container, "healthy")
    health = container.health
    assert (health.failing_streak, health.log[-1].exit_code) == (0, 0)
    assert health.log[-1].output == "looked\n"
    assert 0 < health.log[-1].start < health.log[-1].end < time.time_ns()
    assert container.describe().endswith(" (healthy)")
    sh(container, "rm /ok")
    become(container, "unhealthy")
    wait_until(lambda: len(told(engine, container, "health_status")) >= 3)
    assert [event["Action"] for event in told(engine, container, "health_status")] == [
        "health_status: unhealthy", "health_status: healthy", "health_status: unhealthy",
    ]  # fmt: skip
    wait_until(lambda: len(container.health.log) == 5)


def test_what_inspect_shows(engine: Engine) -> None:
    container = launch(engine, "echo x", timeout=10**9, retries=1)
    container.wait_healthy(60)
    shown = container.inspect()
    assert shown["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "echo x"], "Interval": SOON, "Timeout": 10**9, "Retries": 1,
    }  # fmt: skip
    health = shown["State"]["Health"]
    assert list(health) == ["Status", "FailingStreak", "Log"]
    assert (health["Status"], health["FailingStreak"]) == ("healthy", 0)
    assert list(health["Log"][0]) == ["Start", "End", "ExitCode", "Output"]
    assert health["Log"][0]["Start"] < health["Log"][0]["End"]
    assert (health["Log"][0]["ExitCode"], health["Log"][0]["Output"]) == (0, "x\n")
    other = engine.containers.create(ContainerConfig("busybox", ("true",)))
    assert "Health" not in other.inspect()["State"]
    assert "Healthcheck" not in other.inspect()["Config"]


def test_each_check_is_told_as_an_exec(engine: Engine) -> None:
    container = launch(engine, words=("CMD", "sh", "-c", 'echo "a"; exit 3'), interval=100 * MS)
    become(container, "unhealthy")
    events = told(engine, container, "exec_create", "exec_start", "exec_die")
    by_id: dict[str, list[str]] = {}
    for event in events:
        by_id.setdefault(event["Actor"]["Attributes"]["execID"], []).append(event["Action"])
    words = 'sh -c echo "a"; exit 3'
    first = [f"exec_create: {words}", f"exec_start: {words}", "exec_die"]
    assert next(iter(by_id.values())) == first
    ends = told(engine, container, "exec_die")
    assert len(by_id) >= 3
    assert ends[0]["Actor"]["Attributes"]["exitCode"] == "3"
    assert ends[0]["Actor"]["Attributes"]["execID"] == next(iter(by_id))


def test_failures_in_the_start_period_do_not_count(engine: Engine) -> None:
    container = launch(
        engine, "test -e /ok", retries=1, start_period=HOUR, start_interval=SOON, interval=HOUR
    )
    assert results(container, 3)[0] == (1, "")
    assert (container.health.status, container.health.failing_streak) == ("starting", 0)
    sh(container, "touch /ok")
    container.wait_healthy(60)
    count = len(told(engine, container, "exec_die"))
    # From now on the usual interval: nothing more for an hour.
    clock = launch(engine, "true")
    wait_until(lambda: len(clock.health.log) == 5)
    assert len(told(engine, container, "exec_die")) == count


@pytest.mark.vm
def test_one_that_hangs_is_killed_with_all_it_started(engine: Engine) -> None:
    test = "echo begun; sleep 601 & echo $! >>/p; setsid sleep 602 & echo $! $$ >>/p; sleep 603"
    container = launch(engine, test, timeout=2000 * MS, retries=1)
    become(container, "unhealthy")
    code, output = results(container)[0]
    assert (code, output) == (-1, "Health check exceeded timeout (2s): begun\n")
    # Of the first; the next may have begun. Who has no parent any more stays as a zombie here.
    look = (
        'for p in $(head -n 2 /p); do grep "^State:" /proc/$p/status | grep -v Z; done; wc -l </p'
    )
    assert int(sh(container, look)) >= 2
    silent = launch(engine, "sleep 601", timeout=100 * MS, retries=1)
    assert results(silent)[0] == (-1, "Health check exceeded timeout (100ms)")


def test_output_is_cut(engine: Engine) -> None:
    script = "head -c 5000 /dev/zero | tr '\\0' x; printf 'y\\377' >&2"
    container = launch(engine, script)
    assert results(container)[0] == (0, "x" * 4096 + "...")
    exact = launch(engine, "head -c 4095 /dev/zero | tr '\\0' x; printf '\\377'")
    assert results(exact)[0] == (0, "x" * 4095 + "\ufffd")
    endless = launch(engine, "while :; do echo xxxxxxxxxxxxxxx; done", timeout=100 * MS)
    code, output = results(endless)[0]
    assert code == -1
    assert output.endswith("x\n...")


@pytest.mark.parametrize(
    ("words", "config", "code", "output"),
    [
        (("CMD", "nope", "x"), {}, -1, 'exec: "nope": executable file not found in $PATH'),
        (("CMD", "/etc"), {}, -1, 'exec: "/etc": '),
        (("CMD",), {}, -1, "healthcheck for container "),
        (("CMD-SHELL", "kill -9 $$"), {}, 137, ""),
        (("CMD-SHELL", "id -u; id -g; pwd; echo $A"), {"user": "1000:1001"}, 0,
         "1000\n1001\n/srv\nb\n"),
    ],
)  # fmt: skip
def test_what_runs(
    words: tuple[str, ...], config: dict[str, Any], code: int, output: str, engine: Engine
) -> None:
    config = {"working_dir": "/srv", "env": ("A=b",), **config}
    container = launch(engine, words=words, config=config)
    found = results(container)[0]
    assert found[0] == code
    assert found[1].startswith(output)
    assert code == 0 or container.health.status != "healthy"


def test_a_user_by_name_is_looked_up_inside(engine: Engine) -> None:
    # With something mounted the image does not say who is who.
    config = {"user": "alice", "tmpfs": (Tmpfs("/mnt"),)}
    container = launch(engine, "id -u; id -G; echo $HOME", config=config, retries=1)
    assert results(container)[0] == (0, "1000\n1000 50\n/tmp\n")
    container.exec_run(ExecConfig(("rm", "/etc/passwd"), user="0"))
    become(container, "unhealthy")
    assert container.health.log[-1].output.startswith("unable to find user alice")


@pytest.mark.parametrize("config", [{}, {"user": "1000"}, {"user": "1000", "userns": "host"}])
def test_its_streams_can_be_opened_by_name(config: dict[str, Any], engine: Engine) -> None:
    container = launch(engine, "echo out > /dev/stdout; echo err > /dev/stderr", config=config)
    assert results(container)[0] == (0, "out\nerr\n")


def test_a_sandbox_has_checks_of_its_own(engine: Engine) -> None:
    check = HealthCheck(("CMD", "test", "-e", "/ok"), interval=SOON, retries=10_000)
    with Sandbox("busybox", health=check, engine=engine) as box:
        assert box.health.status == "starting"
        box.run("touch", "/ok")
        box.wait_healthy(60)
        assert box.health.log[-1].exit_code == 0
        with box.fork() as twin:
            assert box.health.status == "healthy"  # stopped for a moment only
            twin.wait_healthy(60)


def test_waiting_in_asyncio(engine: Engine) -> None:
    async def main() -> str:
        check = HealthCheck(("CMD", "true"), interval=SOON)
        async with AsyncSandbox("busybox", health=check, engine=engine) as box:
            await box.wait_healthy(timeout=60)
            return box.box.health.status

    assert asyncio.run(main()) == "healthy"


def from_image(engine: Engine, *changes: str) -> str:
    source = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    source.commit("checked:latest", changes=changes)
    return "checked"


def test_the_images_check(engine: Engine) -> None:
    image = from_image(engine, "HEALTHCHECK --interval=30ms --retries=1 CMD test -e /ok")
    container = launch(engine, image=image, interval=0)
    become(container, "unhealthy")
    assert container.inspect()["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "test -e /ok"], "Interval": SOON, "Retries": 1,
    }  # fmt: skip
    other = launch(engine, "echo own", image=image)
    assert results(other)[0] == (0, "own\n")
    without = launch(engine, image=image, words=("NONE",), interval=0)
    assert without.health.status == "none"
    assert "Health" not in without.inspect()["State"]
    with Sandbox(image, engine=engine) as box:
        assert box.container.health.status == "none"


def test_the_images_shell(engine: Engine) -> None:
    image = from_image(engine, 'HEALTHCHECK --interval=30ms CMD ["echo", "its", "words"]')
    assert results(launch(engine, image=image, interval=0))[0] == (0, "its words\n")


def test_commit_and_clone_keep_it(engine: Engine) -> None:
    container = launch(engine, "echo own", retries=7)
    container.commit("kept:latest")
    assert engine.images.inspect("kept")["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "echo own"], "Interval": SOON, "Retries": 7,
    }  # fmt: skip
    twin = container.clone()
    assert twin.health.status == "none"  # it was never started
    twin.start()
    assert results(twin)[0] == (0, "own\n")
    launch(engine, words=("NONE",), interval=0).commit("none:latest")
    assert engine.images.inspect("none")["Config"]["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.vm
def test_a_paused_one_is_not_checked(engine: Engine) -> None:
    container = launch(engine, "true")
    container.wait_healthy(60)
    container.pause()
    assert container.describe().endswith(" (Paused)")
    assert container.health.status == "unhealthy"
    assert container.inspect()["State"]["Health"]["Status"] == "unhealthy"
    count = len(told(engine, container, "exec_create"))
    clock = launch(engine, "true")
    wait_until(lambda: len(clock.health.log) == 5)
    assert len(told(engine, container, "exec_create")) == count
    container.unpause()
    become(container, "healthy")
    wait_until(lambda: len(told(engine, container, "health_status")) == 2)


def test_a_pause_ends_the_check_that_is_made(engine: Engine) -> None:
    container = launch(engine, "test -e /ok || sleep 600", retries=1)
    probe = Path(container.paths.run, "probe")
    wait_until(probe.exists)
    container.pause()
    assert container.health.log == ()
    container.unpause()
    sh(container, "touch /ok")
    become(container, "healthy")
    assert results(container)[0] == (0, "")


def test_after_a_pause_the_usual_time_passes(engine: Engine) -> None:
    slow = launch(engine, "false", interval=HOUR, start_period=HOUR, start_interval=SOON)
    results(slow, 2)
    slow.pause()
    slow.unpause()
    # It is not starting any more, so the start period is over for it.
    count = len(told(engine, slow, "exec_create"))
    clock = launch(engine, "true")
    wait_until(lambda: len(clock.health.log) == 5)
    assert len(told(engine, slow, "exec_create")) == count
    become(slow, "unhealthy")


def test_stopped_and_started_again(engine: Engine) -> None:
    container = launch(engine, "echo one", interval=300 * MS)
    container.wait_healthy(60)
    container.stop(0)
    assert (container.status, container.health.status) == ("exited", "unhealthy")
    assert container.describe().startswith("Exited ")
    before = container.health.log
    assert before
    assert [c.id for c in engine.containers.list(filters={"health": ["unhealthy"]})] == []
    found = engine.containers.list(all=True, filters={"health": ["unhealthy"]})
    assert [c.id for c in found] == [container.id]
    container.start()
    assert (container.health.status, container.health.failing_streak) == ("starting", 0)
    assert container.health.log[: len(before)] == before  # as with Docker
    container.wait_healthy(60)
    container.restart(0)
    assert container.health.status == "starting"
    container.wait_healthy(60)


def test_ends_in_the_middle_of_a_check(engine: Engine) -> None:
    container = launch(engine, "sleep 600")
    await_check(container)
    container.stop(0)
    assert container.wait(30).exit_code == 137
    container.start()
    await_check(container)
    container.remove(force=True)
    assert not os.path.exists(container.paths.run)


def test_no_process_waits_for_the_next_check(engine: Engine) -> None:
    container = launch(engine, "true", interval=HOUR, start_period=HOUR, start_interval=SOON)
    container.wait_healthy(60)
    pid = supervisor(container)
    wait_until(lambda: processes.children(pid) == [container.state.pid])
    assert not Path(container.paths.run, "probe").exists()
    assert list(running_group(container.paths).procs()) == [container.state.pid]


def supervisor(container: Container) -> int:
    pid: int = json.loads(Path(container.paths.state).read_text())["supervisor_pid"]
    return pid


def test_waiting_for_it(engine: Engine) -> None:
    container = launch(engine, "test -e /ok", start_period=HOUR, start_interval=SOON)
    with pytest.raises(errors.Timeout, match=r"not healthy after 0\.1 seconds"):
        container.wait_healthy(0.1)
    sh(container, "touch /ok")
    container.wait_healthy(60)
    container.stop(0)
    with pytest.raises(errors.Conflict, match="is not running"):
        container.wait_healthy(60)
    bad = launch(engine, "false", retries=1)
    with pytest.raises(errors.Conflict, match="is unhealthy"):
        bad.wait_healthy(60)
    plain = engine.containers.launch(ContainerConfig("busybox", ("sleep", "600")), attach=False)
    with pytest.raises(errors.Conflict, match="has no health check"):
        plain.container.wait_healthy(60)


def test_waiting_for_one_that_ends(engine: Engine) -> None:
    check = HealthCheck(("CMD", "true"), interval=HOUR)
    config = ContainerConfig("busybox", ("sleep", "0.3"), health=check)
    container = engine.containers.launch(config, attach=False).container
    with pytest.raises(errors.Conflict, match="is not running"):
        container.wait_healthy(60)


def test_waiting_over_a_change_of_supervisors(engine: Engine) -> None:
    container = launch(engine, "test -e /ok", start_period=HOUR, start_interval=SOON)
    waiter = threading.Thread(target=container.wait_healthy, args=(60,))
    waiter.start()
    before = supervisor(container)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: supervisor(container) != before)
    sh(container, "touch /ok")
    waiter.join(60)
    assert not waiter.is_alive()
    assert container.health.status == "healthy"


def test_with_rm_and_an_init_and_the_hosts_ids(engine: Engine) -> None:
    config = {"auto_remove": True, "init": True, "userns": "host"}
    container = launch(engine, "echo $PPID", config=config)
    container.wait_healthy(60)
    container.stop(0)
    wait_until(lambda: engine.containers.list(all=True) == [])
    wait_until(lambda: not os.path.exists(container.paths.run))
