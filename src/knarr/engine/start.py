"""``start``: a prepared container becomes a running one, by one message to the launcher."""

from __future__ import annotations

import _socket
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import (
    accounts,
    arriving,
    binds,
    create,
    events,
    halfstarted,
    health,
    host,
    logconfig,
    restartrules,
    runtimes,
    sharing,
    stop,
    waiting,
)
from knarr.engine.afterwards import command
from knarr.engine.attach import Attachment
from knarr.engine.blueprint import with_console_size
from knarr.engine.crashpoint import reached
from knarr.engine.launchfailure import explained
from knarr.engine.paths import Paths, prepare_run_root
from knarr.engine.ports import starting as ports
from knarr.engine.state import note_failed_start, read_state_file
from knarr.engine.translate import from_oserror, translated
from knarr.supervisor import undo
from knarr.supervisor.client import LaunchFailed

if TYPE_CHECKING:
    from knarr.engine.create import Prepared
    from knarr.engine.engine import Engine
    from knarr.engine.policy.check import CheckBind
    from knarr.engine.records import ContainerRecord
    from knarr.runtime.channel import Channel
    from knarr.runtime.users import ResolvedUser


_log = logging.getLogger("knarr.engine")
_TRIES = 5


@dataclass(slots=True)
class _Request:
    """The launcher's request while it grows: its keys and the descriptors that go with it.

    line: the connection on which it was announced. apart: all namespaces of the container are
    its own, so that they can be made ahead. foreign: another OCI runtime makes it. ours:
    the client's end of an attachment. watch: see ``start``.
    """

    body: dict[str, Any] = field(default_factory=dict)
    handles: list[int] = field(default_factory=list)
    line: Channel | None = None
    apart: bool = False
    foreign: bool = False
    ours: _socket.socket | None = None
    watch: Callable[[], None] | None = None

    def announce(self, engine: Engine, record: ContainerRecord, paths: Paths) -> None:
        """Say that it is going to be made. Raises LaunchFailed."""
        self.apart = record.id_slot is not None and sharing.has_own_network(record.config)
        self.foreign = runtimes.is_foreign(record.config)
        self.line = engine.launcher.announce(paths.run, apart=self.apart, foreign=self.foreign)

    def add(self, handle: int) -> int:
        """Take a descriptor over; return its index in the message."""
        self.handles.append(handle)
        return len(self.handles) - 1

    def add_attachment(self) -> None:
        """Have a client attached from the first byte."""
        kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        self.ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
        self.body["attach"] = self.add(theirs.detach())

    def close(self) -> None:
        """Let go of what is only sent; who was to carry it out ends, if it was not."""
        if self.line is not None:
            self.line.close()
        while self.handles:
            os.close(self.handles.pop())

    def fail(self) -> None:
        """Let go of everything."""
        self.close()
        if self.ours is not None:
            self.ours.close()


def start(
    engine: Engine,
    record: ContainerRecord,
    *,
    attach: bool,
    prepared: Prepared | None = None,
    kill_on_hangup: bool = False,
    size: tuple[int, int] | None = None,
    again: dict[str, Any] | None = None,
    watch: Callable[[], None] | None = None,
) -> Attachment | None:
    """Start the container; return the first attachment when ``attach`` is set.

    The caller holds the container's lock. prepared: what ``create.load`` returns, where it is
    known. With kill_on_hangup the container is killed when the attachment is closed, however
    this process ends. size: rows and columns that its terminal, if it has one, is to have from
    the first moment. again: which start this is after how many ends, where nobody but its
    policy asked for it. watch: called when it runs, and before its command has done anything,
    where the kernel lets us hold it; the start is timed for it. Raises CommandNotFound,
    NotExecutable, UnknownUser, NotModified (already running), RefusedByPolicy (as policies are
    now), Internal (its spec is damaged) and what the kernel or the launcher says; the container is
    as before then, and its state has why.
    """
    paths = Paths(engine.settings, record.id)
    began = time.monotonic_ns()
    with translated(f"container {record.name}"):
        results = health.before(paths)  # they are in the directory that is cleared
        clear_run_directory(record, paths)
        ended = not record.auto_remove and _set_exit_aside(paths)
        reached("start.rundir")
        if again is None and not record.auto_remove:
            restartrules.set_stopped(paths, stopped=False)
        # The note of a start matters after a power loss only: it need not hold up the launcher.
        note = None if record.auto_remove else partial(_note_start, engine, record)
        request = _Request()
        try:
            # Who makes containers is awake by the time the request is complete.
            request.announce(engine, record, paths)
            reached("start.announced")
            prepared = prepared or create.load(engine, record)
            request.body = _body(engine, prepared, kill_on_hangup)
            if request.foreign:
                request.body["runtime"] = runtimes.request(engine.settings, record.config)
            if again is not None:
                request.body["restart"] = again
            if watch is not None:
                request.body["timed"] = began
                request.watch = watch
            answer = _launch(request, engine, prepared, results, note, attach=attach, size=size)
        except BaseException as error:
            request.fail()  # first: whoever was to make it has its run directory
            _leave_nothing(engine, record, paths)
            if ended:
                os.rename(paths.exit_before, paths.exit)
            failure = _as_ours(error, record.name)
            if note is not None:
                engine.table.mark_started(record.id, record.started, record.boot_id)
                if failure is not None:
                    note_failed_start(record, paths, failure)
            if failure is None or failure is error:
                raise
            raise failure from error
        finally:
            request.close()
        reached("start.launched")
        if ended:
            os.unlink(paths.exit_before)
    for warning in answer["warnings"]:
        _log.warning("container %s: %s", record.name, warning)
    return None if request.ours is None else _attached(engine, record, request.ours)


