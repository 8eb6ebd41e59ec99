"""One health check, in a process of its own: it starts the command, and writes what it found.

A child of the container's supervisor, which it tells when the next check is due. When the
supervisor closes its end of the socket between them, or is killed, it kills the command with
all that this started, and ends. The file ``probe`` in the run directory names the control group
of the command, for the case that this process is killed too.
"""

import os
import select
import signal
import struct
import sys
import time

from knarr.cgroups import manager as cgroups
from knarr.errors import KnarrError
from knarr.kernel import process as kprocess
from knarr.kernel.files import keep_only
from knarr.runtime.errors import RuntimeFailure
from knarr.supervisor import healthstate, journal, lessons, rundir
from knarr.supervisor import state as states
from knarr.supervisor.execs import Exec, NotRunning
from knarr.supervisor.healthstate import OUTPUT_LIMIT, Health, Result, Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    Found = tuple[int, bytes]

PROBE = "probe"
NEXT = struct.Struct("=q")  # what the supervisor is told: the time until the next check, in ns
_CHUNK = 65536
_FOR_ALL = 0o622
# How long this process may take beside the command (s): to start it, and to see it die.
_START, _DEATH = 30, 30
_UNITS = (("h", 3600 * 10**9), ("m", 60 * 10**9))
_LONGEST = 1 << 30  # ms, of one wait


def be(sock: "_socket.socket", run_dir: str, lost: "str | None", *, stopped: bool) -> None:
    """Be the process that makes one check; never returns.

    lost: make none, but do what follows from the end of one whose process was killed: take
    away what is left of it, and, unless it is empty, note this text as its result. stopped:
    nothing has been checked since the last result.
    """
    code = 1
    try:
        os.setsid()
        kprocess.set_name("knarr-probe")
        # The lock of the run directory, above all: it says that a supervisor lives.
        keep_only(sock.fileno(), lessons.teacher())
        check = _Check(sock, run_dir)
        sock.send(NEXT.pack(check.carry_out(lost, stopped=stopped)))
        code = 0
    except (BrokenPipeError, _GivenUp):
        code = 0
    except BaseException as error:  # it must not return into its parent's loop
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


class _GivenUp(Exception):
    """The supervisor does not wait for a result any more."""


