"""A container of another runtime lives as any other does."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from knarr import Container, Engine, ExecConfig, Limits, errors
from knarr.engine.model import HealthCheck, RestartPolicy
from knarr.engine.pause import running_group
from knarr.engine.waiting import await_supervisor
from tests.integration.runtimes.conftest import Box
from tests.support import runtimes
from tests.support.waiting import wait_until

MS = 10**6
TRAP = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 1 & wait $!; done"


def said(container: Container) -> bytes:
    """Return what a container has written so far."""
    return b"".join(entry.data for entry in container.logs())


def needs(box: Box, verb: str) -> None:
    if not runtimes.can(box.runtime, verb):
        pytest.skip(f"this runtime has no {verb}")


def test_output_input_and_exit_code(box: Box) -> None:
    result = box.sh("echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)
    config = box.config("cat", open_stdin=True, auto_remove=True)
    assert box.engine.containers.run(config, input=b"in" * 100_000).stdout == b"in" * 100_000
    assert box.sh("sh -c 'kill -9 $$'; exit $?").exit_code == 137


def test_commands_that_cannot_be_executed(box: Box) -> None:
    with pytest.raises(errors.CommandNotFound, match=r"OCI runtime create failed: .*nosuch"):
        box.run("nosuch")
    with pytest.raises(errors.NotExecutable, match="OCI runtime create failed"):
        box.run("/etc")
    assert box.engine.containers.list(all=True) == []


def test_the_hosts_null_device_is_not_given_away(box: Box) -> None:
    """crun makes the container's user the owner of its standard descriptors, whatever they are."""
    mine = os.stat("/dev/null")
    web = box.launch("sleep", "600")
    with open("/dev/null", "r+b", 0) as null:
        session = web.exec(ExecConfig(("sleep", "600")), stdout=null.fileno())
    with session:
        for pid, number in ((web.state.pid, 0), (session.pid, 0), (session.pid, 1)):
            assert os.stat(f"/proc/{pid}/fd/{number}").st_rdev == mine.st_rdev
        web.kill()
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid) == (mine.st_uid, mine.st_gid)
    assert box.sh("wc -c; echo gone >/proc/self/fd/0").text.split() == ["0"]


def test_in_the_background(box: Box) -> None:
    """The log, a signal, what is there meanwhile; twice: nothing of the first is in the way."""
    web = box.launch("sh", "-c", TRAP, name="web")
    for _ in range(2):
        wait_until(lambda: said(web).endswith(b"ready\n"))
        assert [each.id for each in box.engine.containers.list()] == [web.id]
        assert web.inspect()["HostConfig"]["Runtime"] == box.runtime
        assert "sleep 1" in str(web.top().processes)
        web.rename("other" if web.name == "web" else "web")
        web.stop()
        assert web.state.exit_code == 5
        assert said(web).endswith(b"got\n")
        await_supervisor(web.paths)
        assert sorted(os.listdir(web.paths.run)) == ["actor", "lock", "state.json", "undo"]
        web.start()
    web.remove(force=True)
    assert not os.path.exists(web.paths.run)


