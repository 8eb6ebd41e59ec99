"""The native clients as scripts/knarr-oci calls them: another server, and what is there without."""

from __future__ import annotations

import os
import platform
import resource
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from knarr.oci.foreground import _OWN
from tests.support.waiting import PATIENCE
from tests.unit.client.conftest import Thin, ends

# Those of the C library are no program's (signal(7), nptl(7)).
VALID = signal.valid_signals()
PASSED_ON = sorted(int(number) for number in VALID - _OWN)
REAL_TIME = 50
FLAGS = ("-I", "-S", "-E")
SCRIPT = "/the/script"


@pytest.fixture
def runtime(native: Thin) -> Thin:
    """A client that looks in a directory of its own, and a program for want of a server."""
    folder = Path(native.python).parent
    program = folder / "program"
    program.write_text('#!/bin/sh\necho "$0 $*"\nexit 43\n')
    program.chmod(0o755)
    client = native.words[: native.words.index("--from-script")]
    python = native.python
    Path(python).unlink()  # nobody has a reason to execute it
    line = [*client, "--runtime", str(folder), str(program), python, python, *FLAGS, SCRIPT]
    native.words = line
    native.environment = {"KNARR_RUN_ROOT": "/nowhere", "A": "1"}
    return native


def sendable(thin: Thin) -> list[int]:
    """Return the signals that are passed on, without those that an emulator has for itself."""
    if thin.kind == platform.machine():
        return PASSED_ON
    own = {signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV,
           signal.SIGSYS, *range(signal.SIGRTMIN, max(VALID) + 1)}  # fmt: skip
    return [number for number in PASSED_ON if number not in own]


def does_it_itself(thin: Thin, process: subprocess.Popen[bytes], *words: str) -> None:
    """Check that PROGRAM was executed with all that follows it."""
    out, err = process.communicate(timeout=PATIENCE)
    program = Path(thin.python).parent / "program"
    line = " ".join((str(program), thin.python, thin.python, *FLAGS, SCRIPT, *words))
    assert (process.returncode, out.decode(), err) == (43, f"{line}\n", b"")


def test_the_request_says_who_is_called(runtime: Thin, tmp_path: Path) -> None:
    process, there = runtime.listen().serve("--root", "", "state", "a\udcff b", cwd=tmp_path)
    root = os.stat("/")
    assert there.words[:5] == [
        b"knarr/1",
        os.fsencode(runtime.python),
        b"%d:%d" % (root.st_dev, root.st_ino),
        os.readlink(b"/proc/self/ns/mnt"),
        os.readlink(b"/proc/self/ns/user"),
    ]
    assert there.words[6:12] == [b"5", SCRIPT.encode(), b"--root", b"", b"state", b"a\xff b"]
    assert set(there.words[13:]) - {b"LC_CTYPE=C.UTF-8"} == {b"KNARR_RUN_ROOT=/nowhere", b"A=1"}
    assert os.readlink(f"/proc/self/fd/{there.fds[3]}") == str(tmp_path)
    there.say(b"X5")
    assert ends(process) == 5


def test_the_script_alone(runtime: Thin) -> None:
    process, there = runtime.listen().serve()
    assert there.words[6:8] == [b"1", SCRIPT.encode()]
    there.say(b"X0")
    assert ends(process) == 0


def test_without_a_server(runtime: Thin) -> None:
    does_it_itself(runtime, runtime.start("run", "-b", "x y", "z"), "run", "-b", "x y", "z")
    runtime.listen().listener.close()
    does_it_itself(runtime, runtime.start("list"), "list")


def test_off(runtime: Thin) -> None:
    runtime.listen()
    runtime.environment["KNARR_SERVER"] = "off"
    does_it_itself(runtime, runtime.start("list"), "list")


def test_refused(runtime: Thin) -> None:
    process, there = runtime.listen().serve("list", process_group=0)
    there.say(b"N")
    does_it_itself(runtime, process, "list")


def test_the_environment_is_left_as_it_is(runtime: Thin) -> None:
    """No variable is added: knarr-oci starts no server by itself, and hooks would have it."""
    program = Path(runtime.python).parent / "program"
    program.write_text("#!/bin/sh\ncat /proc/$$/environ\n")
    process = runtime.start("list")
    out, _ = process.communicate(timeout=PATIENCE)
    assert set(out.strip(b"\0").split(b"\0")) == {b"KNARR_RUN_ROOT=/nowhere", b"A=1"}


@pytest.mark.root
def test_a_server_of_somebody_else(runtime: Thin) -> None:
    runtime.listen()
    os.chmod(runtime.address, 0o666)
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hear)
            os.setuid(65534)
            # Who listens last is whom the socket belongs to (unix(7), SO_PEERCRED).
            runtime.listener.listen(8)
            os.close(say)
            link = runtime.accept(b"")
            os._exit(1 if link.recv(10) else 0)
        finally:
            os._exit(2)
    os.close(say)
    assert os.read(hear, 1) == b""
    os.close(hear)
    does_it_itself(runtime, runtime.start("list"), "list")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("count", range(1, 9))
