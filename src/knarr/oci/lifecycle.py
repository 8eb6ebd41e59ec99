"""What happens to a container that was created: start, signals, removal."""

import os
import select

from knarr.errors import Conflict, NotFound
from knarr.kernel.lean import signal
from knarr.kernel.process import pidfd_send_signal
from knarr.oci import document, hooks, interrupts, state
from knarr.oci.control import check_grouped, let_go_on
from knarr.oci.errors import missing, not_running
from knarr.oci.state import Container
from knarr.runtime import ends, fifo
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.oci.log import Journal
    from knarr.runtime.steps.base import Circumstances

_PATIENCE = 10  # seconds for a process to end that was killed
_ALIVE = ("created", "running", "paused")
# Signals that end no process which does not ask for it, or that nobody can ask for (signal(7)).
_HARMLESS = frozenset((0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,
                       signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))  # fmt: skip


def start(container: Container, journal: "Journal") -> None:
    """Let a created container's process become its program. Raises Conflict, RuntimeFailure.

    A hook or an execve that fails is the end of the container: its ``delete`` is left. Signals
    that ask this process to end are held when it returns.
    """
    status = container.status()
    if status != "created":
        raise Conflict(f'cannot start container "{container.name}": it is {status}, not created')
    config = document.kept(container.file(document.NAME))
    if document.hooks(config, "startContainer"):
        from knarr.oci import protection

        protection.be_read_only()  # a child of this one enters; the container has the hook's path
    pidfd = container.process()
    if pidfd < 0:
        not_running(container.name, "stopped")
    try:
        if document.hooks(config, "prestart"):
            _before_start(container, config, journal)
        if document.hooks(config, "startContainer"):
            _start_inside(container, config, pidfd)
        fault = fifo.let_go(container.gate, container.file("cells"))
        if fault[1]:
            raise _failure(container, config, fault)
        if document.hooks(config, "poststart"):
            _after_start(container, config, journal)
        interrupts.hold()
    except BaseException:
        interrupts.hold()
        ends.end(pidfd)
        raise
    finally:
        os.close(pidfd)


def _before_start(container: Container, config: "dict[str, Any]", journal: "Journal") -> None:
    """Run ``prestart`` hooks that belong here; what fails is the end, and ``poststop`` follows.

    Source: runtime.md of version 1.0, "Lifecycle": it goes on where the container is destroyed.
    """
    from knarr.oci.version import starts_with_prestart

    if not starts_with_prestart(config):
        return
    try:
        hooks.run(config, "prestart", container.told("created"))
    except RuntimeFailure:
        interrupts.hold()
        delete(container, journal, force=True)
        raise


def _start_inside(container: Container, config: "dict[str, Any]", pidfd: int) -> None:
    """Run the hooks that are the container's own."""
    from knarr.runtime.entering import shares_mounts
    from knarr.runtime.plan import namespace_flags

    linux = config.get("linux") or {}
    inside = hooks.Inside(container.pid, pidfd, namespace_flags(linux), rooted=shares_mounts(linux))
    process = config.get("process") or {}
    env = list(process.get("env") or ())
    named = [entry for entry in env if entry.startswith("HOME=")]
    if not named or named[-1] == "HOME=":
        env.append(container.values["home"])  # as its program has it
    told = {**config, "process": {**process, "env": env}}
    hooks.run(told, "startContainer", container.told("created"), inside)


def _after_start(container: Container, config: "dict[str, Any]", journal: "Journal") -> None:
    from knarr.oci.version import goes_on_after_poststart

    if goes_on_after_poststart(config):
        hooks.run_all(config, "poststart", container.told("running"), journal)
    else:
        hooks.run(config, "poststart", container.told("running"))


def _failure(
    container: Container, config: "dict[str, Any]", fault: "tuple[int, int]"
) -> RuntimeFailure:
    """Return why a program does not run. fault: what ``fifo.let_go`` returned."""
    from knarr.oci import config as configs
    from knarr.oci.fields import named
    from knarr.oci.filters import notifies
    from knarr.runtime import fifogate

    values = container.values
    plan = configs.plan_of(config, values["bundle"], values["rootfs"], values["moved"])
    gate = fifogate.FifoGate(
        "", "", preserved=values["preserved"], keyring=values["keyring"], notifies=notifies(config)
    )
    return named(plan.steps, fifogate.failure(fault, plan, _seen(container, config), gate))


