"""``exec``: a further process in a container, in the foreground or left to whoever called.

What it enters is looked up, never written down by the container; what it is comes from
``execprocess``; ``runtime.join`` does it.
"""

import os

from knarr.errors import Conflict
from knarr.kernel import caps, process
from knarr.kernel.namespaces import CLONE_NEWTIME, CLONE_NEWUSER, NAMESPACES, setns
from knarr.kernel.process import EVERY_PROCESSOR
from knarr.oci import config as configs
from knarr.oci import document, execgroup, state, streams
from knarr.oci.checks import check_process
from knarr.oci.errors import UsageError, missing, not_running
from knarr.oci.execprocess import process_of
from knarr.oci.fields import named
from knarr.oci.filters import filter_of, listener_of, notifies
from knarr.oci.rootless import is_unprivileged
from knarr.oci.sockets import Receiver
from knarr.runtime import ends
from knarr.runtime.entering import host_id, shares_mounts, user_maps
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.join import Join, Joined, start
from knarr.runtime.processplan import (
    exec_steps,
    final_leg,
    unknown_capabilities,
    withheld_capabilities,
)
from knarr.runtime.rlimits import set_score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.oci.commands import Global
    from knarr.oci.log import Journal
    from knarr.oci.options import Words
    from knarr.oci.state import Container

_STREAMS = (0, 1, 2)
_ALIVE = ("created", "running", "paused")


def execute(said: "Global", words: "Words") -> int:
    """Carry the command out; returns the program's status, 0 for one that is left alone."""
    if not words.words:
        raise UsageError("expected the container's id and a command")
    name = words.words.pop(0)
    container = state.load(said.root, name)
    _check(container, ignore_paused=words.has("ignore-paused"))
    try:
        config = configs.read(container.file(document.NAME))
    except FileNotFoundError:
        missing(name)  # removed meanwhile
    request = _Request(container, config, words)
    streams.arrange_descriptors(request.preserved)  # before anything is opened that stays open
    takers = [
        Receiver(os.path.abspath(words.text(flag)), f"--{flag}") if words.text(flag) else None
        for flag in ("console-socket", "pidfd-socket")
    ]
    pid_file = os.path.abspath(words.text("pid-file")) if words.text("pid-file") else ""
    relay = None
    if not words.has("detach"):
        from knarr.oci.foreground import Foreground

        relay = Foreground()
        request.at_gate = relay.prepare
    filtered = filter_of(config, said.root)
    try:
        command = request.start(filtered, said.journal)
        _hand_over(command, takers[0], takers[1], pid_file)
        said.journal.debug(f"exec in {name}, pid {command.pid}")
    except BaseException:
        if relay is not None:
            relay.restore()
        raise
    return 0 if relay is None else relay.wait()


def _check(container: "Container", *, ignore_paused: bool) -> None:
    """Refuse a container that has no process, or whose processes stand still."""
    status = container.status()
    if status not in _ALIVE:
        not_running(container.name, status)
    if status == "paused" and not ignore_paused:
        raise Conflict(
            f'cannot exec in a paused container: "{container.name}" (--ignore-paused does)'
        )


