"""A further process in a running container: enter its namespaces, clone, become the command.

A helper enters the container's namespaces and clones the command's process, which
becomes its parent's child; it waits, as after vfork(2), until the command runs,
and ends. Neither runs Python. Both are non-dumpable before they enter, so that
nothing inside can look into them (CVE-2016-9962, CVE-2019-5736).
"""

import os
import struct
import sys

from knarr.kernel import caps, clone
from knarr.kernel.clone import CLONE_FILES, CLONE_PARENT, CLONE_PIDFD, CLONE_VFORK
from knarr.kernel.files import PROC_SUPER_MAGIC, fstatfs_type
from knarr.kernel.lean import signal
from knarr.kernel.mounts import AT_FDCWD
from knarr.kernel.namespaces import CLONE_NEWCGROUP, CLONE_NEWUSER
from knarr.kernel.process import pid_inside, pidfd_send_signal
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import child, finalleg
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.finalleg import Ending, FinalLeg
from knarr.runtime.program import carrier, exchange, kept, memory
from knarr.runtime.program.builder import Builder, Label, Program, Told
from knarr.runtime.program.memory import CLONED, LISTEN_PID, PIDFD, ROOT, TEMPORARY
from knarr.runtime.program.paths import DIRECTORY
from knarr.runtime.rlimits import are_above, raise_limits, set_score
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.waiting import Waiting, is_known, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.runtime.seccomp.listener import Listener

_COMMAND = TEMPORARY[13]


class Join:
    """What has to be joined and what the process becomes.

    pidfd: of the container's first process. flags: CLONE_NEW* of the namespaces
    to enter. procs: descriptors of the cgroup files it enters by writing ``0``,
    opened before the mount namespace changed. group: directory of a v2 group to be born in,
    -1 for none. score: for the kernel's want of memory; None: as this process's.
    unprivileged: one that is not permitted is left out. preserved,
    keyring, listening: see ``Ending``. listener: see ``Recipe``. root: descriptor of the root, -1
    where entering the mount namespace leads there. on_user: called with the ids of the user in the
    container before the program runs. at_gate: called with pidfd and terminal (-1: none) before.
    """

    __slots__ = (
        "at_gate",
        "flags",
        "group",
        "keyring",
        "leg",
        "listener",
        "listening",
        "on_user",
        "pidfd",
        "preserved",
        "procs",
        "program",
        "root",
        "score",
        "stdio",
        "steps",
        "unprivileged",
    )

    def __init__(
        self,
        pidfd: int,
        flags: int,
        procs: "list[int]",
        leg: FinalLeg,
        steps: "tuple[Step, ...]",
        stdio: "tuple[int, int, int] | None",
        program: "FilterProgram | None",
        *,
        group: int = -1,
    ) -> None:
        self.pidfd = pidfd
        self.flags = flags
        self.procs = procs
        self.group = group
        self.leg = leg
        self.steps = steps
        self.stdio = stdio
        self.program = program
        self.root = -1
        self.preserved = 0
        self.keyring = True
        self.listening = False
        self.listener: Listener | None = None
        self.score: int | None = None
        self.unprivileged = False
        self.on_user: Callable[[int, int], None] | None = None
        self.at_gate: Callable[[int, int], None] | None = None


class Joined:
    """The command's process: a child of this one. master: of its terminal, or -1."""

    __slots__ = ("master", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, master: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.master = master


def start(join: Join) -> Joined:
    """Return once the command runs. Raises RuntimeFailure and OSError, and leaves nothing then."""
    carrier.prepare()
    ends = child.meet()
    memory.write(PIDFD, struct.pack("=i", -1))
    CLONED.set(0)
    if join.listener is not None:
        join.listener.place()
    ending = _ending(join)
    setting = Setting.inside(join.leg)
    program = _program(join, setting, ending)
    finalleg.set_cells(program, join.leg, ending)
    process = Waiting(program, ends, carrier.spawn(program, 0), sibling=False)
    try:
        process.go()
        # With nothing to look up in the container, or to do to the command from outside, it
        # goes through the gate before it is there.
        known = is_known(join.steps, setting) and not _is_touched(join)
        if known:
            _settle(join, setting)
            process.go()
        process.await_ready(_look)
        if not known:
            _touch(join)
            _settle(join, setting)
            process.go()
        process.await_exec(_look)
    except BaseException:
        process.close()
        _end(process)
        raise
    finally:
        if ending.has_proc:
            os.close(memory.PROC.get())
        if join.listener is not None:
            join.listener.close()
    process.close()
    os.waitpid(process.pid, 0)
    os.close(process.pidfd)
    return Joined(CLONED.get(), _pidfd(), memory.MASTER.get())


def _ending(join: Join) -> Ending:
    """Return what the last leg needs; PROC is the host's where a label has to be written.

    What the container has on /proc decides nothing then (CVE-2019-16884, CVE-2025-52881).
    """
    permitted = caps.permitted(in_userns=bool(join.flags & CLONE_NEWUSER))
    labelled = join.leg.lsm_label is not None
    if labelled:
        memory.PROC.set(_procfs())
    return Ending(
        join.stdio, join.program, None, permitted, has_proc=labelled,
        preserved=join.preserved, keyring=join.keyring, listening=join.listening,
        notifies=join.listener is not None,
    )  # fmt: skip


def _procfs() -> int:
    """Return a descriptor of this process's procfs. Raises RuntimeFailure for something else."""
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if fstatfs_type(fd) == PROC_SUPER_MAGIC:
        return fd
    os.close(fd)
    raise RuntimeFailure("error", "label", "/proc is no procfs")


def _is_touched(join: Join) -> bool:
    if join.at_gate is not None or join.score is not None or join.listening:
        return True
    if join.listener is not None:
        return True
    return are_above(join.leg.rlimits)


def _touch(join: Join) -> None:
    """Do what is done from outside while the command's process is at the gate."""
    pid = CLONED.get()
    if join.at_gate is not None:
        join.at_gate(_pidfd(), memory.MASTER.get())
    raise_limits(pid, join.leg.rlimits)
    if join.score is not None:
        # What is not permitted was not for the container's first process either.
        set_score(pid, join.score, lenient=join.unprivileged)
    if join.listener is not None:
        join.listener.tell(pid)
    if join.listening:
        memory.write(LISTEN_PID, b"LISTEN_PID=%d\0" % pid_inside(pid))


def _settle(join: Join, setting: Setting) -> None:
    uid, gid = resolve(join.steps, setting)
    if join.on_user is not None:
        join.on_user(uid, gid)


def _end(process: Waiting) -> None:
    """Kill the helper and the command, as far as they came, and wait for both."""
    process.kill()
    os.close(process.pidfd)
    pidfd = _pidfd()
    if pidfd >= 0:
        pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)