class _Check:
    """What is to be checked, and how far it is."""

    __slots__ = ("_health", "_rules", "_run_dir", "_sock", "_started", "_state", "_wanted")

    def __init__(self, sock: "_socket.socket", run_dir: str) -> None:
        self._sock, self._run_dir = sock, run_dir
        self._wanted = healthstate.wanted(run_dir)
        self._rules = Rules(self._wanted)
        self._health = healthstate.read(run_dir) or Health()
        self._state = states.read(run_dir) or {}
        self._started = int(self._state.get("started_at") or 0)

    def carry_out(self, lost: "str | None", *, stopped: bool) -> int:
        """Do what ``be`` says; return the time until the next check (ns)."""
        self._sweep()
        if stopped:
            self._health.stop()
            self._write()
        if lost is None:
            began = time.time_ns()
            code, output = self._run()
            self._note(Result(began, time.time_ns(), code, output.decode("utf-8", "replace")))
        elif lost:
            now = time.time_ns()
            self._note(Result(now, now, -1, lost))
        return self._health.interval(self._rules, time.time_ns() - self._started)

    def _sweep(self) -> None:
        """Kill what is left of a check whose process was killed, with its control group."""
        name = states.read_body(self._run_dir, PROBE).decode()
        where = self._state.get("cgroup") or {}
        if name and where.get("manager") not in (None, "none"):
            try:
                if "runtime" in self._state:
                    self._sweep_foreign(name)
                else:
                    group = cgroups.detect(where["manager"]).open(where["path"])
                    group.child(name, made=True).destroy()
            except (OSError, ValueError) as error:  # it goes with the container's own
                print(f"knarr: health check: {error}", file=sys.stderr)
        rundir.remove_file(self._run_dir, PROBE)

    def _sweep_foreign(self, name: str) -> None:
        """The same where another runtime started the command. Raises OSError, ValueError."""
        from knarr.supervisor.foreign import exec as foreign

        foreign.sweep(self._state, self._run_dir, name)

    def _note(self, result: Result) -> None:
        """Write a result down, and tell a status that is another now."""
        if _is_closed(self._sock):
            raise _GivenUp
        changed = self._health.note(result, self._rules, self._started)
        self._write()
        if changed:
            journal.note(self._run_dir, b"health_status: " + self._health.status.encode())

    def _write(self) -> None:
        states.replace(self._run_dir, self._health.encode(), healthstate.NAME)

    def _run(self) -> "Found":
        """Return exit code and output of the command. Raises _GivenUp."""
        wanted = self._wanted
        if "problem" in wanted:
            return -1, str(wanted["problem"]).encode()
        name = f"exec-{os.urandom(8).hex()}"
        more = b',"execID":"%s"' % name.encode()
        for action in ("exec_create", "exec_start"):
            journal.note(self._run_dir, f"{action}: {wanted['words']}".encode(), more)
        reader, writer = os.pipe()
        os.fchmod(writer, _FOR_ALL)  # opened anew through /dev/stdout, by whoever it runs as
        command = Exec()
        states.replace(self._run_dir, name.encode(), PROBE)
        signal.alarm(_START)
        try:
            command.start(*self._request(name, writer))
        except NotRunning:
            return -1, b"the container is not running"
        except (RuntimeFailure, KnarrError, OSError, ValueError) as error:
            return -1, str(error).encode()
        finally:
            os.close(writer)
            signal.alarm(0)
        try:
            return _Watch(command, reader, self._sock).outcome(self._rules.timeout)
        finally:
            rundir.remove_file(self._run_dir, PROBE)

    def _request(self, name: str, writer: int) -> "tuple[dict[str, Any], list[int]]":
        """Return what an exec is asked for with, and its descriptors, which it closes."""
        wanted = self._wanted
        fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), os.dup(writer), os.dup(writer)]
        if wanted["filter"]:
            fds.append(os.open(wanted["filter"], os.O_RDONLY | os.O_CLOEXEC))
        request = {
            "run_dir": self._run_dir,
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

    def outcome(self, timeout: int) -> "Found":
        """Return exit code and output once it has ended. Raises _GivenUp. timeout: ns."""
        ended = self._await(time.monotonic_ns() + timeout)
        late = not ended and not _is_closed(self._sock)
        if not ended:
            self._kill()
        code, _ = self._command.finish()
        self._command.close()
        if not ended and not late:
            raise _GivenUp
        # What somebody in the background goes on writing has no end.
        while not self._lost and self._read():
            continue
        output = self._kept + b"..." if self._lost else self._kept
        if not late:
            return code, output
        text = f"Health check exceeded timeout ({go_duration(timeout)})".encode()
        return -1, text + b": " + output if output else text

    def _await(self, deadline: int) -> bool:
        """Return True when the command has ended; False: its time is up, or nobody waits for it."""
        poll = select.poll()
        poll.register(self._command.pidfd, select.POLLIN)
        poll.register(self._reader, select.POLLIN)
        poll.register(self._sock, 0)
        while (left := deadline - time.monotonic_ns()) > 0:
            ready = [fd for fd, _ in poll.poll(min(left / 10**6, _LONGEST))]
            if self._command.pidfd in ready:
                return True
            if self._sock.fileno() in ready:
                return False
            if self._reader in ready and not self._read():
                poll.unregister(self._reader)
        return False

    def _kill(self) -> None:
        signal.alarm(_DEATH)
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


def _is_closed(sock: "_socket.socket") -> bool:
    """Return whether there is nobody at the other end any more."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


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