class _Request:
    """One command line, read and checked."""

    __slots__ = (
        "at_gate",
        "config",
        "container",
        "leg",
        "listening",
        "places",
        "preserved",
        "process",
    )

    def __init__(self, container: "Container", config: "dict[str, Any]", words: "Words") -> None:
        self.container = container
        self.config = config
        self.at_gate: Callable[[int, int], None] | None = None
        self.process = process_of(words, config)
        _check_terminal(self.process, words.text("console-socket"), detach=words.has("detach"))
        self.places = execgroup.parse(words.texts("cgroup"))
        count = streams.listeners()
        self.listening = bool(count)
        self.preserved = words.number("preserve-fds") + count
        if count:
            _listen(self.process, count)
        check_process(self.process, config.get("linux") or {})
        self.leg = final_leg(self.process, config.get("linux") or {})
        initial, final = self.leg.affinity
        # What this command is bound to is no business of the container's.
        self.leg.affinity = initial, final or EVERY_PROCESSOR

    def start(self, filtered: "Any", journal: "Journal") -> Joined:
        """Return the command, which runs. Raises Conflict for a container that has ended."""
        container, leg = self.container, self.leg
        for warning in unknown_capabilities(self.process.get("capabilities") or {}, leg):
            journal.warning(warning)
        target = container.process()
        if target < 0:
            not_running(container.name, "stopped")
        root = -1
        try:
            if shares_mounts(self.config.get("linux") or {}):
                root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_CLOEXEC)
            if ends.has_ended(target):
                not_running(container.name, "stopped")  # the pid may be another's by now
            flags = _namespaces(container.pid)
            grantable = caps.permitted(in_userns=bool(flags & CLONE_NEWUSER))
            for warning in withheld_capabilities(leg, grantable):
                journal.warning(warning)
            if flags & CLONE_NEWTIME:
                # Not for who shares memory, as the process does that enters the others.
                setns(target, CLONE_NEWTIME)
            stdio = None if leg.terminal else _STREAMS
            group, procs = execgroup.entered(container, self.places, born=not flags & CLONE_NEWUSER)
            for path in container.values.get("resctrl", {}).get("tasks", ()):
                procs.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            join = Join(
                target, flags & ~CLONE_NEWTIME, procs, leg, exec_steps(self.process), stdio,
                filtered, group=group,
            )  # fmt: skip
            join.root = root
            join.preserved = self.preserved
            join.keyring = container.values["keyring"]
            join.listening = self.listening
            join.at_gate = self.at_gate
            if notifies(self.config):
                state = container.told()
                join.listener = listener_of(self.config, state, first=False)
            if "oomScoreAdj" in self.process:
                self._set_score(join)
            if not leg.terminal:
                join.on_user = self._give_streams
            return start(join)
        except (RuntimeFailure, OSError) as error:
            if ends.has_ended(target):
                not_running(container.name, "stopped")
            raise self._named(error) from error
        finally:
            os.close(target)
            if root >= 0:
                os.close(root)

    def _set_score(self, join: Join) -> None:
        """Have the command's score set; an ordinary user's command has it first, and passes it on.

        The files of a process that nobody may look into belong to root in /proc.
        """
        score = self.process["oomScoreAdj"]
        if not os.geteuid():
            join.score = score
            join.unprivileged = is_unprivileged()
            return
        process.set_dumpable(True)
        try:
            set_score(os.getpid(), score, lenient=True)  # ``create`` has warned of it
        finally:
            process.set_dumpable(False)

    def _named(self, error: RuntimeFailure | OSError) -> Exception:
        steps = exec_steps(self.process)
        return named(steps, error) if isinstance(error, RuntimeFailure) else error

    def _give_streams(self, uid: int, gid: int) -> None:
        """Have the standard descriptors belong to the command's user, as the host knows him."""
        uids, gids = user_maps(self.container.pid)
        streams.give_streams(host_id(uid, uids), host_id(gid, gids))


def _check_terminal(process: "dict[str, Any]", console: str, *, detach: bool) -> None:
    terminal = bool(process.get("terminal"))
    if console and not (terminal and detach):
        raise UsageError("--console-socket: is for a terminal (--tty) and --detach")
    if terminal and detach and not console:
        raise UsageError("a terminal needs --console-socket when nobody stays to relay it")


def _listen(process: "dict[str, Any]", count: int) -> None:
    """Say in the environment how many descriptors there are; its pid comes later."""
    env = process.get("env") or []
    names = ("LISTEN_FDS=", "LISTEN_PID=")
    process["env"] = [*(one for one in env if not one.startswith(names)), f"LISTEN_FDS={count}"]


def _namespaces(pid: int) -> int:
    """Return CLONE_NEW* of the namespaces in which a process is and this one is not."""
    word = 0
    for flag, name in NAMESPACES.values():
        try:
            theirs, ours = (os.stat(f"/proc/{who}/ns/{name}") for who in (pid, "self"))
        except FileNotFoundError:
            continue  # this kernel has none of the kind; or there is no such process any more
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            word |= flag
    return word


def _hand_over(
    command: Joined, console: "Receiver | None", receiver: "Receiver | None", pid_file: str
) -> None:
    """Give the caller what it asked for; what fails is the end of the command."""
    try:
        if console is not None:
            console.send(b"/dev/ptmx", command.master)
        if receiver is not None:
            receiver.send(b"setns", command.pidfd)  # runc's word for it
        if pid_file:
            state.write_new(pid_file, str(command.pid))
    except BaseException:
        ends.kill(command.pidfd)
        os.waitpid(command.pid, 0)
        if pid_file:
            state.remove_pid_file(pid_file, command.pid)
        raise
