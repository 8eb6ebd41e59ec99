"""Further commands in a running container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.cgroups import manager
from knarr.supervisor.client import LaunchFailed
from tests.support.launch import ID_BASE, Box, Running, Spec, process
from tests.support.waiting import wait_until


@pytest.fixture(params=[True, False], ids=["userns", "host-ids"])
def one(box: Box, request: pytest.FixtureRequest) -> Running:
    return box.start("sleep", "1000", userns=request.param)


def read_all(fd: int) -> bytes:
    """Read a terminal to its end, which is EIO."""
    out = b""
    try:
        while data := os.read(fd, 65536):
            out += data
    except OSError:
        return out
    return out


def test_exit_code_and_output(one: Running) -> None:
    assert one.run("sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\nerr\n")


def test_a_signal_gives_128_and_more(one: Running) -> None:
    assert one.run("sh", "-c", "kill -9 $$")[0] == 137


def test_standard_input(one: Running) -> None:
    assert one.run("cat", stdin=b"\0\xff" * 1000) == (0, b"\0\xff" * 1000)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("nope", "not-found"),
        ("/nope", "not-found"),
        ("/etc", "not-executable"),
        ("/etc/passwd", "not-executable"),
    ],
)
def test_what_cannot_be_executed(one: Running, command: str, kind: str) -> None:
    with pytest.raises(LaunchFailed) as caught:
        one.run(command)
    assert caught.value.kind == kind
    assert command in caught.value.message


def test_it_is_in_the_same_namespaces_and_groups(one: Running) -> None:
    script = (
        "for n in pid net ipc uts mnt cgroup user; do readlink /proc/{}/ns/$n; done;"
        "cat /proc/{}/cgroup"
    )
    mine = one.run("sh", "-c", script.replace("{}", "self"))[1].decode().splitlines()
    init = one.run("sh", "-c", script.replace("{}", "1"))[1].decode().splitlines()
    assert mine[:7] == init[:7]
    for ours, theirs in zip(mine[7:], init[7:], strict=True):
        assert ours == theirs or ours.startswith(theirs.rstrip("/")), (ours, theirs)


def test_only_the_standard_descriptors_are_open(one: Running) -> None:
    assert one.run("sh", "-c", "exec ls /proc/self/fd")[1].split() == [b"0", b"1", b"2", b"3"]


def test_capabilities_user_and_cwd(one: Running) -> None:
    user = {"uid": 0, "gid": 0, "x-knarr-name": "alice"}
    code, out = one.run(
        "sh", "-c", "id; pwd; echo $HOME; grep CapEff /proc/self/status", user=user, cwd="/tmp"
    )
    lines = out.decode().splitlines()
    assert code == 0
    assert lines[0].startswith("uid=1000(alice) gid=1000(alice) groups=")
    assert lines[1:] == ["/tmp", "/home/alice", "CapEff:\t0000000000000000"]


def test_it_has_the_personality_of_the_container(one: Running) -> None:
    """Which is not the process's own in a spec, but stands beside it (config-linux.md)."""
    old = {"personality": {"domain": "LINUX32"}}
    assert one.run("uname", "-m", linux=old)[1] != one.run("uname", "-m")[1]


def test_signals_are_neither_ignored_nor_blocked(one: Running) -> None:
    out = one.run("grep", "^Sig", "/proc/self/status")[1].decode()
    found = dict(line.split(":\t") for line in out.splitlines())
    assert int(found["SigIgn"], 16) == int(found["SigBlk"], 16) == 0


def test_a_terminal_of_the_containers_own_devpts(one: Running) -> None:
    size = {"height": 30, "width": 90}
    session = one.exec(
        "sh",
        "-c",
        "tty; stty size; until [ \"$(stty size)\" = '33 99' ]; do :; done; echo ok; exit 5",
        consoleSize=size,
    )
    out = b""
    while out.count(b"\n") < 2:
        out += os.read(session.master, 4096)
    session.resize(33, 99)
    out += read_all(session.master)
    assert session.wait()["exit_code"] == 5
    session.close()
    words = out.decode().split()
    assert words[0].startswith("/dev/pts/")
    assert words[1:] == ["30", "90", "ok"]


def null() -> int:
    return os.open("/dev/null", os.O_RDWR)


def test_signals_reach_it(one: Running) -> None:
    fd = null()
    session = one.exec("sleep", "1000", fds=[fd] * 3)
    session.signal(signal.SIGTERM)
    assert session.wait()["exit_code"] == 128 + signal.SIGTERM
    session.close()
    os.close(fd)


# A daemon: its parent ends, it has a session of its own, and it ignores hang-ups.
_DAEMON = (
    "(setsid sh -c 'trap \"\" HUP TERM; echo ready; while :; do sleep 1000; done' &) ; sleep 1000"
)


def test_kill_reaches_daemons_it_started(one: Running) -> None:
    reader, writer = os.pipe()
    fd = null()
    session = one.exec("sh", "-c", _DAEMON, fds=[fd, writer, fd])
    os.close(writer)
    os.close(fd)
    assert os.read(reader, 64) == b"ready\n"
    session.kill()
    assert session.wait()["exit_code"] == 137
    # The end of the pipe: nobody has it open any more.
    assert os.read(reader, 64) == b""
    os.close(reader)
    session.close()
    listed = one.run("ps")[1].decode()
    assert "trap" not in listed


