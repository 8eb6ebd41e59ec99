"""``exec``: a further command in a running container, its streams and its end."""

from __future__ import annotations

import errno
import os
import secrets
import select
import stat
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from knarr import errors
from knarr.closing import Closing
from knarr.engine import events, execprocess, host, runtimes, serial
from knarr.engine.launchfailure import explained
from knarr.engine.model import RunResult, Usage
from knarr.engine.pump import write_all
from knarr.engine.state import refuse_restarting
from knarr.engine.translate import translated
from knarr.supervisor.client import ExecSession as Session
from knarr.supervisor.client import LaunchFailed

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine
    from knarr.engine.model import ExecConfig

CHUNK = 65536
KILLED = 137
_NULL_DEVICE = (1, 3)


class ExecSession(Closing):
    """A command that runs in a container.

    pid: on the host. master: the terminal's descriptor (``tty``), else -1. Streams that may not
    be handed into the container as they are get a pipe, and ``pump`` moves the
    bytes; so call it (or ``wait``, which does) until the command has ended.
    """

    def __init__(self, session: Session, relays: dict[int, int], source: tuple[int, int] | None):
        self._session = session
        self.pid = session.pid
        self.master = session.master
        self._relays = relays  # descriptor to read -> where its bytes go
        self._source = source  # (the caller's stdin, our end of the pipe)
        self.exit_code: int | None = None
        self.usage = Usage()

    def fileno(self) -> int:
        """Return a descriptor that is readable once the command has ended."""
        return self._session.fileno()

    def signal(self, number: int) -> None:
        """Send a signal to the command; one that has ended is no error."""
        self._session.signal(number)

    def kill(self) -> None:
        """Kill the command and everything it started."""
        self._session.kill()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal, in characters."""
        self._session.resize(rows, columns)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, moving bytes meanwhile.

        timeout: seconds. Raises Timeout (the command goes on), Unavailable when
        the process that watches it was killed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poller = select.poll()
        poller.register(self._session, select.POLLIN)
        for handle in self._relays:
            poller.register(handle, select.POLLIN)
        if self._source is not None:
            poller.register(self._source[0], select.POLLIN)
        while self.exit_code is None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
            ready = [handle for handle, _ in poller.poll(left)]
            if not ready:
                raise errors.Timeout(f"exec {self.pid}: did not end in {timeout:g} seconds")
            for handle in ready:
                self._handle(handle, poller)
        self._drain()
        return self.exit_code

    def _handle(self, handle: int, poller: select.poll) -> None:
        if handle in self._relays:
            if not self._move(handle):
                poller.unregister(handle)
        elif self._source is not None and handle == self._source[0]:
            self._feed(poller)
        elif handle == self._session.fileno():
            self._end()

    def _end(self) -> None:
        try:
            report = self._session.wait()
        except LaunchFailed as error:
            raise errors.Unavailable(f"exec {self.pid}: {error.message}") from error
        self.usage = serial.usage(report.get("usage"))
        self.exit_code = int(report["exit_code"])

    def _move(self, handle: int) -> bool:
        """Pass one chunk on; False at the end of the stream."""
        try:
            data = os.read(handle, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False  # EIO: nobody has the terminal open any more
        if data:
            write_all(self._relays[handle], data)
        return bool(data)

    def _feed(self, poller: select.poll) -> None:
        assert self._source is not None
        ours, theirs = self._source
        try:
            data = os.read(ours, CHUNK)
        except OSError:
            data = b""
        try:
            if data:
                write_all(theirs, data)
                return
        except BrokenPipeError:
            pass  # the command does not read any more
        poller.unregister(ours)
        if theirs != self.master:
            os.close(theirs)
        self._source = None

    def _drain(self) -> None:
        """Pass on what the command wrote last; what it left running is not waited for."""
        for handle in self._relays:
            os.set_blocking(handle, False)
            while select.select([handle], [], [], 0)[0] and self._move(handle):
                continue

    def close(self) -> None:
        """Let go of the command, which goes on if it still runs."""
        for handle in self._relays:
            if handle != self.master:
                os.close(handle)
        self._relays = {}
        if self._source is not None and self._source[1] != self.master:
            os.close(self._source[1])
        self._source = None
        self._session.close()
        self.master = -1


class Ends(NamedTuple):
    """The caller's descriptors for a command's streams, None is /dev/null.

    size: rows and columns of its terminal. by_name: pipes are relayed too, so that the command
    can open them as /dev/stdout.
    """

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    size: tuple[int, int] | None = None
    by_name: bool = False


def start(engine: Engine, container: Container, config: ExecConfig, ends: Ends) -> ExecSession:
    """Start a command in the container.

    Sockets and pipes are handed in. Files and terminals are relayed, since a program with rights
    over them could open them anew for more than it was given; pipes that are not everybody's are
    where ``ends`` asks for it, since the command, being somebody else inside, could not open them
    as /dev/stdout.
    Raises Conflict when the container does not run, CommandNotFound, NotExecutable,
    UnknownUser, InvalidArgument, RefusedByPolicy.
    """
    state = container.state
    if not state.running:
        refuse_restarting(state, container.id)
        raise execprocess.not_running(container.id)
    if state.paused:
        raise errors.Conflict(
            f"Container {container.id} is paused, unpause the container before exec"
        )
    with translated(f"container {container.name}"), execprocess.gone_is_not_running(container):
        process, linux = execprocess.build(container.paths, state, config)
        rules = engine.policy.rules()
        if rules is not None:
            rules.command(process, privileged=config.privileged)
        if ends.size is not None and config.tty:
            process["consoleSize"] = {"height": ends.size[0], "width": ends.size[1]}
        foreign = runtimes.is_foreign(container.record.config)
        with _Streams(relayed=foreign and ends.by_name) as streams:
            body: dict[str, Any] = {
                "id": container.id,
                "run_dir": container.paths.run,
                "exec_id": f"exec-{secrets.token_hex(8)}",
                "process": process,
                "linux": linux,
                "fds": None if config.tty else streams.pass_in(ends),
                "seccomp": streams.add_filter(container.paths.filter)
                if "seccomp" in linux and not foreign
                else None,
            }
            command = " ".join(config.command)
            for action in ("exec_create", "exec_start"):
                events.note(
                    engine, container.record, f"{action}: {command}", execID=body["exec_id"]
                )
            try:
                session = engine.launcher.exec(body, streams.handles)
            except LaunchFailed as failure:
                # setns sees it gone before others see its end
                gone = failure.errno == errno.ESRCH
                if gone or not host.is_alive(state.pid, state.start_time):
                    raise execprocess.not_running(container.id) from failure
                raise explained(failure, container.name, inside=True) from failure
            return streams.session(session, ends)


def run(
    engine: Engine,
    container: Container,
    config: ExecConfig,
    *,
    input: bytes | None = None,
    timeout: float | None = None,
) -> RunResult:
    """Run a command to its end and return what it wrote; see ``Container.exec_run``."""
    with _Capture(input) as capture:
        ends = Ends(capture.stdin, capture.stdout, capture.stderr)
        with start(engine, container, config, ends) as session:
            return capture.collect(session, timeout)


class _Streams:
    """The descriptors that go with an exec: handed in as they are, or by way of a pipe."""

    def __init__(self, *, relayed: bool) -> None:
        """relayed: all but /dev/null is, as another runtime writes its complaints there too."""
        self.relayed = relayed
        self.handles: list[int] = []
        self._owned: list[int] = []
        self._relays: dict[int, int] = {}
        self._source: tuple[int, int] | None = None
        self._by_name = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for handle in self._owned:
            os.close(handle)
        if kind is not None:
            for handle in self._relays:
                os.close(handle)
            if self._source is not None:
                os.close(self._source[1])

    def pass_in(self, ends: Ends) -> list[int]:
        """Return the indexes of the command's three streams in the message."""
        self._by_name = ends.by_name
        given = [self._input(ends.stdin), self._output(ends.stdout)]
        # One pipe for one place: what is written to both arrives in its order.
        same = _same(ends.stdout, ends.stderr)
        return [*given, given[1] if same else self._output(ends.stderr)]

    def add_filter(self, path: str) -> int:
        return self._own(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def session(self, session: Session, ends: Ends) -> ExecSession:
        """Return the session; a terminal is relayed between the caller's two streams."""
        if session.master >= 0:
            self._relays = {} if ends.stdout is None else {session.master: ends.stdout}
            self._source = None if ends.stdin is None else (ends.stdin, session.master)
        return ExecSession(session, self._relays, self._source)

    def _input(self, handle: int | None) -> int:
        if handle is None:
            return self._own(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        if self._may_be_handed_in(handle, stat.S_IROTH):
            return self._add(handle)
        reader, writer = _inlet()
        self._source = (handle, writer)
        return self._own(reader)

    def _output(self, handle: int | None) -> int:
        if handle is None:
            return self._own(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC))
        if self._may_be_handed_in(handle, stat.S_IWOTH):
            return self._add(handle)
        reader, writer = _outlet()
        self._relays[reader] = handle
        return self._own(writer)

    def _may_be_handed_in(self, handle: int, right: int) -> bool:
        """Return True for sockets, /dev/null and pipes; where it is asked for, everybody's only.

        Opening them anew gives the command nothing more.
        """
        info = os.fstat(handle)
        if stat.S_ISCHR(info.st_mode):
            return (os.major(info.st_rdev), os.minor(info.st_rdev)) == _NULL_DEVICE
        if self.relayed:
            return False
        if stat.S_ISFIFO(info.st_mode):
            return not self._by_name or bool(info.st_mode & right)
        return stat.S_ISSOCK(info.st_mode)

    def _own(self, handle: int) -> int:
        self._owned.append(handle)
        return self._add(handle)

    def _add(self, handle: int) -> int:
        self.handles.append(handle)
        return len(self.handles) - 1


def _same(one: int | None, other: int | None) -> bool:
    """Return whether two descriptors are of one pipe or file."""
    return one is not None and other is not None and os.path.sameopenfile(one, other)


def _outlet() -> tuple[int, int]:
    """Return a pipe that a command may open anew as /dev/stdout, whoever it runs as."""
    ends = os.pipe()
    os.fchmod(ends[1], 0o622)
    return ends


def _inlet() -> tuple[int, int]:
    """Return a pipe that a command may open anew as /dev/stdin, whoever it runs as."""
    ends = os.pipe()
    os.fchmod(ends[0], 0o644)
    return ends


class _Capture:
    """Pipes that feed a command its input and keep its output."""

    def __init__(self, input: bytes | None) -> None:
        self._input = memoryview(input or b"")
        self._ends: dict[int, list[bytes]] = {}
        self._open: set[int] = set()
        self._writer = -1
        self.stdin: int | None = None
        if input is not None:
            self.stdin, self._writer = self._keep(_inlet())
            os.set_blocking(self._writer, False)
        self._out, self.stdout = self._keep(_outlet())
        self._err, self.stderr = self._keep(_outlet())
        self._ends = {self._out: [], self._err: []}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._open:
            os.close(handle)

    def _keep(self, ends: tuple[int, int]) -> tuple[int, int]:
        self._open.update(ends)
        return ends

    def _close(self, handle: int) -> None:
        self._open.discard(handle)
        os.close(handle)

    def collect(self, session: ExecSession, timeout: float | None) -> RunResult:
        """Return the result once the command has ended; kill it when time is up."""
        for handle in (self.stdin, self.stdout, self.stderr):
            if handle is not None:
                self._close(handle)
        poller = select.poll()
        poller.register(session, select.POLLIN)
        for handle in self._ends:
            poller.register(handle, select.POLLIN)
        if self._writer >= 0:
            poller.register(self._writer, select.POLLOUT)
        deadline = None if timeout is None else time.monotonic() + timeout
        timed_out = False
        while session.exit_code is None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
            ready = [handle for handle, _ in poller.poll(left)]
            if not ready:
                timed_out, deadline = True, None
                session.kill()
            for handle in ready:
                self._handle(handle, poller, session)
        for handle in self._ends:
            os.set_blocking(handle, False)
            while self._read(handle):
                continue
        output = [b"".join(chunks) for chunks in self._ends.values()]
        return RunResult(output[0], output[1], session.exit_code, session.usage, timed_out)

    def _handle(self, handle: int, poller: select.poll, session: ExecSession) -> None:
        if handle in self._ends:
            if not self._read(handle):
                poller.unregister(handle)
        elif handle == self._writer:
            self._write(poller)
        else:
            session.wait()

    def _read(self, handle: int) -> bool:
        try:
            data = os.read(handle, CHUNK)
        except BlockingIOError:
            return False
        self._ends[handle].append(data)
        return bool(data)

    def _write(self, poller: select.poll) -> None:
        try:
            self._input = self._input[os.write(self._writer, self._input[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = self._input[:0]
        if not self._input:
            poller.unregister(self._writer)
            self._close(self._writer)
            self._writer = -1
