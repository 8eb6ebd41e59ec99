"""New processes that carry a program out."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.kernel import memory as kernel_memory
from knarr.kernel.memory import MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ
from knarr.runtime.program import carrier, memory
from knarr.runtime.program.builder import Builder, Program
from knarr.runtime.program.memory import TEMPORARY
from tests.support.programs import program

A = TEMPORARY[0]
native = pytest.mark.skipif(not carrier.SHARED, reason="no machine code for this machine")


def ended(made: Program, flags: int = 0) -> int:
    """Spawn, wait, and return the exit code; the pidfd is of that process."""
    pid, pidfd = carrier.spawn(made, flags)
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert found is not None
    assert found.si_pid == pid
    assert found.si_code == os.CLD_EXITED
    assert not os.get_inheritable(pidfd)
    os.close(pidfd)
    return found.si_status


@native
def test_it_shares_memory_and_descriptors() -> None:
    A.set(-1)
    flags = os.O_RDONLY | os.O_CLOEXEC
    assert ended(program(lambda b: b.call("openat", -100, "/dev/null", flags, out=A))) == 0
    assert os.readlink(f"/proc/self/fd/{A.get()}") == "/dev/null"
    os.close(A.get())


@native
def test_a_failure_is_exit_code_1_and_told() -> None:
    made = program(lambda b: b.call("chdir", "/no/such", path="/no/such"))
    assert ended(made) == 1
    found = made.failure()
    assert found is not None
    assert found.message == "block 0: chdir: No such file or directory: /no/such"


@native
def test_its_signals_are_blocked_until_it_unblocks_them() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def look(b: Builder) -> None:
        b.call("rt_sigprocmask", 2, None, memory.BYTE, 8)

    def unblock(b: Builder) -> None:
        b.call("rt_sigprocmask", 2, bytes(8), None, 8)

    assert ended(program(look)) == 0
    (mask,) = struct.unpack("<Q", memory.read(memory.BYTE, 8))
    unblockable = 1 << signal.SIGKILL - 1 | 1 << signal.SIGSTOP - 1
    assert mask | unblockable == 2**64 - 1
    assert ended(program(unblock, look)) == 0
    assert memory.read(memory.BYTE, 8) == bytes(8)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@native
def test_a_clone_that_fails_is_an_error_and_changes_nothing() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        now = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        # CLONE_THREAD asks for CLONE_SIGHAND (clone3(2)).
        with pytest.raises(OSError, match=r"clone3: Invalid argument"):
            carrier.spawn(program(), 0x00010000)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == now
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_memory_that_may_not_be_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        assert arguments[1:] != (PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS)
        raise PermissionError(13, "mmap: Permission denied")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(kernel_memory, "map_memory", refuse)
    assert carrier._load() is None
    assert len(os.listdir("/proc/self/fd")) == before


_FORKED = """
import os, signal, sys
from knarr.runtime.program import carrier, memory
from knarr.runtime.program.builder import Builder, Program

assert carrier._native is None and carrier.SHARED == 0
assert b"knarr-program" not in open("/proc/self/maps", "rb").read()

def ended(write):
    carrier.prepare()
    b = Builder()
    write(b)
    b.end()
    program = Program()
    program.add("it", b.finish())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pid, pidfd = carrier.spawn(program, 0)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert found.si_pid == pid
    failure = program.failure()
    return found.si_status, failure and failure.message

A = memory.TEMPORARY[0]
print(ended(lambda b: b.call("openat", -100, "/dev/null", os.O_CLOEXEC, out=A)))
print(os.readlink(f"/proc/self/fd/{A.get()}"))
print(ended(lambda b: b.call("chdir", "/no/such", path="/no/such")))
print(ended(lambda b: b.call("rt_sigprocmask", 2, None, memory.STATX, 8)))
mask = int.from_bytes(memory.read(memory.STATX, 8), "little")
print([int(number) for number in signal.valid_signals() if not mask >> number - 1 & 1])
try:
    carrier.spawn(Program(), 0x00010000)
except OSError as error:
    print(error)
"""


def test_without_machine_code_it_is_forked_and_does_the_same() -> None:
    """In a process without threads, as the runtime's is."""
    source = Path(carrier.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _FORKED],
        env={"PYTHONPATH": str(source), carrier.INTERPRETER_VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "(0, None)",
        "/dev/null",
        "(1, 'it: chdir: No such file or directory: /no/such')",
        "(0, None)",
        "[9, 19]",
        "[Errno 22] clone3: Invalid argument",
    ]
