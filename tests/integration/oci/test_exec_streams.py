"""What a further command gets of its caller: terminal, descriptors, signals, a parent."""

from __future__ import annotations

import array
import ctypes
import json
import os
import pty
import signal
import socket
import subprocess
import termios
from pathlib import Path

import pytest

from tests.support.bundles import Oci
from tests.support.execs import Execs, halted
from tests.support.terminals import read_all
from tests.support.waiting import wait_until

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def box(oci: Oci) -> Execs:
    return Execs(oci, "box").start()


def test_detached_command_is_the_callers_and_outlives_exec(box: Execs) -> None:
    """As conmon and containerd's shim need it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    file = box.oci.folder / "pid"
    try:
        line = box.words("-d", "--pid-file", str(file), "ID", "sh", "-c", "read x; exit 9")
        with subprocess.Popen(line, stdin=subprocess.PIPE) as process:
            assert process.wait(60) == 0
            pid = int(file.read_text())
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            assert int(stat[1]) == os.getpid()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_console_socket_gets_the_terminal(box: Execs) -> None:
    path = box.oci.folder / "console"
    script = "tty; ls /proc/$$/fd | wc -l; stty size </dev/tty"
    file = box.file("sh", "-c", script, terminal=True, consoleSize={"height": 33, "width": 77})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        words = ("-d", "--console-socket", str(path), "--process", str(file), "--tty", "ID")
        subprocess.run(box.words(*words), check=True, timeout=60)
        connection = listener.accept()[0]
    with connection:
        _, rights, _, _ = connection.recvmsg(256, socket.CMSG_SPACE(4))
    (master,) = array.array("i", rights[0][2])
    said = read_all(master).decode().split("\r\n")
    os.close(master)
    assert said[0].startswith("/dev/pts/")
    assert said[2] == "33 77"


@pytest.mark.parametrize("words", [
    ("-t", "-d"), ("-d", "--console-socket", "/s"), ("-t", "--console-socket", "/s"),
])  # fmt: skip
def test_terminal_and_console_socket_belong_together(box: Execs, words: tuple[str, ...]) -> None:
    assert "--console-socket" in box(*words, "ID", "true", status=255)


def test_terminal_in_the_foreground(box: Execs) -> None:
    line = box.words("-t", "ID", "sh", "-c", "tty; read word; echo got $word; exit 3")
    done = subprocess.run(line, input=b"hello\n", capture_output=True, check=False, timeout=60)
    assert done.returncode == 3
    # What was typed early is echoed before the program says anything.
    lines = sorted(done.stdout.split(b"\n"))
    assert lines[-2:] == [b"got hello", b"hello"]


def test_end_of_the_command_is_the_end_whoever_holds_its_terminal(box: Execs) -> None:
    """What it left in the background has the terminal open still."""
    script = "trap '' HUP; sleep 1000 & echo began"
    assert box("-t", "ID", "sh", "-c", script) == "began\n"


def test_callers_terminal_is_given_back(box: Execs) -> None:
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        for words, status in ((("ID", "true"), 0), (("ID", "nosuch"), 255)):
            line = box.words("-t", *words)
            done = subprocess.run(line, stdin=theirs, capture_output=True, check=False, timeout=60)
            assert done.returncode == status
            assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_signals_are_passed_on_from_the_first_moment(box: Execs) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    line = box.words("ID", "sh", "-c", script)
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 5


def test_preserved_descriptors_and_no_others(box: Execs, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("kept\n")
    script = "cat <&3; for fd in 3 4 5 6; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true"
    shell = f'exec 3<{tmp_path}/text 4</dev/null 5</dev/null 6</dev/null; exec "$@"'
    head = ["bash", "-c", shell, "bash"]
    line = [*head, *box.words("--preserve-fds", "2", "ID", "sh", "-c", script)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["kept", "3", "4"]
    said = box("--preserve-fds", "7", "ID", "true", status=255)
    assert "--preserve-fds: descriptor" in said


def test_listening_sockets_are_for_the_command(box: Execs) -> None:
    """sd_listen_fds(3): the pid is that of the command in its namespace."""
    script = "echo $LISTEN_FDS $LISTEN_PID $$; env | grep -c LISTEN_"
    line = ["bash", "-c", 'exec 3</dev/null; exec "$@"', "bash"]
    line += box.words("--env", "LISTEN_PID=1", "ID", "sh", "-c", script)
    environment = {**os.environ, "LISTEN_FDS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    count, pid, own, variables = done.stdout.split()
    assert (count, pid, variables) == ("1", own, "2")


def test_standard_descriptors_that_are_closed_become_nothing(box: Execs) -> None:
    """What this command opens in their place would be the program's."""
    script = "for fd in 0 2; do readlink /proc/$$/fd/$fd; done"
    line = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *box.words("ID", "sh", "-c", script)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["/dev/null", "/dev/null"]