def _look() -> None:
    """Raise RuntimeFailure if the command's process was stopped.

    Nobody but the container does that, whose processes may send it signals from the moment
    that it is one of them. It would stay so, and with it those who wait for the command.
    """
    pidfd = _pidfd()
    if pidfd < 0:
        return
    try:
        stopped = os.waitid(os.P_PIDFD, pidfd, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return  # it has ended
    if stopped is not None:
        raise RuntimeFailure("error", "exec", "exec: stopped from inside before the command ran")


def _pidfd() -> int:
    """Return the descriptor of the command's process, -1 when there is none."""
    return int.from_bytes(memory.read(PIDFD, 4), sys.byteorder, signed=True)


def _program(join: Join, setting: Setting, ending: Ending) -> Program:
    """Return the program of the helper and, behind its clone, of the command."""
    program = Program()
    program.add("exec", kept.make(_clone, join))
    child.add_steps(program, join.steps, setting)
    program.add("exec", kept.block(("gate",), child.gate))
    finalleg.add(program, "exec", join.leg, ending)
    return program


def _clone(b: Builder, join: Join) -> None:
    """Enter the namespaces as the helper, and begin as the command's process."""
    child.be_born(b)
    initial, final = join.leg.affinity
    _set_affinity(b, "initial", initial)
    if join.flags & ~CLONE_NEWCGROUP:
        b.call("setns", join.pidfd, join.flags & ~CLONE_NEWCGROUP)
    if join.root >= 0:
        b.call("fchdir", join.root)
        b.call("chroot", ".")
    flags = CLONE_PARENT | CLONE_PIDFD | CLONE_FILES | CLONE_VFORK | carrier.SHARED
    # Its pid is told by the kernel: a helper that is killed meanwhile stores nothing.
    arguments = clone.arguments(
        flags | clone.CLONE_PARENT_SETTID, PIDFD, None if join.group < 0 else join.group,
        tid=CLONED,
    )  # fmt: skip
    inside, outside = Label(), Label()
    # Both store what they get; the helper not before the command's process has ended or runs.
    b.call("clone3", arguments, len(arguments), out=_COMMAND,
           explain=None if join.group < 0 else _NotIn(join.group))  # fmt: skip
    b.test(_COMMAND, 0xFFFFFFFF, 0, orelse=outside)
    b.jump(inside)
    b.place(outside)
    b.end()
    b.place(inside)
    child.be_born(b)
    for fd in join.procs:
        # 0 is the writer itself, whatever its pid is in which namespace.
        b.call("write", fd, b"0", 1, explain=_NotIn(fd))
    _set_affinity(b, "final", final)
    exchange.wait(b, 1)
    if join.flags & CLONE_NEWCGROUP:
        b.call("setns", join.pidfd, CLONE_NEWCGROUP)
    child.become_root(b)
    b.call("umask", 0)
    b.call("openat", AT_FDCWD, "/", DIRECTORY | os.O_CLOEXEC, out=ROOT, path="/")


def _set_affinity(b: Builder, name: str, mask: "bytes | None") -> None:
    if mask is not None:
        explain = Told("error", "affinity", f"process.execCPUAffinity.{name}")
        b.call("sched_setaffinity", 0, len(mask), mask, explain=explain)


class _NotIn:
    """Explains which control group could not be entered. fd: of it, or of its file."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        path = os.readlink(f"/proc/self/fd/{self.fd}")
        return RuntimeFailure("error", name, f"cgroup: {os.strerror(number)}: {path}", number)
