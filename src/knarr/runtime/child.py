"""The first process of a container, from clone to execve. Runs in the new namespaces.

It is the only place that carries out a plan's steps. Whatever fails is told to
the parent as one message; the process then ends. Nothing is imported from here
on, since the root, and with it every module path, may be the image's.
"""

import os
import signal
import sys

from knarr.errors import KnarrError
from knarr.kernel import process
from knarr.kernel.namespaces import unshare
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import finalleg
from knarr.runtime.channel import Channel
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.plan import Plan
from knarr.runtime.steps.base import Context
from knarr.runtime.users import ResolvedUser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def forbid_imports() -> None:
    """Make every later import fail: a module found now would be the image's code."""
    sys.path[:] = []
    sys.meta_path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()


def main(
    plan: Plan,
    channel: Channel,
    stdio: "tuple[int, int, int] | None",
    program: "FilterProgram | None",
    init_fd: "int | None",
    enter: "Callable[[], None] | None" = None,
) -> None:
    """Carry ``plan`` out and become the container's program; never returns.

    enter: moves this process into its cgroup; only on v2 does it start there.
    """
    step = "prepare"
    try:
        signal.set_wakeup_fd(-1)
        process.set_dumpable(False)
        process.set_pdeathsig(signal.SIGKILL)
        if enter is not None:
            enter()
        message, fds = channel.receive()
        forbid_imports()
        os.umask(0)
        context = _enter_namespaces(plan, message, fds)
        for item in plan.steps:
            step = item.describe()
            item.execute(context)
        step = "start"
        _become(plan, channel, context, stdio, program, init_fd)
    except RuntimeFailure as error:
        report(channel, error)
    except EOFError:
        os._exit(1)
    except KnarrError as error:
        report(channel, RuntimeFailure("error", step, str(error)))
    except OSError as error:
        text = error.strerror or str(error)
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        report(channel, RuntimeFailure("error", step, f"{step}: {text}{where}", error.errno or 0))
    except (
        BaseException
    ) as error:  # a defect must end this process too, never return into the parent's code
        report(channel, RuntimeFailure("error", step, f"{step}: {type(error).__name__}: {error}"))
    os._exit(1)


def report(channel: Channel, failure: RuntimeFailure) -> None:
    """Tell the parent why this process ends; without a parent it ends at once."""
    try:
        channel.send({"error": failure.to_dict()})
    except OSError:
        # The parent is gone; ending is all that is left to do.
        os._exit(1)


def _enter_namespaces(plan: Plan, message: "dict[str, object]", fds: "list[int]") -> Context:
    """Take over what the parent prepared and become root of the user namespace."""
    indexes = message["mounts"]
    assert isinstance(indexes, list)
    mount_fds = dict(zip(indexes, fds[1:], strict=True))
    # Opened as the host's root still: the directory may be closed to everybody else.
    target = os.open(str(message["target"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    context = Context(fds[0], target, mount_fds, in_userns=plan.in_userns)
    if plan.in_userns:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        process.set_dumpable(False)
        process.set_pdeathsig(signal.SIGKILL)
    if plan.unshare_flags:
        unshare(plan.unshare_flags)
    context.env = plan.leg.environment()
    return context


def _become(
    plan: Plan,
    channel: Channel,
    context: Context,
    stdio: "tuple[int, int, int] | None",
    program: "FilterProgram | None",
    init_fd: "int | None",
) -> None:
    """Report readiness, wait at the gate, run the final leg."""
    user = context.user or ResolvedUser()
    ready = {"ready": True, "uid": user.uid, "gid": user.gid, "warnings": context.warnings}
    if context.master >= 0:
        os.fchown(context.slave, user.uid, -1)
        channel.send(ready, [context.master])
        stdio = (context.slave, context.slave, context.slave)
    else:
        channel.send(ready)
    message, _ = channel.receive()
    if not message.get("start"):
        os._exit(0)
    if stdio is None:
        raise RuntimeFailure("error", "stdio", "no standard descriptors were given")
    finalleg.set_lsm_label(plan.leg, context.proc_fd)
    stdio = (_null() if stdio[0] < 0 else stdio[0], stdio[1], stdio[2])
    finalleg.prepare_stdio(stdio, plan.leg)
    finalleg.run(plan.leg, user, context.env, program, channel, init_fd)


def _null() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