def _seen(container: Container, config: "dict[str, Any]") -> "Circumstances":
    from knarr.runtime.steps.base import Circumstances

    seen = container.values["seen"]
    return Circumstances(
        None if config["process"].get("terminal") else (0, 1, 2),
        filtered=seen["filtered"],
        directories=tuple(seen["directories"]),
        entrances=seen["entrances"],
    )


def kill(container: Container, number: int, *, everybody: bool = False) -> None:
    """Send a signal to a container's process, or to all in its group. Raises Conflict.

    Without a PID namespace of its own SIGKILL is for all, as nobody ends with the first. Before
    its program runs nobody is there to handle a signal, and the gate hears none but SIGKILL:
    what would end a process ends this one. What stands still dies when it goes on again.
    """
    status = container.status()
    shared = bool(container.values.get("shared"))
    waiting = container.waits()
    if not container.grouped:
        if everybody and (shared or number != signal.SIGKILL):
            check_grouped(container, "kill --all")
    elif status != "creating" and not waiting:
        if everybody or (shared and number == signal.SIGKILL):
            if not _kill_all(container, number) and not everybody:
                not_running(container.name, "stopped")
            return
    if status not in _ALIVE:
        not_running(container.name, status)
    pidfd = container.process()
    if pidfd < 0:
        not_running(container.name, "stopped")
    try:
        deadly = number == signal.SIGKILL or (waiting and number not in _HARMLESS)
        pidfd_send_signal(pidfd, signal.SIGKILL if deadly else number)
        if deadly and status == "paused":
            let_go_on(container)
        if waiting and deadly:
            ends.readable(pidfd)
    except ProcessLookupError:
        not_running(container.name, "stopped")
    finally:
        os.close(pidfd)


def _kill_all(container: Container, number: int) -> bool:
    """Signal all that is left of a container; return whether there was somebody.

    That may be more than its first process, and after it.
    """
    try:
        group = container.group()
    except FileNotFoundError:
        return False
    there = bool(group.procs())
    group.kill(number)
    return there


def delete(container: Container, journal: "Journal", *, force: bool = False) -> None:
    """Remove a container that has ended; with ``force`` also a living one.

    Raises Conflict. Twice the same after a command that was killed half-way.
    """
    status = container.status()
    if status != "stopped" and not force:
        raise Conflict(f'cannot delete container "{container.name}": it is {status}, not stopped')
    pidfd = container.process()
    if pidfd >= 0:
        try:
            ends.kill(pidfd)
            if status == "paused":
                let_go_on(container)  # what stands still does not die
            _await_end(container, pidfd)
        finally:
            os.close(pidfd)
    shares = container.values.get("resctrl", {})
    if shares:
        from knarr.oci import resctrl

        resctrl.remove(shares.get("kept", shares.get("made", [])))
    container.remove_group()
    config: dict[str, Any] = {}
    if container.pid:
        config = document.kept(container.file(document.NAME))
    container.remove()
    hooks.run_poststop(config, container, journal)


def _await_end(container: Container, pidfd: int) -> None:
    """Return when a killed process has ended. Raises Conflict where the kernel does not let it."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        raise Conflict(
            f'cannot delete container "{container.name}": its process {container.pid} was killed '
            "and does not end: it is frozen by others, or waits for a device; try again then"
        )


def remove(root: str, name: str, journal: "Journal", *, force: bool) -> None:
    """Delete a container by its name. Raises NotFound, but with ``force``: then it is gone."""
    try:
        container = state.load(root, name, lock=True)
    except NotFound:
        if force:
            state.discard(root, name)
            return
        raise
    delete(container, journal, force=force)


def number_of(text: str) -> int:
    """Return the number of a signal by name or number; raises InvalidArgument.

    0 is none: it only asks whether somebody is there (kill(2)).
    """
    from knarr.spec import signals

    return 0 if text == "0" else signals.parse(text)


def processes(root: str, name: str) -> "list[int]":
    """Return the ids of a container's processes; raises NotFound."""
    container = state.load(root, name)
    if not container.values:
        missing(name)
    check_grouped(container, "ps")
    try:
        found: list[int] = container.group().procs()
    except FileNotFoundError:
        return []
    return sorted(found)