def test_fewer_words_than_it_needs(runtime: Thin, count: int) -> None:
    """Then it is no call of the script's, and nothing that is named there is executed."""
    begin = runtime.words.index("--runtime")
    line = runtime.words[: begin + count]
    done = subprocess.run(
        [*line], env=runtime.environment, capture_output=True, check=False, timeout=PATIENCE
    )
    assert done.returncode in (126, 127)
    assert done.stderr.startswith(b"knarr: cannot execute ")
    assert done.stdout == b""


def test_under_another_name_it_takes_no_such_orders(runtime: Thin, tmp_path: Path) -> None:
    """sudo may allow the link, and not every program."""
    begin = runtime.words.index("--runtime")
    link = tmp_path / "knarr"
    link.symlink_to(runtime.words[begin - 1])
    line = [*runtime.words[: begin - 1], str(link), *runtime.words[begin:], "list"]
    done = subprocess.run(
        line, env=runtime.environment, capture_output=True, check=False, timeout=PATIENCE
    )
    assert done.returncode in (126, 127)
    assert done.stdout == b""


@pytest.mark.parametrize(("program", "code"), [("/no/program", 127), ("/etc/passwd", 126)])
def test_no_program(runtime: Thin, program: str, code: int) -> None:
    place = runtime.words.index("--runtime") + 2
    runtime.words[place] = program
    process = runtime.start("list")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert err.decode() == f"knarr: cannot execute {program}\n"


def test_every_signal_arrives(runtime: Thin) -> None:
    process, there = runtime.listen().serve("run")
    numbers = sendable(runtime)
    for number in numbers:
        process.send_signal(number)
        if number == signal.SIGCONT:
            assert there.hear()[:1] == b"F"
        else:
            assert there.hear() == bytes([number])
    for _ in range(20):
        process.send_signal(numbers[-1])
        assert there.hear() == bytes([numbers[-1]])
    there.say(b"X0")
    assert ends(process) == 0


def test_what_is_its_own_affair_is_not_told(runtime: Thin) -> None:
    process, there = runtime.listen().serve("run", process_group=0)
    for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH):
        process.send_signal(number)
    process.send_signal(signal.SIGTERM)
    assert there.hear() == bytes([signal.SIGTERM])
    process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert there.hear()[:1] == b"F"
    process.send_signal(signal.SIGPIPE)
    there.close()
    assert ends(process) == -signal.SIGPIPE
    assert there.hear() == b""


def test_what_is_ignored_is_not_passed_on(runtime: Thin) -> None:
    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    process, there = runtime.listen().serve("run", preexec_fn=prepare)
    for number in (signal.SIGHUP, signal.SIGALRM, signal.SIGTERM):
        process.send_signal(number)
    assert there.hear() == bytes([signal.SIGTERM])
    there.say(b"X0")
    assert ends(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGCHLD, REAL_TIME])
def test_blocked_signals_are_told_and_not_passed_on(runtime: Thin, number: int) -> None:
    """Hooks have them blocked, and a worker cannot see that."""
    if number == REAL_TIME and number not in sendable(runtime):
        pytest.skip("the emulator has it for itself")

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])

    process, there = runtime.listen().serve("list", preexec_fn=prepare)
    assert there.words[6:9] == [b"2", SCRIPT.encode(), b"list"]
    assert there.words[9] == b"B"
    process.send_signal(number)
    process.send_signal(signal.SIGUSR1)
    assert there.hear() == bytes([signal.SIGUSR1])
    there.say(b"X0")
    assert ends(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM, REAL_TIME])
def test_a_signal_to_a_worker_that_refuses_has_its_effect(runtime: Thin, number: int) -> None:
    if number not in sendable(runtime):
        pytest.skip("the emulator has it for itself")
    process, there = runtime.listen().serve("run")
    process.send_signal(number)
    assert there.hear() == bytes([number])
    there.say(b"N")
    assert ends(process) == -number


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGIO, REAL_TIME])
def test_it_dies_of_what_it_is_told(runtime: Thin, number: int) -> None:
    if number not in sendable(runtime):
        pytest.skip("the emulator has it for itself")
    process, there = runtime.listen().serve("run")
    there.say(b"K%d" % number)
    assert ends(process) == -number


def test_descriptors_that_there_is_no_room_for_are_not_counted(runtime: Thin) -> None:
    """What came with an earlier packet is not said again: the numbers are other files' by now."""
    process, there = runtime.listen().serve("create")
    told = b"Dg".ljust(64, b"\0")
    with open(os.devnull) as null:
        fds = [null.fileno()] * 3
        socket.send_fds(there.link, [told], fds)
        first = there.link.recv(1024)
        assert int.from_bytes(first[8:16], "little") == 16 + 4 * 3
        highest = max(struct.unpack_from("=3i", first, 24))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (highest + 2, highest + 2))
        socket.send_fds(there.link, [told], fds)
        assert int.from_bytes(there.link.recv(1024)[8:16], "little") == 16 + 4
        socket.send_fds(there.link, [told], fds)
        assert there.link.recv(1024)[8:16] == bytes(8)
    there.say(b"X0")
    assert ends(process) == 0
