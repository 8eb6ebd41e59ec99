"""Compiled filters loaded into the kernel: what they answer to real system calls."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import struct
from collections.abc import Callable
from typing import Any

import pytest

from knarr.engine.security.seccomp_default import default_profile
from knarr.kernel import process
from knarr.kernel.libc import syscall
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime.seccomp import compile, load_flags  # noqa: A004
from knarr.spec import capabilities
from tests.support.bpf import numbers

MACHINE = platform.machine()
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
pytestmark = pytest.mark.skipif(
    MACHINE not in ("x86_64", "aarch64"), reason="no system call table for this machine"
)


def call(name: str | int, *args: int) -> int:
    """Make a system call; return its result, or the negated error number."""
    number = name if isinstance(name, int) else numbers(MACHINE)[name]
    ctypes.set_errno(0)
    result: int = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_ulong(a) for a in args))
    return result if result != -1 else -ctypes.get_errno()


def under(profile: dict[str, Any], action: Callable[[], object]) -> tuple[list[int], int]:
    """Run ``action`` in a child under ``profile``; return its numbers and the wait status."""
    program = FilterProgram(compile(profile, MACHINE))
    shared = mmap.mmap(-1, 65536)
    call("getpid")
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        process.set_no_new_privs()
        syscall("seccomp", 1, load_flags(profile), program.argument)
        result = action()
        found = result if isinstance(result, list) else [result]
        shared[: 8 + 8 * len(found)] = struct.pack(f"q{len(found)}q", len(found), *found)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    (count,) = struct.unpack_from("q", shared, 0)
    return list(struct.unpack_from(f"{count}q", shared, 8)), os.waitstatus_to_exitcode(status)


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def rule(name: str, action: str, **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": f"SCMP_ACT_{action}", **more}


def test_errno_is_the_one_of_the_rule() -> None:
    value = profile(rule("getppid", "ERRNO", errnoRet=123), rule("getuid", "ERRNO"))
    found, _ = under(value, lambda: [call("getppid"), call("getuid"), call("getgid")])
    assert found == [-123, -errno.EPERM, os.getgid()]


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_lethal_actions(action: str) -> None:
    _, code = under(profile(rule("getppid", action)), lambda: call("getppid"))
    assert code == -signal.SIGSYS


def test_log_lets_pass() -> None:
    found, code = under(profile(rule("getppid", "LOG")), lambda: call("getppid"))
    assert (found, code) == ([os.getpid()], 0)


def test_trace_without_a_tracer_is_enosys() -> None:
    found, _ = under(profile(rule("getppid", "TRACE", errnoRet=7)), lambda: call("getppid"))
    assert found == [-errno.ENOSYS]


@pytest.mark.parametrize(
    ("op", "value", "two", "holds", "fails"),
    [
        ("EQ", 5 << 32 | 7, 0, [5 << 32 | 7], [7, 5 << 32]),
        ("NE", 5 << 32 | 7, 0, [7], [5 << 32 | 7]),
        ("LT", 5 << 32 | 7, 0, [5 << 32 | 6, 4 << 32 | 9], [5 << 32 | 7, 6 << 32]),
        ("LE", 5 << 32 | 7, 0, [5 << 32 | 7], [5 << 32 | 8]),
        ("GE", 5 << 32 | 7, 0, [5 << 32 | 7, (1 << 64) - 1], [5 << 32 | 6]),
        ("GT", 5 << 32 | 7, 0, [5 << 32 | 8], [5 << 32 | 7]),
        ("MASKED_EQ", 0xF0 << 32 | 0xF, 0x10 << 32 | 2, [0x1F << 32 | 0xF2], [0x10 << 32 | 3]),
    ],
)
def test_arguments(op: str, value: int, two: int, holds: list[int], fails: list[int]) -> None:
    args = [{"index": 1, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}]
    filter_ = profile(rule("getppid", "ERRNO", errnoRet=99, args=args))
    found, _ = under(filter_, lambda: [call("getppid", 0, word) for word in [*holds, *fails]])
    assert found == [-99] * len(holds) + [os.getpid()] * len(fails)


def test_every_call_of_this_machine_gets_its_own_answer() -> None:
    # What the interpreter itself may need between two calls stays allowed.
    needed = {
        "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "futex", "exit", "exit_group",
        "rt_sigreturn", "rt_sigaction", "rt_sigprocmask", "restart_syscall", "getrandom",
        "clock_gettime", "rseq", "write",
    }  # fmt: skip
    unfiltered = {"uprobe", "uretprobe"}  # the kernel lets these two pass by itself
    asked = sorted(set(numbers(MACHINE)) - needed - unfiltered)
    rules = [rule(name, "ERRNO", errnoRet=1000 + at) for at, name in enumerate(asked)]
    found, code = under(profile(*rules), lambda: [call(name) for name in asked])
    assert code == 0
    assert found == [-(1000 + at) for at in range(len(asked))]


def default() -> dict[str, Any]:
    return default_profile(capabilities.DEFAULT, MACHINE)


@pytest.mark.parametrize(
    ("name", "args", "result"),
    [
        ("unshare", (0x10000000,), -errno.EPERM),
        ("mount", (0, 0, 0, 0, 0), -errno.EPERM),
        ("setns", ((1 << 64) - 1, 0), -errno.EPERM),
        ("clone", (0x10000000 | 17, 0), -errno.EPERM),
        ("clone3", (0, 0), -errno.ENOSYS),
        ("keyctl", (0, 0), -errno.EPERM),
        ("bpf", (0, 0, 0), -errno.EPERM),
        ("io_uring_setup", (1, 0), -errno.EPERM),
        ("userfaultfd", (0,), -errno.EPERM),
        ("kexec_load", (0, 0, 0, 0), -errno.EPERM),
        ("personality", (0x0040000,), -errno.EPERM),
        ("personality", (0xFFFFFFFF,), 0),
        ("open_tree_attr", (0, 0, 0, 0, 0), -errno.ENOSYS),
        (1000, (), -errno.ENOSYS),
        ("statmount", (0, 0, 0, 0), -errno.EFAULT),
        ("ptrace", (9999, (1 << 64) - 1, 0, 0), -errno.ESRCH),
    ],
)
def test_default_profile(name: str | int, args: tuple[int, ...], result: int) -> None:
    found, code = under(default(), lambda: call(name, *args))
    assert code == 0
    if name == "statmount" and found == [-errno.ENOSYS]:
        pytest.skip("this kernel has no statmount")
    assert found == [result]


def test_default_profile_and_address_families() -> None:
    def families() -> list[int]:
        return [min(call("socket", family, 1, 0), 1) for family in (1, 2, 10, 16, 38, 40)]

    found, _ = under(default(), families)
    assert found[4:] == [-errno.EPERM, -errno.EPERM]
    assert found[0] == found[1] == 1
    assert -errno.EPERM not in found[:4]


def test_default_profile_leaves_threads_and_processes_alone() -> None:
    def work() -> list[int]:
        import threading

        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        pid = os.fork()
        if pid == 0:
            os._exit(42)
        return [*done, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]

    assert under(default(), work) == ([1, 42], 0)


def test_sys_admin_opens_namespaces() -> None:
    opened = default_profile([*capabilities.DEFAULT, "CAP_SYS_ADMIN"], MACHINE)
    found, _ = under(opened, lambda: call("clone3", 0, 0))
    assert found == [-errno.EINVAL]


@pytest.mark.skipif(MACHINE != "x86_64", reason="32-bit calls of x86")
def test_calls_of_another_architecture() -> None:
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov eax, 20 (getpid of i386); int 0x80; pop rbx; ret
    code.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    allowed, status = under({"defaultAction": "SCMP_ACT_ALLOW",
                             "architectures": ["SCMP_ARCH_X86"]}, function)  # fmt: skip
    if status == -signal.SIGSEGV:
        pytest.skip("this kernel runs no 32-bit programs")
    assert status == 0
    assert allowed[0] > 1
    assert under({"defaultAction": "SCMP_ACT_ALLOW"}, function)[1] == -signal.SIGSYS
    denied = profile(rule("getpid", "ERRNO", errnoRet=77), architectures=["SCMP_ARCH_X86"])
    assert under(denied, function)[0] == [-77]


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is an ABI of x86")
def test_x32_numbers_do_not_slip_past() -> None:
    denied = profile(rule("getppid", "ERRNO", errnoRet=77))
    assert under(denied, lambda: call(0x40000000 | 110))[1] == -signal.SIGSYS