def test_pause(box: Box) -> None:
    web = box.launch("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    wait_until(lambda: said(web))
    web.pause()
    assert web.state.paused
    before = said(web)
    assert said(web) == before
    web.unpause()
    wait_until(lambda: len(said(web)) > len(before))
    web.pause()
    web.kill()
    assert web.wait(60).exit_code == 137


def test_a_signal_while_another_is_on_its_way(box: Box) -> None:
    """They come in their order."""
    traps = "trap 'echo usr1' USR1; trap 'echo hup; exit 3' HUP"
    web = box.launch("sh", "-c", f"{traps}; echo ready; while :; do sleep 1 & wait $!; done")
    wait_until(lambda: said(web) == b"ready\n")
    web.kill("USR1")
    web.kill("HUP")
    assert web.wait(60).exit_code == 3
    assert said(web) == b"ready\nusr1\nhup\n"


def test_exec(box: Box) -> None:
    needs(box, "exec")
    web = box.launch("sleep", "600", env=("A=1",), read_only=True)
    result = web.exec_run(ExecConfig(("sh", "-c", "echo $A; cat; exit 4")), input=b"in")
    assert (result.stdout, result.exit_code) == (b"1\nin", 4)
    result = web.exec_run(ExecConfig(("id", "-u"), user="1000:1000", working_dir="/tmp"))
    assert result.stdout == b"1000\n"
    rights = web.exec_run(ExecConfig(("grep", "-E", "CapEff|Seccomp:", "/proc/self/status"))).text
    assert rights.split() == ["CapEff:", "00000000a80425fb", "Seccomp:", "2"]
    more = web.exec_run(ExecConfig(("grep", "CapEff", "/proc/self/status"), privileged=True)).text
    assert int(more.split()[1], 16) & 1 << 21  # CAP_SYS_ADMIN
    with pytest.raises(errors.CommandNotFound, match="OCI runtime exec failed"):
        web.exec_run(ExecConfig(("nosuch",)))
    big = web.exec_run(ExecConfig(("sh", "-c", "yes | head -c 1000000")))
    assert len(big.stdout) == 1_000_000
    left = [name for name in os.listdir(web.paths.run) if name.startswith(("exec-", "runtime."))]
    assert left == ["runtime.pid"]


def test_an_exec_is_killed_with_all_that_it_started(box: Box) -> None:
    needs(box, "exec")
    web = box.launch("sleep", "600")
    text = "sleep 601 & setsid sleep 602 & echo started; wait"
    result = web.exec_run(ExecConfig(("sh", "-c", text)), timeout=3)
    assert (result.timed_out, result.stdout) == (True, b"started\n")
    wait_until(lambda: len(web.top().processes) == 1)


def test_health(box: Box) -> None:
    needs(box, "exec")
    check = HealthCheck(("CMD-SHELL", "echo looked; test -e /ok"), interval=50 * MS, retries=1)
    web = box.launch("sleep", "600", health=check, user="0:0")
    wait_until(lambda: web.health.status == "unhealthy")
    web.exec_run(ExecConfig(("touch", "/ok")))
    wait_until(lambda: web.health.status == "healthy")
    assert web.health.log[-1].output == "looked\n"


def test_a_check_that_takes_too_long_is_killed(box: Box) -> None:
    needs(box, "exec")
    check = HealthCheck(("CMD", "sleep", "600"), interval=50 * MS, timeout=300 * MS, retries=1)
    web = box.launch("sleep", "601", health=check)
    wait_until(lambda: web.health.status == "unhealthy")
    assert "exceeded timeout" in web.health.log[-1].output


def test_restart_policy(box: Box) -> None:
    policy = RestartPolicy("on-failure", 2)
    web = box.launch("sh", "-c", "echo again; exit 3", restart=policy)
    wait_until(lambda: web.state.status == "exited" and web.state.restarts == 2)
    assert said(web) == b"again\n" * 3


def test_with_knarrs_init(box: Box) -> None:
    """A name is looked up for it, and it takes care of orphans."""
    web = box.launch("sh", "-c", TRAP, init=True)
    wait_until(lambda: said(web) == b"ready\n")
    assert "/dev/init" in str(web.top().processes)
    web.stop()
    assert web.state.exit_code == 5
    with pytest.raises(errors.CommandNotFound):
        box.run("nosuch", init=True)


def test_a_memory_limit(box: Box) -> None:
    result = box.sh("head -c 200000000 /dev/zero | tail | wc -c", limits=Limits(memory=16 << 20))
    assert result.oom_killed or result.stdout == b"0\n"
    web = box.launch("sleep", "600", limits=Limits(memory=32 << 20, pids=9))
    assert web.stats().memory_limit == 32 << 20
    assert running_group(web.paths).stats()["pids"]["limit"] == 9
    web.update(Limits(pids=17))
    assert running_group(web.paths).stats()["pids"]["limit"] == 17


def test_the_default_comes_from_the_settings(engine: Engine, runc_box: Box) -> None:
    from knarr import Settings

    own = {name: getattr(engine.settings, name) for name in engine.settings.__slots__}
    with Engine(Settings(**{**own, "runtime": "runc"})) as other:
        made = other.containers.create(runc_box.config("true", runtime=None))
        assert made.config.runtime == "runc"
        ours = other.containers.create(runc_box.config("true", runtime="knarr"))
        assert ours.inspect()["HostConfig"]["Runtime"] == "knarr"
        found = other.info()
        assert found["DefaultRuntime"] == "runc"
        assert {"knarr", "runc"} <= set(found["Runtimes"])


def test_rename_copy_and_diff(runc_box: Box) -> None:
    web = runc_box.launch("sleep", "600")
    web.put_archive("/tmp", io.BytesIO(_tar()))
    assert web.exec_run(ExecConfig(("cat", "/tmp/file"))).stdout == b"text"
    assert "/tmp/file" in {change.path for change in web.diff()}


def _tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"text"))
    return made.getvalue()
