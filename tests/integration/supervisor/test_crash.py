"""Whoever is killed: nothing is lost that can be kept, and nothing stays that should not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.cgroups import manager
from knarr.supervisor import rundir, state, undo
from knarr.supervisor.client import LaunchFailed
from tests.support.kernels import tells_exits
from tests.support.launch import Box, Running, Spec
from tests.support.processes import launcher
from tests.support.waiting import wait_until


def kill(pid: int) -> None:
    """Kill a process and wait for its end."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_until(lambda: state.start_time(pid) is None)
    finally:
        os.close(pidfd)


def groups_of(box: Box, name: str) -> list[str]:
    """Return what is there of a container's control groups, systemd's scopes among them."""
    parent = box.settings.cgroup_parent.strip("/")
    return [
        f"{folder}/{one}"
        for folder, below, _ in os.walk("/sys/fs/cgroup")
        for one in below
        if name in one and parent in f"{folder}/{one}"
    ]


def relevant_processes(word: str) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and word.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(entry)
        except OSError:
            continue
    return found


def adopted(box: Box, run_dir: str) -> bool:
    """Ask for a new supervisor; a successor that the last launcher forked may be at it."""
    while True:
        try:
            return box.launcher.adopt(run_dir)
        except LaunchFailed as error:
            if error.kind != "busy":
                raise
            wait_until(lambda: not rundir.is_locked(run_dir))


