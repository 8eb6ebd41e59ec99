"""A further process in a running container: enter its namespaces, fork, become the command.

The caller is a short-lived process of its own, since it stays in the container's
mount, user and network namespaces; the command becomes its parent's child. It
made itself non-dumpable before it entered, so that nothing inside can look
into it or reach the interpreter through /proc (CVE-2016-9962, CVE-2019-5736).
"""

import os
import signal

from knarr.errors import KnarrError
from knarr.kernel import process
from knarr.kernel.clone import CLONE_PARENT, clone3
from knarr.kernel.namespaces import CLONE_NEWCGROUP, setns
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import finalleg
from knarr.runtime.channel import Channel
from knarr.runtime.child import forbid_imports, report
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.finalleg import FinalLeg
from knarr.runtime.process import Created
from knarr.runtime.steps.base import Context, Step


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


def create(join: Join) -> Created:
    """Return the new process at its gate. Raises RuntimeFailure and OSError."""
    process.set_dumpable(False)
    forbid_imports()
    setns(join.pidfd, join.flags & ~CLONE_NEWCGROUP)
    ours, theirs = Channel.pair()
    pid, pidfd = clone3(CLONE_PARENT)
    if pid == 0:
        ours.close()
        _main(join, theirs)
    theirs.close()
    created = Created(pid, pidfd, ours, sibling=True)
    try:
        ours.send({"go": True})
        try:
            message, fds = ours.receive()
        except EOFError:
            raise RuntimeFailure("error", "exec", "the process ended before it was ready") from None
        if "error" in message:
            raise RuntimeFailure.from_dict(message["error"])
        created.master = fds[0] if fds else -1
    except BaseException:
        created.abort()
        raise
    return created


def _main(join: Join, channel: Channel) -> None:
    """Be the process inside; never returns."""
    try:
        process.set_pdeathsig(signal.SIGKILL)
        for fd in join.procs:
            # 0 is the writer itself, whatever its pid is in which namespace.
            os.write(fd, b"0")
        channel.receive()
        _prepare(join, channel)
    except EOFError:
        os._exit(1)
    except RuntimeFailure as error:
        report(channel, error)
    except KnarrError as error:
        report(channel, RuntimeFailure("error", "exec", str(error)))
    except OSError as error:
        text = f"exec: {error.strerror or error}"
        report(channel, RuntimeFailure("error", "exec", text, error.errno or 0))
    except BaseException as error:  # a defect must end this process, never return into the caller
        report(channel, RuntimeFailure("error", "exec", f"exec: {type(error).__name__}: {error}"))
    os._exit(1)


def _prepare(join: Join, channel: Channel) -> None:
    if join.flags & CLONE_NEWCGROUP:
        setns(join.pidfd, CLONE_NEWCGROUP)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.set_dumpable(False)
    process.set_pdeathsig(signal.SIGKILL)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    context = Context(root, -1, {}, in_userns=True)
    context.env = join.leg.environment()
    for step in join.steps:
        step.execute(context)
    assert context.user is not None
    stdio = join.stdio
    if context.master >= 0:
        os.fchown(context.slave, context.user.uid, -1)
        channel.send({"ready": True}, [context.master])
        stdio = (context.slave,) * 3
    else:
        channel.send({"ready": True})
    message, _ = channel.receive()
    if not message.get("start") or stdio is None:
        os._exit(0)
    finalleg.set_lsm_label(join.leg, -1)
    finalleg.prepare_stdio(stdio, join.leg)
    finalleg.run(join.leg, context.user, context.env, join.program, channel)