def test_a_daemon_lives_on_when_the_command_ends_by_itself(one: Running) -> None:
    code, out = one.run("sh", "-c", "(setsid sleep 999 >/dev/null 2>&1 </dev/null &) ; echo done")
    assert (code, out) == (0, b"done\n")
    assert "sleep 999" in one.run("ps")[1].decode()


def test_its_own_group_is_gone_after_it(one: Running) -> None:
    assert one.run("true")[0] == 0
    where = one.state["cgroup"]
    group = manager.detect(where["manager"]).open(where["path"])
    directories = [Path(one) for one in set(group.paths.values())]
    # Whoever ran it is told of its end before.
    wait_until(lambda: not any(each.is_dir() for one in directories for each in one.iterdir()))


def test_a_false_cgroup_tree_in_the_container_gets_nobody_killed(box: Box) -> None:
    """Killing an exec must read the host's control groups, not what lies at their path inside."""
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        layer = box.layer()
        request = box.request("sleep", "1000", layers=(layer,), edit=_without_sys)
        group = manager.detect("auto").create(request["cgroup"]["path"], {})
        for directory in (*group.paths.values(), "/sys/fs/cgroup/freezer/x"):
            false = Path(f"{layer}{directory}/exec-evil")
            false.mkdir(parents=True, exist_ok=True)
            (false / "cgroup.procs").write_text(f"{victim.pid}\n")
        group.destroy()
        one = box.send(request)
        fd = null()
        session = one.exec("sleep", "1000", fds=[fd] * 3, exec_id="exec-evil")
        session.kill()
        assert session.wait()["exit_code"] == 137
        session.close()
        os.close(fd)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def _without_sys(made: Spec) -> None:
    made["mounts"] = [m for m in made["mounts"] if not m["destination"].startswith("/sys")]
    made["linux"]["maskedPaths"] = []


def test_an_exec_that_fails_leaves_no_group(one: Running) -> None:
    for _ in range(3):
        with pytest.raises(LaunchFailed):
            one.run("nope")
    test_its_own_group_is_gone_after_it(one)


def test_in_a_container_that_has_ended(box: Box) -> None:
    one = box.start("true")
    one.exit()
    with pytest.raises(LaunchFailed) as caught:
        one.run("true")
    assert caught.value.kind in ("not-running", "error")


def test_the_command_is_not_a_child_of_the_containers_first_process(one: Running) -> None:
    """Its parent is outside, so that its exit is knarr's to collect."""
    assert one.run("sh", "-c", "echo $PPID")[1] == b"0\n"


def test_what_it_runs_as_outside(box: Box) -> None:
    one = box.start("sleep", "1000", userns=True)
    fd = null()
    session = one.exec("sleep", "1000", fds=[fd] * 3)
    os.close(fd)
    assert f"Uid:\t{ID_BASE}\t" in Path(f"/proc/{session.pid}/status").read_text()
    session.kill()
    session.wait()
    session.close()


def test_the_callers_departure_leaves_the_command_alone(one: Running) -> None:
    fd = null()
    session = one.exec("sleep", "998", fds=[fd] * 3)
    session.close()
    os.close(fd)
    assert "sleep 998" in one.run("ps")[1].decode()
    os.kill(session.pid, signal.SIGKILL)


def test_nonsense_on_its_connection_does_not_orphan_the_command(one: Running) -> None:
    fd = null()
    session = one.exec("sleep", "1000", fds=[fd] * 3)
    os.close(fd)
    for message in ({"signal": "x"}, {"resize": 3}, {"signal": 12345}, {"signal": None}, {}):
        session._ask(message)
    session.signal(15)
    assert session.wait()["exit_code"] == 143
    session.close()


def test_it_ends_with_the_container(one: Running) -> None:
    fd = null()
    session = one.exec("sleep", "1000", fds=[fd] * 3)
    os.close(fd)
    one.kill()
    assert session.wait()["exit_code"] == 137
    session.close()
    wait_until(lambda: not Path(f"/proc/{session.pid}").exists())


# Kills the helper, which waits for the command's execve, while the command is at its gate.
WATCHER = """
import json, os, sys
from knarr.runtime.waiting import Waiting
from knarr.supervisor.execs import Exec
ready = Waiting.await_ready
def kill(process, look=None):
    ready(process, look)
    os.kill(process.pid, 9)
Waiting.await_ready = kill
task = Exec()
task.start(json.loads(sys.argv[1]), [os.open(os.devnull, os.O_RDWR) for _ in range(3)])
print(os.waitstatus_to_exitcode(os.waitpid(task.pid, 0)[1]))
"""


def test_a_command_whose_helper_is_killed_is_known_by_its_pid(box: Box) -> None:
    one = box.start("sleep", "1000")
    command = process("sh", "-c", "exit 7")
    command["user"]["x-knarr-name"] = "alice"  # who that is, is looked up at the gate
    request = {"run_dir": str(one.run_dir), "exec_id": "e", "process": command, "fds": [0, 1, 2]}
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, json.dumps(request)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
    one.kill()