def crash_and_recover(box: Box, point: str, request: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(undo.CRASH_VARIABLE, point)
    try:
        one: Running | None = box.send(request, attach=False)
    except LaunchFailed as error:
        assert error.kind == "launcher"
        one = None
    monkeypatch.delenv(undo.CRASH_VARIABLE)
    run_dir = request["run_dir"]
    if one is not None:
        box.running.remove(one)
    # A successor may be at work; a launcher without the variable takes over for good.
    wait_until(lambda: not rundir.is_locked(run_dir) or _runs(run_dir))
    box.launcher.quit()


def _runs(run_dir: str) -> bool:
    found = state.read(run_dir)
    return found is not None and state.alive(found)


@pytest.mark.parametrize(
    "point",
    ["undo:cgroup", "undo:file", "created", "running", "started", "exited", "recorded"],
)
def test_killed_at_any_point_nothing_is_left(
    box: Box, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = box.request("sh", "-c", "echo hello; exit 3")
    run_dir, name = request["run_dir"], request["id"]
    crash_and_recover(box, point, request, monkeypatch)
    wait_until(lambda: not rundir.is_locked(run_dir))
    if (found := state.read(run_dir)) is not None and found["status"] == "running":
        assert not adopted(box, run_dir), "what had ended was adopted"
    assert undo.replay(run_dir) == []
    assert undo.pending(run_dir) == []
    assert undo.replay(run_dir) == [], "replaying twice is no error"
    wait_until(lambda: groups_of(box, name) == [])
    assert set(os.listdir(run_dir)) <= {"lock", "undo", "state.json"}
    if point == "recorded":
        assert found is not None
        assert (found["status"], found["exit_code"]) == ("exited", 3)


def test_a_killed_maker_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(undo.CRASH_VARIABLE, "created")
    with pytest.raises(LaunchFailed, match="was killed; is its memory limit too low") as caught:
        box.run("true")
    assert caught.value.kind == "launcher"
    monkeypatch.delenv(undo.CRASH_VARIABLE)
    box.launcher.quit()


# A maker and, as the first process's parent, its supervisor, which does not listen.
MAKER = """
import json, os, sys
from knarr.runtime import packets
from knarr.supervisor.starter import Starter
ours, theirs = packets.pair()
ours.close()
if os.fork() == 0:
    try:
        Starter(json.loads(sys.argv[1])).start([], theirs)
    except BrokenPipeError:
        print("told")
    sys.stdout.flush()
    os._exit(0)
try:
    while os.wait():
        pass
except ChildProcessError:
    pass
"""


@pytest.mark.parametrize("tty", [False, True])
def test_a_maker_without_supervisor_takes_everything_back(box: Box, tty: bool) -> None:
    request = box.request("sleep", "1000", tty=tty)
    done = subprocess.run(
        [sys.executable, "-c", MAKER, json.dumps(request)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("told\n", "")
    assert undo.pending(request["run_dir"]) == []
    assert not state.exists(request["run_dir"])
    assert groups_of(box, request["id"]) == []


def test_a_limit_too_low_to_make_the_container_is_told(box: Box) -> None:
    """The kernel kills all who share the memory of its victim: the maker with the process."""
    limit = {"limit": 4096, "swap": 4096}
    request = box.request("true", edit=lambda made: made["linux"]["resources"].update(memory=limit))
    with pytest.raises(LaunchFailed) as caught:
        box.send(request)
    assert "before it answered" not in caught.value.message
    wait_until(lambda: not rundir.is_locked(request["run_dir"]))
    assert groups_of(box, request["id"]) == []
    assert undo.pending(request["run_dir"]) == []
    assert box.run("true").code == 0


def test_a_killed_supervisor_gets_a_successor(box: Box) -> None:
    """No byte and no exit code is lost: the pipes keep what is written meanwhile."""
    one = box.start(
        "sh",
        "-c",
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done;"
        " while [ ! -e /end ]; do :; done; exit 42",
        attach=False,
    )
    first = one.supervisor
    kill(first)
    wait_until(lambda: one.supervisor != first and rundir.is_locked(str(one.run_dir)))
    client = one.attach()
    while not client.hello:
        client.packet()
    one.run("touch", "/end")  # which the container's end may kill
    done = client.exit()
    assert done.code == (42 if tells_exits() else 255)
    wait_until(lambda: not rundir.is_locked(str(one.run_dir)))
    assert groups_of(box, one.id) == []


def test_a_successor_has_the_input_too(box: Box) -> None:
    """It finds the pipe where the container's first process has it."""
    script = "while [ ! -e /go ]; do :; done; cat; exit 7"
    one = box.start("sh", "-c", script, stdin=True, attach=False)
    first = one.supervisor
    kill(first)
    wait_until(lambda: one.supervisor != first and rundir.is_locked(str(one.run_dir)))
    client = one.attach()
    client.send(b"i", b"typed later")
    client.send(b"c")
    one.run("touch", "/go")
    done = client.exit()
    assert done.out == b"typed later"
    assert done.code == (7 if tells_exits() else 255)


def test_output_during_the_change_of_supervisors_is_kept(box: Box) -> None:
    from knarr.supervisor import log as logs

    one = box.start(
        "sh",
        "-c",
        "i=0; while [ ! -e /end ]; do echo $i; i=$((i+1)); done; echo end $i",
        attach=False,
    )
    for _ in range(3):
        before = one.supervisor
        kill(before)
        wait_until(lambda b=before: one.supervisor != b)  # type: ignore[misc]
    wait_until(lambda: rundir.is_locked(str(one.run_dir)))
    client = one.attach()
    while not client.hello:
        client.packet()
    one.run("touch", "/end")  # which the container's end may kill
    client.exit()
    numbers = b"".join(data for _, _, data in logs.read_records(str(one.log))).split()
    count = int(numbers[-1])
    # What a killed supervisor had read and not yet written is lost: at most a chunk each time.
    assert len(numbers) - 2 >= count - 3 * logs.CHUNK // 2
    assert numbers[-2] == b"end"


def test_the_launcher_may_die(box: Box) -> None:
    one = box.start("sh", "-c", "cat; exit 6", stdin=True)
    kill(launcher(box.settings))
    assert one.client is not None
    one.client.send(b"i", b"still here")
    one.client.send(b"c")
    done = one.exit()
    assert (done.code, done.out) == (6, b"still here")


def test_a_new_launcher_adopts_what_both_left(box: Box) -> None:
    one = box.start("sleep", "1000", attach=False)
    kill(launcher(box.settings))
    kill(one.supervisor)
    wait_until(lambda: not rundir.is_locked(str(one.run_dir)))
    assert one.run("true")[0] == 0, "exec needs no supervisor"
    assert box.launcher.adopt(str(one.run_dir))
    assert one.kill().code == (137 if tells_exits() else 255)


def test_what_has_a_supervisor_is_not_adopted(box: Box) -> None:
    one = box.start("sleep", "1000")
    with pytest.raises(LaunchFailed) as caught:
        box.launcher.adopt(str(one.run_dir))
    assert caught.value.kind == "busy"


def test_an_ended_container_is_not_adopted(box: Box) -> None:
    one = box.start("sleep", "1000", attach=False)
    kill(launcher(box.settings))
    kill(one.supervisor)
    kill(one.pid)
    assert not box.launcher.adopt(str(one.run_dir))
    assert undo.replay(str(one.run_dir)) == []
    wait_until(lambda: groups_of(box, one.id) == [])


def test_a_process_that_got_its_number_is_not_taken_for_it(box: Box) -> None:
    one = box.start("sleep", "1000", attach=False)
    told = one.state
    kill(launcher(box.settings))
    kill(one.supervisor)
    kill(one.pid)
    state.write(str(one.run_dir), {**told, "pid": os.getpid()})
    assert not box.launcher.adopt(str(one.run_dir))
    undo.replay(str(one.run_dir))


def test_the_exit_file_is_written(box: Box) -> None:
    target = box.folder() / "exit.json"
    box.run("sh", "-c", "exit 8", exit_file=str(target))
    found = state.read(str(target.parent), target.name)
    assert found is not None
    assert found["exit_code"] == 8


def test_the_clean_up_command_runs_when_nobody_acknowledged(box: Box) -> None:
    marker = box.folder() / "marker"
    one = box.start("true", attach=False, on_exit=["/bin/sh", "-c", f"echo $$ > {marker}"])
    wait_until(marker.exists)
    wait_until(lambda: not rundir.is_locked(str(one.run_dir)))


def test_the_clean_up_command_does_not_run_after_an_acknowledgement(box: Box) -> None:
    marker = box.folder() / "marker"
    one = box.start("true", on_exit=["/bin/sh", "-c", f"echo > {marker}"])
    one.exit()
    wait_until(lambda: not one.run_dir.exists())
    assert not marker.exists()


def test_the_group_goes_with_what_a_host_pid_container_left(box: Box) -> None:
    """With the host's process ids the first process's end does not end the others."""

    def edit(made: Spec) -> None:
        made["linux"]["namespaces"] = [n for n in made["linux"]["namespaces"] if n["type"] != "pid"]
        made["mounts"] = [m for m in made["mounts"] if m["destination"] != "/proc"]
        made["linux"] |= {"maskedPaths": [], "readonlyPaths": []}

    one = box.start(
        "sh",
        "-c",
        "setsid sleep 4242 </dev/null >/dev/null 2>&1 & echo $!",
        userns=False,
        edit=edit,
    )
    done = one.exit()
    wait_until(lambda: not rundir.is_locked(str(one.run_dir)))
    assert groups_of(box, one.id) == []
    assert state.start_time(int(done.text)) is None


def test_an_existing_foreign_group_is_not_taken_away(box: Box) -> None:
    """A start that fails because the group is there must not remove it, or kill its processes."""
    request = box.request("true")
    group = manager.detect("auto").create(request["cgroup"]["path"], {})
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        group.attach(pid)
        with pytest.raises(LaunchFailed):
            box.send(request)
        assert state.start_time(pid) is not None, "a foreign process was killed"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        group.destroy()
