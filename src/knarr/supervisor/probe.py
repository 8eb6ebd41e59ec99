"""One health check, in a process of its own: it starts the command, and is gone when that is.

A child of the container's supervisor, at the other end of whose socket it tells what it has
found. When that end is closed it kills the command with all that this started and ends.
"""

import os
import select
import struct
import sys
import time

from knarr.errors import KnarrError
from knarr.kernel import process as kprocess
from knarr.kernel.files import keep_only
from knarr.runtime.errors import RuntimeFailure
from knarr.supervisor import healthstate, journal, lessons
from knarr.supervisor import state as states
from knarr.supervisor.execs import Exec, NotRunning
from knarr.supervisor.healthstate import OUTPUT_LIMIT, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

_HEAD = struct.Struct("=iq")  # exit code, end (ns since the epoch)
_CHUNK = 65536
_MORE = 4096  # of what is said of a failure
PACKET = _HEAD.size + OUTPUT_LIMIT + _MORE
_UNITS = (("h", 3600 * 10**9), ("m", 60 * 10**9))


def be(sock: "_socket.socket", run_dir: str, name: str, timeout: int) -> None:
    """Be the process that makes one check; never returns. timeout: ns that the command has."""
    code = 1
    try:
        os.setsid()
        kprocess.set_name("knarr-probe")
        # The lock of the run directory, above all: it says that a supervisor lives.
        keep_only(sock.fileno(), lessons.teacher())
        found = _checked(sock, run_dir, name, timeout)
        if found is not None:
            sock.send(_packed(*found))
        code = 0
    except BrokenPipeError:
        code = 0  # the supervisor does not want to know any more
    except BaseException as error:  # it must not return into its parent's loop
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


def _packed(exit_code: int, output: bytes) -> bytes:
    return (_HEAD.pack(exit_code, time.time_ns()) + output)[:PACKET]


def unpacked(started: int, packet: bytes) -> Result:
    """Return the result that a packet tells."""
    exit_code, end = _HEAD.unpack_from(packet)
    return Result(started, end, exit_code, packet[_HEAD.size :].decode("utf-8", "replace"))


def _checked(
    sock: "_socket.socket", run_dir: str, name: str, timeout: int
) -> "tuple[int, bytes] | None":
    """Return exit code and output of the check; None when it was given up."""
    wanted = states.read(run_dir, healthstate.CHECK) or {}
    if not wanted.get("process"):
        return -1, str(wanted.get("problem") or "there is no check").encode()
    more = b',"execID":"%s"' % name.encode()
    for action in ("exec_create", "exec_start"):
        journal.note(run_dir, f"{action}: {wanted['words']}".encode(), more)
    reader, writer = os.pipe()
    command = Exec()
    try:
        command.start(*_request(wanted, run_dir, name, writer))
    except NotRunning:
        return -1, b"the container is not running"
    except (RuntimeFailure, KnarrError, OSError, ValueError) as error:
        return -1, str(error).encode()
    os.close(writer)
    return _Watch(command, reader, sock).outcome(timeout)


def _request(
    wanted: "dict[str, Any]", run_dir: str, name: str, writer: int
) -> "tuple[dict[str, Any], list[int]]":
    """Return what an exec is asked for with, and its descriptors, which it closes."""
    fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), os.dup(writer), os.dup(writer)]
    if wanted["filter"]:
        fds.append(os.open(wanted["filter"], os.O_RDONLY | os.O_CLOEXEC))
    request = {
        "run_dir": run_dir,
        "exec_id": name,
        "process": wanted["process"],
        "linux": wanted["linux"],
        "fds": [0, 1, 2],
        "seccomp": 3 if wanted["filter"] else None,
    }
    return request, fds


class _Watch:
    """A command that runs, what it writes, and who waits for it."""

    __slots__ = ("_command", "_kept", "_lost", "_reader", "_sock")

    def __init__(self, command: Exec, reader: int, sock: "_socket.socket") -> None:
        self._command, self._reader, self._sock = command, reader, sock
        os.set_blocking(reader, False)
        self._kept = b""
        self._lost = False

    def outcome(self, timeout: int) -> "tuple[int, bytes] | None":
        """Return exit code and output; None when nobody waits any more."""
        poll = select.poll()
        poll.register(self._command.pidfd, select.POLLIN)
        poll.register(self._reader, select.POLLIN)
        poll.register(self._sock, 0)
        deadline = time.monotonic_ns() + timeout
        wanted, late, ended = True, False, False
        while not ended:
            left = max(deadline - time.monotonic_ns(), 0)
            ready = [fd for fd, _ in poll.poll(left / 10**6)]
            if not ready:
                late = True
                break
            if self._sock.fileno() in ready:
                wanted = False
                break
            if self._reader in ready and not self._read():
                poll.unregister(self._reader)
            ended = self._command.pidfd in ready
        if not ended:
            self._kill()
        code, _ = self._command.finish()
        if not wanted:
            return None
        while self._read():
            continue
        return self._late(timeout) if late else (code, self._output())

    def _late(self, timeout: int) -> "tuple[int, bytes]":
        text = f"Health check exceeded timeout ({go_duration(timeout)})".encode()
        output = self._output()
        return -1, text + b": " + output if output else text

    def _kill(self) -> None:
        try:
            self._command.kill()
        except OSError as error:  # one that does not die is waited for
            print(f"knarr: health check: {error}", file=sys.stderr)

    def _read(self) -> bool:
        """Take what there is, and keep what counts; False when there is no more now."""
        try:
            data = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return False
        room = OUTPUT_LIMIT - len(self._kept)
        self._kept += data[:room]
        self._lost = self._lost or len(data) > room
        return bool(data)

    def _output(self) -> bytes:
        return self._kept + b"..." if self._lost else self._kept


def go_duration(ns: int) -> str:
    """Return a time as Go writes it: ``1m30s``, ``1.5s``, ``500ms``."""
    if ns < 10**9:
        return f"{ns / 10**6:.6f}".rstrip("0").rstrip(".") + "ms"
    text = ""
    for unit, length in _UNITS:
        if text or ns >= length:
            text += f"{ns // length}{unit}"
        ns %= length
    return text + f"{ns / 10**9:.9f}".rstrip("0").rstrip(".") + "s"
