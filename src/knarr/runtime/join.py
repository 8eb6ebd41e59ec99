"""A further process in a running container: enter its namespaces, clone, become the command.

A helper enters the container's namespaces and clones the command's process, which
becomes its parent's child; it waits, as after vfork(2), until the command runs,
and ends. Neither runs Python. Both are non-dumpable before they enter, so that
nothing inside can look into them (CVE-2016-9962, CVE-2019-5736).
"""

import os
import signal
import struct
import sys

from knarr.kernel import caps, clone
from knarr.kernel.clone import CLONE_FILES, CLONE_PARENT, CLONE_PIDFD, CLONE_VFORK
from knarr.kernel.mounts import AT_FDCWD
from knarr.kernel.namespaces import CLONE_NEWCGROUP, CLONE_NEWUSER
from knarr.kernel.process import pidfd_send_signal
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import child, finalleg
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.finalleg import Ending, FinalLeg
from knarr.runtime.program import carrier, kept, memory
from knarr.runtime.program.builder import Builder, Label, Program
from knarr.runtime.program.memory import CLONED, PIDFD, ROOT, TEMPORARY
from knarr.runtime.program.paths import DIRECTORY
from knarr.runtime.rlimits import raise_limits
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.waiting import Waiting, is_known, resolve

_COMMAND = TEMPORARY[13]


class Join:
    """What has to be joined and what the process becomes.

    pidfd: of the container's first process. flags: CLONE_NEW* of the namespaces
    to enter. procs: descriptors of the cgroup files it enters by writing ``0``,
    opened before the mount namespace changed.
    """

    __slots__ = ("flags", "leg", "pidfd", "procs", "program", "stdio", "steps")

    def __init__(
        self,
        pidfd: int,
        flags: int,
        procs: "list[int]",
        leg: FinalLeg,
        steps: "tuple[Step, ...]",
        stdio: "tuple[int, int, int] | None",
        program: "FilterProgram | None",
    ) -> None:
        self.pidfd = pidfd
        self.flags = flags
        self.procs = procs
        self.leg = leg
        self.steps = steps
        self.stdio = stdio
        self.program = program


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
    permitted = caps.permitted(in_userns=bool(join.flags & CLONE_NEWUSER))
    ending = Ending(join.stdio, join.program, None, permitted, has_proc=False)
    setting = Setting.inside(join.leg)
    program = _program(join, setting, ending)
    finalleg.set_cells(program, join.leg, ending)
    process = Waiting(program, ends, carrier.spawn(program, 0), sibling=False)
    try:
        raise_limits(process.pid, join.leg.rlimits)
        process.go()
        known = is_known(join.steps, setting)
        if known:
            resolve(join.steps, setting)
            process.go()  # through the gate, before it is there
        process.await_ready(_look)
        if not known:
            resolve(join.steps, setting)
            process.go()
        process.await_exec(_look)
    except BaseException:
        process.close()
        _end(process)
        raise
    process.close()
    os.waitpid(process.pid, 0)
    os.close(process.pidfd)
    return Joined(CLONED.get(), _pidfd(), memory.MASTER.get())


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
    b.call("setns", join.pidfd, join.flags & ~CLONE_NEWCGROUP)
    flags = CLONE_PARENT | CLONE_PIDFD | CLONE_FILES | CLONE_VFORK | carrier.SHARED
    # Its pid is told by the kernel: a helper that is killed meanwhile stores nothing.
    arguments = clone.arguments(flags | clone.CLONE_PARENT_SETTID, PIDFD, tid=CLONED)
    inside, outside = Label(), Label()
    # Both store what they get; the helper not before the command's process has ended or runs.
    b.call("clone3", arguments, len(arguments), out=_COMMAND)
    b.test(_COMMAND, 0xFFFFFFFF, 0, orelse=outside)
    b.jump(inside)
    b.place(outside)
    b.end()
    b.place(inside)
    child.be_born(b)
    for fd in join.procs:
        # 0 is the writer itself, whatever its pid is in which namespace.
        b.call("write", fd, b"0", 1)
    child.wait(b, 1)
    if join.flags & CLONE_NEWCGROUP:
        b.call("setns", join.pidfd, CLONE_NEWCGROUP)
    child.become_root(b)
    b.call("umask", 0)
    b.call("openat", AT_FDCWD, "/", DIRECTORY | os.O_CLOEXEC, out=ROOT, path="/")
