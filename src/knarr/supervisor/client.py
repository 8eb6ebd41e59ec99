"""Asking the launcher: how the engine starts containers and commands in them.

The launcher is started on first use, by ``runtime.detached``: whatever threads
the caller has, it is never forked.
"""

import os

from knarr.runtime import detached
from knarr.runtime.channel import Channel
from knarr.supervisor import rundir, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from knarr.config import Settings

SOCKET = "launcher.sock"
_TRIES = 5
_GONE = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError)
_PROGRAM = (
    "from knarr.supervisor.launcher import main; "
    "main(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))"
)


class LaunchFailed(Exception):
    """The launcher's answer is an error.

    kind: ``not-found`` (exit code 127), ``not-executable`` (126), ``directory`` (the
    working directory), ``busy``, ``not-running``, ``invalid`` (a bad value), ``error``,
    ``launcher`` (it did not answer). errno: of the system call that failed, or 0.
    """

    def __init__(self, kind: str, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.errno = errno


class ExecSession:
    """A command that runs in a container. pid: the host's; master: of its terminal, or -1."""

    __slots__ = ("_channel", "master", "pid")

    def __init__(self, channel: Channel, pid: int, master: int) -> None:
        self._channel = channel
        self.pid = pid
        self.master = master

    def fileno(self) -> int:
        """Return a descriptor that is readable once the command has ended."""
        return self._channel.fileno()

    def signal(self, number: int) -> None:
        """Send a signal to the command; one that has ended is no error."""
        self._ask({"signal": number})

    def kill(self) -> None:
        """Kill the command and everything it started."""
        self._ask({"kill": True})

    def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        self._ask({"resize": [rows, columns]})

    def _ask(self, message: "dict[str, Any]") -> None:
        try:
            self._channel.send(message)
        except (BrokenPipeError, ConnectionResetError):
            # It has ended: the exit is waiting to be read.
            return

    def wait(self) -> "dict[str, Any]":
        """Return ``exit_code`` and ``usage`` once it has ended; LaunchFailed when that is lost."""
        try:
            message, _ = self._channel.receive()
        except (EOFError, OSError) as error:
            raise LaunchFailed("launcher", "the command's supervisor was killed") from error
        return message

    def close(self) -> None:
        """Let go of the command, which goes on if it still runs."""
        self._channel.close()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


class Launcher:
    """The launcher of one run root, started when it is not there."""

    def __init__(self, settings: "Settings", python: "str | None" = None) -> None:
        self._settings = settings
        self._python = python

    def announce(self, run_dir: str, *, apart: bool = False, foreign: bool = False) -> Channel:
        """Say that a container is going to be started; return the connection for ``start``.

        Whoever makes it gets ready meanwhile, and takes no harm if the connection is closed
        instead. apart, foreign: see ``start``. Raises LaunchFailed.
        """
        operation = _operation(apart=apart, foreign=foreign)
        return self._connected(lambda sock: wire.announce(sock, operation, run_dir))

    def start(
        self,
        request: "dict[str, Any]",
        fds: "list[int]",
        *,
        spec: "str | None" = None,
        meanwhile: "Callable[[], None] | None" = None,
        apart: bool = False,
        foreign: bool = False,
        announced: "Channel | None" = None,
        watch: "Callable[[], None] | None" = None,
    ) -> "dict[str, Any]":
        """Start a container; returns ``pid``, ``started_at`` (ns) and ``warnings``.

        spec: JSON text for the request's member ``spec``, where it is not there already.
        meanwhile: called once the request is on its way, before the answer is awaited.
        apart: it has user, network, IPC and UTS namespaces of its own; those of the next may
        be made ahead. foreign: another OCI runtime makes it. announced: what ``announce``
        returned for it; it is closed. watch: called when the container runs; with ``timed`` in the
        request its process stands still meanwhile. Raises LaunchFailed, and what ``meanwhile`` and
        ``watch`` raise.
        """
        operation = _operation(apart=apart, foreign=foreign)
        channel, message, _ = self._ask(
            operation, request["run_dir"], request, fds, spec, meanwhile, announced
        )
        try:
            if watch is not None:
                watch()
        finally:
            channel.close()
        return message

    def exec(self, request: "dict[str, Any]", fds: "list[int]") -> ExecSession:
        """Start a command in a running container. Raises LaunchFailed."""
        channel, message, received = self._ask(wire.EXEC, request["run_dir"], request, fds)
        return ExecSession(channel, message["pid"], received[0] if received else -1)

    def adopt(self, run_dir: str) -> bool:
        """Give a container whose supervisor is dead a new one; False when it has ended."""
        channel, message, _ = self._ask(wire.ADOPT, run_dir, {}, [])
        channel.close()
        return bool(message["adopted"])

    def features(self, directory: str) -> "dict[str, Any]":
        """Return what the kernel can do for containers in ``directory`` (``features.probe``)."""
        request = {"directory": directory}
        channel, message, _ = self._ask(wire.FEATURES, directory, request, [])
        channel.close()
        return message

    def quit(self) -> None:
        """Ask the launcher to end; containers go on. Nothing happens when there is none."""
        try:
            channel = Channel(rundir.connect(self._settings.run_root, SOCKET))
        except _GONE:
            return
        try:
            wire.send(channel.sock, wire.QUIT, "-", {}, [])
            channel.receive()
        except (EOFError, OSError):
            # Its end is the answer.
            return
        finally:
            channel.close()

    def _ask(
        self,
        operation: bytes,
        run_dir: str,
        request: "dict[str, Any]",
        fds: "list[int]",
        spec: "str | None" = None,
        meanwhile: "Callable[[], None] | None" = None,
        announced: "Channel | None" = None,
    ) -> "tuple[Channel, dict[str, Any], list[int]]":
        """Return the connection, the answer and its descriptors. Raises LaunchFailed.

        A connection that is reset was closed with the request unread, by a launcher
        that was about to end: asking the next one does nothing twice.
        """

        def send(sock: "_socket.socket") -> None:
            wire.send(sock, operation, run_dir, request, fds, spec)

        for _ in range(_TRIES):
            channel = self._begun(announced, send) or self._connected(send)
            announced = None
            try:
                failure = _failure_of(meanwhile)
                meanwhile = None
                answer = self._answer(channel)
                if failure is not None:
                    raise failure  # only now: whoever takes the start back finds all of it
                return channel, *answer
            except ConnectionResetError:
                channel.close()
            except BaseException:
                channel.close()
                raise
        raise LaunchFailed("launcher", "the launcher cannot be reached")

    @staticmethod
    def _begun(
        channel: "Channel | None", send: "Callable[[_socket.socket], None]"
    ) -> "Channel | None":
        """Return a connection that there is, after the request was sent; None without a peer."""
        if channel is None:
            return None
        try:
            send(channel.sock)
        except (BrokenPipeError, ConnectionResetError):
            channel.close()
            return None
        except BaseException:
            channel.close()
            raise
        return channel

    def _connected(self, send: "Callable[[_socket.socket], None]") -> Channel:
        """Return a connection on which a living launcher was sent something."""
        for _ in range(_TRIES):
            try:
                sock = rundir.connect(self._settings.run_root, SOCKET)
            except _GONE:
                self._spawn()
                continue
            channel = self._begun(Channel(sock), send)
            if channel is not None:
                return channel
        raise LaunchFailed("launcher", "the launcher cannot be reached")

    @staticmethod
    def _answer(channel: Channel) -> "tuple[dict[str, Any], list[int]]":
        try:
            message, fds = channel.receive()
        except ConnectionResetError:
            raise
        except (EOFError, OSError) as error:
            raise LaunchFailed("launcher", "the launcher ended before it answered") from error
        if "error" in message:
            told = message["error"]
            raise LaunchFailed(told["kind"], told["message"], told.get("errno") or 0)
        return message, fds

    def _spawn(self) -> None:
        """Start a launcher and return when it listens. Raises LaunchFailed."""
        settings = self._settings
        log = f"{settings.run_root}/launcher.log"
        words = [settings.run_root, str(settings.launcher_idle)]
        if not detached.start(_PROGRAM, words, log, self._python):
            raise LaunchFailed("launcher", f"the launcher did not start: see {log}")


def _operation(*, apart: bool, foreign: bool) -> bytes:
    if foreign:
        return wire.RUN_FOREIGN
    return wire.RUN_APART if apart else wire.RUN


def _failure_of(work: "Callable[[], None] | None") -> "Exception | None":
    """Do the work and return what went wrong with it."""
    try:
        if work is not None:
            work()
    except Exception as error:
        return error
    return None
