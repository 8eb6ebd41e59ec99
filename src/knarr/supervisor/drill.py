"""A supervisor's life, gone through before any is forked, with a child that ends at once.

What a function writes to itself the first times it is called (counters of the
interpreter, caches of what it looks up) is written then, and does not become memory
of every supervisor's own; and what supervisors call lies together in few pages.
"""

import gc
import os
import sys

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.runtime import packets
from knarr.supervisor import (
    handover,
    health,
    healthstate,
    journal,
    jsonfile,
    lessons,
    rundir,
    senders,
    spare,
    undo,
    usual,
    wire,
    work,
)
from knarr.supervisor import state as states

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from types import CodeType, FrameType

# What only some supervisors use, and would else import each for itself.
_SOMETIMES = (jsonfile, senders)
# Calls after which the interpreter has adapted a function to what it meets.
ROUNDS = 12
_PREFIX = "drill."


def prepare(run_root: str, end_at_once: "Callable[[_socket.socket], int]") -> None:
    """Go through the life of a supervisor until nothing about it is new.

    end_at_once: forks a child that ends and returns its pid.
    """
    if undo.CRASH_VARIABLE in os.environ:
        return  # this process would meet the points at which others are to die
    _sweep(run_root)
    # Of its own: the template of a launcher that was killed may be at it as well.
    run_dir = f"{run_root}/{_PREFIX}{os.getpid()}"
    os.mkdir(run_dir, 0o700)
    called: dict[CodeType, None] = dict.fromkeys((work.be.__code__, work.stand_by.__code__))

    def note(frame: "FrameType", event: str, _: object) -> None:
        if event == "call":
            called[frame.f_code] = None

    try:
        _live(run_dir, end_at_once)
        sys.setprofile(note)
        try:
            _live(run_dir, end_at_once)
            usual.rehearse()
        finally:
            sys.setprofile(None)
        _gather(called)
        for _ in range(ROUNDS):
            _live(run_dir, end_at_once)
        usual.rehearse()
    finally:
        rundir.remove(run_dir)


def _sweep(run_root: str) -> None:
    """Remove what drills left that were killed."""
    for name in os.listdir(run_root):
        if name.startswith(_PREFIX) and states.start_time(int(name[len(_PREFIX) :])) is None:
            rundir.remove(f"{run_root}/{name}")


def _gather(called: "dict[CodeType, None]") -> None:
    """Make the code of what was called anew, so that it lies together."""
    kind = type(_gather)
    for function in gc.get_objects():
        if type(function) is kind and function.__code__ in called:
            function.__code__ = function.__code__.replace()


def _live(run_dir: str, end_at_once: "Callable[[_socket.socket], int]") -> None:
    """Be given a container that ends at once, watch it, record its end."""
    launcher, sock = packets.pair()
    maker, ours = packets.pair()
    requests, _ = packets.pair()
    caller, other = packets.pair()
    caller.send(b"? ")
    lessons.hear(other)
    pid, pid_of_maker = end_at_once(caller), end_at_once(caller)
    pidfd = kprocess.pidfd_open(pid)
    states.write(run_dir, {"status": states.RUNNING, "pid": pid, "started_at": 0, "tty": False})
    with open(f"{run_dir}/{journal.ACTOR}", "w") as file:
        file.write(f'{run_dir}/{journal.NAME}\n{{"ID":"","Attributes":{{"name":""')
    spare.Spare(-1, launcher, requests).give(wire.RUN_APART, run_dir, caller)
    _hand_over(maker, pid, pidfd, f"{run_dir}/exit.json")
    work.attend(sock, ours, pid_of_maker)
    _be_checked(run_dir)
    _account()
    for end in (maker, caller, other):
        end.close()


def _account() -> None:
    """Read what the machine's own group has used, as of a container's that has ended."""
    try:
        used = cgroups.detect("auto").usage("")
    except (OSError, ValueError):
        return  # a machine without groups, or one that keeps them from us
    states.ended(b"", code=0, oom_killed=False, error="", usage=used)


def _be_checked(run_dir: str) -> None:
    """Begin with health checks, so that who makes some has the code for it, and make none."""
    states.replace(run_dir, healthstate.encode_check({}), healthstate.CHECK)
    monitor = health.Monitor(run_dir, fresh=True)
    monitor.turn()
    monitor.close()


def _hand_over(to: "_socket.socket", pid: int, pidfd: int, exit_file: str) -> None:
    """Send what the maker of a container sends."""
    client, listener = packets.pair()
    pipes = (*os.pipe(), *os.pipe(), *os.pipe())
    out, _, err, _, _, stdin = pipes
    given = handover.Handover(
        pid=pid, pidfd=pidfd, listener=listener.fileno(), out=out, err=err,
        stdin=stdin, client=client.fileno(), terminal=False, owner=False, log="/dev/null",
        manager="none", cgroup="", exit_file=exit_file, keeper=0,
    )  # fmt: skip
    handover.send(to, given)
    handover.confirm(to, out)
    client.close()
    listener.close()
    for fd in (pidfd, *pipes):
        os.close(fd)
