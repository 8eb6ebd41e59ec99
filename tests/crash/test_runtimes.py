"""Containers of another runtime: whoever is killed at whatever step, ``recover`` leaves nothing."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, ExecConfig, HealthCheck, errors
from knarr.kernel import process
from tests.crash.test_engine_steps import play, recovered, rest
from tests.support import runtimes
from tests.support.kernels import tells_exits
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Engine, Settings

SECOND = 10**9
LOST = 255
# Steps of a maker; behind "parent:" its supervisor is killed there. A file is noted several times.
STEPS = ("undo:cgroup", "undo:runtime", "running", "created", "started")
LIFE = """
config = ContainerConfig("busybox", ("sleep", "100"), name="whole", runtime="runc")
container = engine.containers.create(config)
container.start()
container.remove(force=True)
print("survived")
"""
RUN = """
try:
    config = ContainerConfig("busybox", ("true",), auto_remove=True, runtime="runc")
    engine.containers.run(config)
except errors.KnarrError as error:
    print("error:", error)
print("survived")
"""
# The runtime kills who has called it, and that one's parent, before or after it did its work.
KILLERS = """
for word in "$@"; do [ "$word" = start ] && found=1; done
[ "$found" ] || exec runc "$@"
parent=$(cut -d' ' -f4 /proc/$PPID/stat)
{before}
kill -9 $parent $PPID
{after}
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path) -> None:
    runtimes.find("runc", tmp_path)


@pytest.mark.parametrize("script", [LIFE, RUN], ids=["life", "run"])
@pytest.mark.parametrize(
    "point", [*STEPS, "undo:file", *(f"parent:{step}" for step in STEPS), "exited", "recorded"]
)
def test_a_maker_or_supervisor_is_killed(
    point: str, script: str, engine: Engine, settings: Settings
) -> None:
    """The caller gets an error or the result, never hangs, and nothing stays."""
    done = play(script, point, settings)
    assert done.returncode in (0, 1), done
    recovered(engine)
    for container in engine.containers.list(all=True):
        container.remove(force=True)
    assert rest(engine) == []


@pytest.mark.parametrize("started", [False, True], ids=["before", "after"])
def test_maker_and_supervisor_are_killed_at_the_gate(
    engine: Engine, tmp_path: Path, started: bool
) -> None:
    """The container's process waits for a word that nobody has; or it has got it, and runs."""
    text = KILLERS.format(
        before='runc "$@"' if started else "", after="" if started else 'exec runc "$@"'
    )
    runtime = runtimes.script(tmp_path / "killer", text)
    made = engine.containers.create(ContainerConfig("busybox", ("sleep", "100"), runtime=runtime))
    if started:
        try:
            made.start()
        except errors.KnarrError:
            pass  # whoever was to answer is dead; the container may have been taken back, too
        assert made.state.status in ("running", "exited", "created")
    else:
        with pytest.raises(errors.KnarrError):
            made.start()
        assert made.state.status == "created"
    engine.recover()
    made.remove(force=True)
    assert rest(engine) == []


@pytest.fixture
def web(engine: Engine) -> Container:
    text = "trap 'exit 5' TERM; echo ready; while :; do sleep 1 & wait $!; done"
    config = ContainerConfig("busybox", ("sh", "-c", text), runtime="runc")
    made = engine.containers.launch(config, attach=False).container
    wait_until(lambda: list(made.logs()))
    return made


def kill_and_wait(pid: int) -> None:
    handle = process.pidfd_open(pid)
    process.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [], 30)
    os.close(handle)


def supervisor(container: Container) -> int:
    value: dict[str, int] = json.loads(Path(container.paths.state).read_bytes())
    return value["supervisor_pid"]


def test_a_supervisor_is_killed(web: Container) -> None:
    """Its successor has signals sent by the runtime, and removes what that keeps."""
    before = supervisor(web)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: web.state.running and supervisor(web) != before)
    assert web.exec_run(ExecConfig(("echo", "alive"))).stdout == b"alive\n"
    web.pause()
    web.unpause()
    web.stop()
    assert web.state.exit_code == (5 if tells_exits() else LOST)
    web.start()
    web.remove(force=True)
    assert not os.path.exists(web.paths.run)


def test_supervisor_and_launcher_are_killed_with_the_container(
    web: Container, engine: Engine
) -> None:
    engine.launcher.quit()
    first = web.state.pid
    for pid in (supervisor(web), first):
        kill_and_wait(pid)
    engine.recover()
    assert (web.state.status, web.state.exit_code) == ("exited", LOST)
    assert not os.path.isdir(f"{web.paths.run}/runtime")
    web.remove()
    assert rest(engine) == []


def test_the_process_of_a_health_check_is_killed(engine: Engine) -> None:
    """What its command left is killed before the next check."""
    check = HealthCheck(
        ("CMD-SHELL", "test -e /ok || { sleep 601 & sleep 602; }"),
        interval=SECOND // 20, timeout=600 * SECOND, retries=1,
    )  # fmt: skip
    config = ContainerConfig("busybox", ("sleep", "600"), health=check, runtime="runc")
    container = engine.containers.launch(config, attach=False).container

    def left() -> list[str]:
        return [line[-1] for line in container.top().processes if "sleep 60" in line[-1]]

    wait_until(lambda: {"sleep 600", "sleep 601", "sleep 602"} <= set(left()))
    (probe,) = [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and is_probe(entry, container)
    ]
    container.put_archive("/", empty_file("ok"))
    os.kill(probe, signal.SIGKILL)
    wait_until(lambda: container.health.status == "healthy")
    assert left() == ["sleep 600"]


def is_probe(entry: str, container: Container) -> bool:
    try:
        stat = Path(f"/proc/{entry}/stat").read_text()
    except OSError:
        return False
    return "(knarr-probe)" in stat and int(stat.rpartition(")")[2].split()[1]) == supervisor(
        container
    )


def empty_file(name: str) -> io.BytesIO:
    """Return an archive of one file without content."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    made.seek(0)
    return made
