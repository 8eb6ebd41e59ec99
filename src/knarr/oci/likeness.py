"""Whether a command means the same here as where it was called, and what can be taken over.

A worker of the server (``server``) carries out a command in place of the process that was called
for it. What a container or a hook would have inherited from that one it has to inherit from the
worker: what can be taken over is, and where anything else differs the caller does it itself.
"""

import os
import resource

from knarr.kernel import process
from knarr.kernel.lean import signal
from knarr.oci import commands, document, options, rootless
from knarr.warm.request import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.oci.options import Words

_MAKING = ("create", "run")
# Commands whose processes are the worker's to wait for, or cloned by the caller's deputy.
_SERVED = ("create", "run", "start", "state", "kill", "delete", "list", "pause", "resume")
# Flags with which the container has more of its caller than can be handed on.
_OWN = ("preserve-fds", "console-socket", "help")
# Lines of /proc/PID/status that a child has of its parent (proc_pid_status(5)).
_STATUS = (
    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
    "Seccomp", "Seccomp_filters", "Speculation_Store_Bypass", "SpeculationIndirectBranch",
    "THP_enabled",
)  # fmt: skip
_RAW = ("attr/current", "personality", "coredump_filter", "timerslack_ns")
# An interpreter ignores them anyway; the others nobody can ignore.
_SETTLED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP)
# What a word may be written with so that it is not found: escaped letters (RFC 8259), wider ones.
_OTHERWISE = (rb"\u006", rb"\u007", b"\0")
_LIMITS = 16  # RLIM_NLIMITS in the kernel's resource.h


class Asked:
    """A command line of process ``pid`` that may be carried out here.

    before: what is said before the command. mine: what ``inherited`` says of this process.
    blocked: whether the caller had signals blocked, which a hook has from it. Raises
    Refused where it may not, UsageError for what is no command line, OSError where the process
    has gone.
    """

    __slots__ = ("_apart", "_deaf", "_elsewhere", "_name", "_pid", "_root", "_words", "blocked")

    def __init__(self, pid: int, before: "Words", mine: "list[object]") -> None:
        self._pid = pid
        self.blocked = self._deaf = False
        self._name, self._words, self._root = _read(before)
        if mine != inherited(str(pid)):
            raise Refused
        here, there = (_raw(who, "cgroup").splitlines() for who in ("self", str(pid)))
        self._elsewhere = here != there
        # On hybrid machines a container need not join a group of v2: it stays in its caller's.
        self._apart = len(here) > 1 and here[-1:] != there[-1:]

    def take_over(self) -> None:
        """Have this process be as the caller is. Raises Refused where it may not, OSError."""
        try:
            for number in range(_LIMITS):
                limits = resource.prlimit(self._pid, number)
                if limits != resource.getrlimit(number):
                    resource.setrlimit(number, limits)
            os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, self._pid))
            where = os.sched_getaffinity(self._pid)
            if where != os.sched_getaffinity(0):
                os.sched_setaffinity(0, where)
                if where != os.sched_getaffinity(0):
                    raise Refused  # of another cpuset
            self._ignore()
            for name in ("oom_score_adj", "loginuid"):
                said = _raw(str(self._pid), name)
                if said != _raw("self", name):
                    with open(f"/proc/self/{name}", "wb", 0) as file:
                        file.write(said)
        except (OSError, ValueError):
            raise Refused from None  # this one may not, or the caller has gone
        self._look()

    def _ignore(self) -> None:
        """Ignore the signals that the caller does, and no others: they stay so in its children."""
        ignored = int(_lines(str(self._pid))["SigIgn"], 16)
        for number in signal.valid_signals() - set(_SETTLED):
            wanted = bool(ignored >> number - 1 & 1)
            self._deaf |= wanted
            if wanted is not (signal.getsignal(number) == signal.SIG_IGN):
                signal.signal(number, signal.SIG_IGN if wanted else signal.SIG_DFL)

    def _stays(self) -> bool:
        """Return whether a container's process is to be the worker's own."""
        return self._name == "run" and not self._words.has("detach")

    def _look(self) -> None:
        """Raise Refused for what only the caller can do; the working directory is its own.

        A terminal is watched for its size; and hooks stay in the groups of who starts them.
        """
        if self._name in _MAKING:
            # Descriptors that did not come along (sd_listen_fds(3)).
            if "LISTEN_FDS" in os.environ:
                raise Refused
            # Who stays passes on all signals; the client those that come to it.
            if self._stays() and (self._apart or self.blocked or self._deaf):
                raise Refused
            bundle = self._words.text("bundle", ".")
            path = os.path.join(bundle, self._words.text("config", document.NAME))
        elif self._name in ("start", "delete") and len(self._words.words) == 1:
            path = os.path.join(self._root, self._words.words[0], document.NAME)
        else:
            return
        try:
            with open(document.opened(path), "rb") as file:
                data = file.read(document.LIMIT) or b""
        except (OSError, ValueError):
            return  # what there is to say of that is said by the command
        if any(sign in data for sign in _OTHERWISE):
            raise Refused
        if (self._elsewhere or self.blocked) and b'"hooks"' in data:
            raise Refused
        if self._name in _MAKING and b'"terminal":true' in data.translate(None, b" \t\r\n"):
            raise Refused


def _read(before: "Words") -> "tuple[str, Words, str]":
    """Return command, what is said to it, and the root. Raises Refused, UsageError."""
    if not before.words or before.has("help") or before.has("version"):
        raise Refused
    name, *left = before.words
    # Without groups, processes stay in those of who starts them.
    if name not in _SERVED or before.text("cgroup-manager") == "disabled":
        raise Refused
    _, flags, short, _, _ = commands.COMMANDS[name]
    said = options.parse(left, {**flags, "help": False}, {"h": "help", **short})
    if any(said.given(flag) for flag in _OWN):
        raise Refused
    if name == "run" and said.given("no-new-keyring") and not said.has("detach"):
        raise Refused  # it would be the worker's
    return name, said, os.path.abspath(before.text("root") or rootless.default_root(os.environ))


def inherited(who: str) -> "list[object]":
    """Return what a child of a process would have of it and cannot be taken over. OSError."""
    said = _lines(who)
    pid = 0 if who == "self" else int(who)
    return [
        [os.stat(f"/proc/{who}/ns/{name}").st_ino for name in os.listdir(f"/proc/{who}/ns")],
        [said.get(name) for name in _STATUS],
        [_raw(who, name) for name in _RAW],
        [os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority],
        process.io_priority(pid),
    ]


def _lines(who: str) -> "dict[str, str]":
    """Return what /proc/PID/status says, by name."""
    lines = _raw(who, "status").decode("ascii", "replace").splitlines()
    return dict(line.partition(":")[::2] for line in lines)


def _raw(who: str, name: str) -> bytes:
    """Return what a file of a process says, nothing where the kernel has no such file."""
    try:
        fd = os.open(f"/proc/{who}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return b""  # attr/current without a security module
    finally:
        os.close(fd)