def _launch(
    request: _Request,
    engine: Engine,
    prepared: Prepared,
    results: list[dict[str, Any]],
    note: Callable[[], None] | None,
    *,
    attach: bool,
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """Complete the request and have the launcher carry it out; return the answer."""
    record, paths = prepared.record, prepared.paths
    user, allowed = _permitted(engine, prepared)
    spec = prepared.spec(user)
    if size is not None and record.config.tty:
        spec = with_console_size(spec, *size)
    with _networks(engine, record, request.body):
        _add_handles(request, engine, prepared, allowed)
        attached = attach and not request.body["kill_on_hangup"]
        events.introduce(engine, record, paths, attached=attached)
        _add_settings(request, engine, prepared, spec, results)
        if attach:
            request.add_attachment()
        ports.add(request, engine, record)
        return engine.launcher.start(
            request.body, request.handles, spec=spec, meanwhile=note,
            apart=request.apart, foreign=request.foreign, announced=request.line,
            watch=request.watch,
        )  # fmt: skip


@contextmanager
def _networks(engine: Engine, record: ContainerRecord, body: dict[str, Any]) -> Iterator[None]:
    """Have what the maker needs of networks in the request; they stay while the block runs."""
    if not sharing.has_own_network(record.config) or not sharing.is_networked(record.config):
        yield
        return
    from knarr.engine import egress
    from knarr.engine.networks import names, watched
    from knarr.networks.resolver.client import ensure

    with ExitStack() as stack:
        joined, attachments = stack.enter_context(engine.networks.ready(record))
        if attachments:
            wanted: dict[str, Any] = {"attachments": attachments}
            limits = egress.plan(engine.settings, record)
            if limits is not None:
                wanted["egress"] = limits
            resolver = names.introduce(engine.settings, record, joined, attachments)
            if resolver is not None:
                vigil = watched.words(engine.settings)
                stack.callback(ensure(engine.settings.run_root, vigil=vigil).close)
                wanted["resolver"] = resolver
            elif names.has_rules(joined):
                stack.callback(names.watch_over(engine.settings))
                wanted["watched"] = engine.settings.run_root
            body["network"] = wanted
        yield


def _attached(engine: Engine, record: ContainerRecord, ours: _socket.socket) -> Attachment:
    attachment = Attachment(ours, record.id)
    attachment.on_signal = partial(events.note_signal, engine, record)
    return attachment


def _as_ours(error: BaseException, name: str) -> errors.KnarrError | None:
    """Return a failure as an error of knarr; None for what is none, such as an interrupt."""
    if isinstance(error, LaunchFailed):
        return explained(error, name)
    if isinstance(error, OSError):
        return from_oserror(error, f"container {name}")
    return error if isinstance(error, errors.KnarrError) else None


def _note_start(engine: Engine, record: ContainerRecord) -> None:
    engine.table.mark_started(record.id, time.time_ns(), host.boot_id())


def _permitted(engine: Engine, prepared: Prepared) -> tuple[ResolvedUser | None, CheckBind | None]:
    """Return who the container runs as, if that is known, and what checks its bind mounts.

    Raises UnknownUser, and RefusedByPolicy where a policy forbids it now.
    """
    arriving.watch_if_any(engine)  # first: who the user is may stand in what has not come yet
    user, rules = _known_user(engine, prepared), engine.policy.rules()
    if rules is None:
        return user, None
    from knarr.engine.policy import check

    return check.start(engine, rules, prepared, user), check.binds(rules)


def _known_user(engine: Engine, prepared: Prepared) -> ResolvedUser | None:
    """Return who the container runs as, where its files are still the image's; else None.

    The runtime then looks into the container's own files. Raises UnknownUser.
    """
    record, wanted = prepared.record, prepared.user
    if wanted is None or record.config.binds or record.config.tmpfs:
        return None
    if not engine.driver.is_untouched(record.id):
        return None
    return accounts.resolve_in_image(engine, record, wanted)


def clear_run_directory(record: ContainerRecord, paths: Paths) -> None:
    """Leave an empty run directory. Raises NotModified while the container runs.

    The successor of a supervisor that was killed may come to it meanwhile, to find that there
    is nothing to do; it is waited for, and the directory is cleared once more.
    """
    for _ in range(_TRIES):
        try:
            os.mkdir(paths.run, 0o700)
        except FileNotFoundError:
            prepare_run_root(paths.run_root)
        except FileExistsError:
            _clear(record, paths)
        else:
            return
    raise errors.Unavailable(f"{paths.run}: is being used by somebody else")


def _clear(record: ContainerRecord, paths: Paths) -> None:
    """Remove a run directory that is there."""
    waiting.await_start(paths)
    halfstarted.settle(paths)
    live = read_state_file(paths.state)
    if live is not None and live["status"] == "running":
        raise errors.NotModified(f"container {record.name} is already running") from None
    waiting.await_supervisor(paths)
    undo.replay(paths.run)
    shutil.rmtree(paths.run, ignore_errors=True)


def _leave_nothing(engine: Engine, record: ContainerRecord, paths: Paths) -> None:
    """Clean up after a start that failed, whatever part of it was done and by whom."""
    waiting.await_start(paths)
    stop.kill_held(engine, record, paths)
    waiting.await_supervisor(paths)
    undo.replay(paths.run)
    shutil.rmtree(paths.run, ignore_errors=True)
    _forget_exit(paths)


def _set_exit_aside(paths: Paths) -> bool:
    """Take away how the container ended last; False when there is nothing."""
    try:
        os.rename(paths.exit, paths.exit_before)
    except FileNotFoundError:
        return os.path.exists(paths.exit_before)  # left by a start that was killed
    return True


def _forget_exit(paths: Paths) -> None:
    try:
        os.unlink(paths.exit)
    except FileNotFoundError:
        return


def _body(engine: Engine, prepared: Prepared, kill_on_hangup: bool) -> dict[str, Any]:
    record, paths, config = prepared.record, prepared.paths, prepared.record.config
    return {
        "op": "run",
        "id": record.id,
        "run_dir": paths.run,
        "rootfs": [mount.to_dict() for mount in prepared.rootfs],
        "cgroup": {"manager": engine.settings.cgroup_manager, "path": prepared.cgroup},
        "log": paths.log,
        "overlay_append": bool(engine.machine.features.get("overlay_append")),
        "tty": config.tty,
        "stdin": config.open_stdin,
        "seccomp": None,
        "mount_fds": {},
        "attach": None,
        "kill_on_hangup": kill_on_hangup,
        "on_exit": command(engine.settings, "reap", record.id) if record.auto_remove else None,
        "exit_file": None if record.auto_remove else paths.exit,
        "init": None,
    }


def _add_settings(
    request: _Request,
    engine: Engine,
    prepared: Prepared,
    spec: str,
    results: list[dict[str, Any]],
) -> None:
    """Add what not every container has: a health check, a log driver. Raises OSError."""
    if prepared.checked:
        health.introduce(prepared.paths, spec, results, filtered=prepared.filtered)
        request.body["health"] = True
    if not logconfig.is_plain(prepared.record):
        request.body.update(logconfig.request(engine, prepared.record, prepared.paths))


def _add_handles(
    request: _Request, engine: Engine, prepared: Prepared, allowed: CheckBind | None
) -> None:
    """Add the filter, knarr's init and the bind mounts, if they are allowed, to the message."""
    config = prepared.record.config
    if config.init or config.sandbox:
        request.body["init"] = request.add(os.dup(engine.init_program))
    if prepared.filtered:
        filter_fd = os.open(prepared.paths.filter, os.O_RDONLY | os.O_CLOEXEC)
        request.body["seccomp"] = request.add(filter_fd)
    if not sharing.is_plain(config):
        request.body["namespace_fds"] = {
            kind: request.add(handle)
            for kind, handle in sharing.opened(engine, prepared.record).items()
        }
    opened = binds.open_binds(prepared.binds, config.binds, allowed)
    request.body["mount_fds"] = {
        str(index): request.add(handle) for index, handle in opened.items()
    }