def test_streams_belong_to_the_commands_user(box: Execs) -> None:
    done = box.run("-u", "1000", "ID", "sh", "-c", "echo again >/dev/stderr; id -u")
    assert (done.stdout, done.stderr) == ("1000\n", "again\n")


def test_callers_terminal_is_not_given_away(box: Execs) -> None:
    """It would be a user's of the host by then, who could type into it."""
    ours, theirs = pty.openpty()
    try:
        owner = os.fstat(theirs).st_uid
        line = box.words("-u", "1000", "ID", "true")
        subprocess.run(line, stdin=theirs, stdout=theirs, stderr=theirs, check=True, timeout=60)
        assert os.fstat(theirs).st_uid == owner
    finally:
        os.close(ours)
        os.close(theirs)


def is_dying(pid: int) -> bool:
    """Return whether a process has ended, or will once it may."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    pending = (line.split()[1] for line in text.splitlines() if line[:6] in ("SigPnd", "ShdPnd"))
    return any(int(word, 16) >> signal.SIGKILL - 1 & 1 for word in pending)


def test_interrupted_while_it_waits_for_a_paused_container(box: Execs) -> None:
    """The command has not begun, and does not: it is killed at the latest when it may go on."""
    box.oci("pause", box.name)
    with subprocess.Popen(box.words("--ignore-paused", "ID", "touch", "/tmp/began")) as process:
        try:
            wait_until(lambda: len(pids(box)) == 2)
            process.send_signal(signal.SIGTERM)
            (pid,) = set(pids(box)) - {box.pid}
            wait_until(lambda: is_dying(pid))
        finally:
            box.oci("resume", box.name)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert pids(box) == [box.pid]
    assert box("ID", "sh", "-c", "ls /tmp | grep began", status=1) == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_the_command_is_at_its_gate(box: Execs, number: signal.Signals) -> None:
    """It dies with who starts it, and nothing is left in the container or of a pid file."""
    file = box.oci.folder / "pid"
    with halted(box, "--pid-file", str(file), "ID", "touch", "/tmp/passed") as process:
        assert len(pids(box)) == 2
        process.send_signal(number)
        process.wait(60)
    wait_until(lambda: pids(box) == [box.pid])
    assert not file.exists()
    assert box("ID", "sh", "-c", "ls /tmp | grep passed", status=1) == ""


def test_container_that_ends_meanwhile(box: Execs) -> None:
    """The command was there, and ended as everybody in the container did."""
    with halted(box, "ID", "sleep", "1000") as process:
        (pid,) = set(pids(box)) - {box.pid}
        os.kill(box.pid, signal.SIGKILL)
        wait_until(lambda: is_dying(pid))
    assert process.returncode == 128 + signal.SIGKILL
    wait_until(lambda: box.oci.state(box.name)["status"] == "stopped")


def pids(box: Execs) -> list[int]:
    """Return the container's processes."""
    found: list[int] = json.loads(box.oci("ps", "--format", "json", box.name))
    return found
