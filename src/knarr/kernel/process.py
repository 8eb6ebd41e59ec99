"""Processes: prctl(2), pid descriptors, personality(2), scheduling."""

import ctypes
import errno
import fcntl
import os
import select
import struct

from knarr.kernel.libc import LIBC, call, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38

PROCESSORS = 8192  # that a kernel can be made for (NR_CPUS)
EVERY_PROCESSOR = b"\xff" * (PROCESSORS // 8)
SECBIT_NO_SETUID_FIXUP = 1 << 2

# setrlimit(2); the resource module lacks one of them and has another under two names.
RLIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip

_IOPRIO_WHO_PROCESS = 1
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes)
_PIDFD_INFO_EXIT = 1 << 3
_REAP_WAIT = 10_000  # ms


def _prctl(option: int, value: int) -> None:
    call("prctl", option, *(ctypes.c_ulong(word) for word in (value, 0, 0, 0)))


def set_pdeathsig(signal: int) -> None:
    """Ask for ``signal`` when the parent thread ends; 0 asks for none (prctl(2))."""
    _prctl(PR_SET_PDEATHSIG, signal)


def set_dumpable(value: bool) -> None:
    """Say whether others of the same user may look into this process (prctl(2)).

    The kernel resets it at execve and at changes of user ids.
    """
    _prctl(PR_SET_DUMPABLE, int(value))


def set_child_subreaper(value: bool) -> None:
    """Say whether orphans among our descendants become our children (prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(value))


def set_securebits(bits: int) -> None:
    """Set the securebits word of this thread (capabilities(7), "The securebits flags")."""
    _prctl(_PR_SET_SECUREBITS, bits)


def setfsuid(uid: int, gid: int) -> None:
    """Set the ids that file-system access is made with (setfsuid(2), setfsgid(2)).

    The calls report no errors; the old value they return is asked for and compared.
    """
    LIBC.setfsgid(gid)
    LIBC.setfsuid(uid)
    if LIBC.setfsuid(-1) != uid or LIBC.setfsgid(-1) != gid:
        raise OSError(1, f"setfsuid: ids {uid}:{gid} were not taken")


def default_signals() -> None:
    """Give every signal its default action, also 32 and 33, which the C library hides.

    Ignored signals survive execve, and posix_spawn(3) of glibc ignores those two.
    The interpreter does not notice: only for use right before execve (sigaction(2)).
    """
    nothing = bytes(32)  # struct sigaction of the kernel: SIG_DFL, no flags, empty mask
    for number in range(1, 65):
        if number not in (9, 19):
            syscall("rt_sigaction", number, nothing, None, ctypes.c_size_t(8))


def run_everywhere() -> None:
    """Run on every processor that this process's control group has (sched_setaffinity(2))."""
    syscall("sched_setaffinity", 0, ctypes.c_size_t(len(EVERY_PROCESSOR)), EVERY_PROCESSOR)


def step_back() -> None:
    """Run from now on only where a processor has nothing else to do (sched(7), SCHED_IDLE)."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def io_priority(pid: int) -> int:
    """Return class and level of a process's I/O, 0 for this one (ioprio_get(2)). OSError."""
    return syscall("ioprio_get", _IOPRIO_WHO_PROCESS, pid)


def set_name(name: str) -> None:
    """Set the name that ps shows, at most 15 bytes (prctl(2), PR_SET_NAME)."""
    LIBC.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def set_no_new_privs() -> None:
    """Bar this process and its children from gaining privileges by execve (prctl(2))."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def pidfd_open(pid: int, flags: int = 0) -> int:
    """Return a CLOEXEC descriptor of process ``pid`` (pidfd_open(2), Linux 5.3).

    Raises ProcessLookupError when there is none, also when its number is still that of a
    session or a group of processes that outlived it, for which kernels have other errors.
    """
    try:
        return syscall("pidfd_open", pid, ctypes.c_uint(flags))
    except OSError as error:
        if pid > 0 and error.errno in (errno.EINVAL, errno.ENOENT):
            raise ProcessLookupError(errno.ESRCH, error.strerror) from None
        raise


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Send ``signal`` to the process behind ``pidfd``, never to a later one (5.1)."""
    syscall("pidfd_send_signal", pidfd, signal, None, ctypes.c_uint(0))


def pidfd_exit_status(pidfd: int) -> "int | None":
    """Return the wait status of an ended process that is not our child.

    Waits at most ten seconds for its parent to reap it. None when it still runs
    or the kernel does not tell (before Linux 6.15).
    Source: include/uapi/linux/pidfd.h, PIDFD_GET_INFO.
    """
    request = bytearray(struct.pack("=Q56x", _PIDFD_INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
        if not struct.unpack_from("=Q", request)[0] & _PIDFD_INFO_EXIT:
            # The kernel tells once the parent has reaped it, and says so with POLLHUP.
            poll = select.poll()
            poll.register(pidfd, 0)
            poll.poll(_REAP_WAIT)
            request[0] = _PIDFD_INFO_EXIT
            fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
    except OSError:
        return None
    if not struct.unpack_from("=Q", request)[0] & _PIDFD_INFO_EXIT:
        return None
    status: int = struct.unpack_from("=i", request, 60)[0]
    return status


def start_time(pid: int) -> "int | None":
    """Return when a process began, in clock ticks since boot (proc(5), stat field 22).

    None when it has ended.
    """
    try:
        fields = stat_fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie is an ended process whose parent has not looked yet.
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def stat_fields(pid: int) -> "list[bytes]":
    """Return the fields of a process's stat behind its name, the state first (proc(5)). OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def pid_inside(pid: int) -> int:
    """Return a process's id in its own PID namespace (proc(5), NSpid). Raises OSError."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def sched_attributes(
    policy: int,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> bytes:
    """Return a ``struct sched_attr``; times in nanoseconds (sched_setattr(2))."""
    return struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
