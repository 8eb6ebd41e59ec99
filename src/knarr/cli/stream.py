"""The foreground loop: bytes between a container and the caller's descriptors 0 to 2.

Nothing is changed on the way, nothing piles up (while an output is full the
container is not read, while the container does not read its stdin ours is not
read), and the terminal comes back however it ends.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from knarr.cli import terminal
from knarr.cli.sink import Sink
from knarr.cli.values import DEFAULT_DETACH_KEYS

if TYPE_CHECKING:
    from knarr.cli.caller import Caller
    from knarr.engine.model import ExitStatus

_CHUNK = 32704  # a held-back key sequence still fits into a packet of 32768
_PROXIED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT,
)  # fmt: skip


class Connection(Protocol):
    """What the loop needs of an attached container or exec (``engine.attach.Attachment``)."""

    status: ExitStatus | None

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        ...

    def receive(self) -> tuple[str, bytes] | None:
        """Return the next packet as (type, payload), None at the end."""
        ...

    def try_write(self, data: bytes) -> bool:
        """Send stdin without waiting; False when it is not taken now."""
        ...

    def try_close_stdin(self) -> bool:
        """Let the container read the end of its stdin; False when that cannot be sent now."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal in characters."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        ...


@dataclass(frozen=True, slots=True)
class Streams:
    """Which of the caller's streams are joined to the container, and how."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False
    sig_proxy: bool = True
    detach_keys: bytes | None = None


class Detached(Exception):
    """The user typed the detach keys; the container lives on."""


def relay(connection: Connection, streams: Streams, caller: Caller) -> ExitStatus | None:
    """Copy until the container ends; return how, or None when its supervisor died first.

    Raises Detached, Interrupted (a signal that is not passed on, or the caller
    is gone) and OSError when an output cannot be written.
    """
    with ExitStack() as stack:
        typed = streams.stdin and terminal.is_terminal(0)
        if typed:
            terminal.wait_for_foreground(caller, signal.SIGTTIN)
        if streams.tty:
            if typed:
                stack.enter_context(terminal.raw(0, caller))
            stack.enter_context(_following_size(connection))
        elif streams.sig_proxy:
            stack.enter_context(_passing_signals(connection))
        return _Loop(connection, streams, stack).run()


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """Yield a descriptor that is readable when a signal has come.

    Without it one that comes between the last instruction and poll(2) would
    be handled only when poll(2) returns for another reason.
    """
    hear, say = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(say, warn_on_full_buffer=False)
    try:
        yield hear
    finally:
        signal.set_wakeup_fd(before)
        os.close(hear)
        os.close(say)


@contextmanager
def _following_size(connection: Connection) -> Iterator[None]:
    """Give the container's terminal the size of the caller's, now and after each SIGWINCH."""

    def follow(_number: int, _frame: FrameType | None) -> None:
        found = terminal.size()
        if found:
            connection.resize(*found)

    before = signal.signal(signal.SIGWINCH, follow)
    try:
        follow(signal.SIGWINCH, None)
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _passing_signals(connection: Connection) -> Iterator[None]:
    """Send the caller's signals to the container's first process instead of ending."""

    def send(number: int, _frame: FrameType | None) -> None:
        connection.signal(number)

    before = {
        number: signal.signal(number, send)
        for number in _PROXIED
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Loop:
    """One relay: what is open, what is pending, what poll(2) is asked for."""

    def __init__(self, connection: Connection, streams: Streams, stack: ExitStack) -> None:
        self._connection = connection
        self._stdin: int | None = 0 if streams.stdin else None
        self._read_fd = connection.fileno()
        self._write_fd = getattr(connection, "stdin_fileno", connection.fileno)()
        self._to_container = b""
        self._close_due = False  # stdin has ended, and the container does not know yet
        self._window_full = False  # the container has to read before more is taken
        keys = streams.detach_keys
        if keys is None:
            keys = DEFAULT_DETACH_KEYS
        self._keys = KeyFilter(keys if streams.tty else b"")
        self._woken = stack.enter_context(_woken_by_signals())
        self._sinks: dict[str, Sink] = {}
        for kind, fd, wanted in (("o", 1, streams.stdout), ("e", 2, streams.stderr)):
            if wanted:
                self._sinks[kind] = sink = Sink(fd)
                stack.callback(sink.close)

    def run(self) -> ExitStatus | None:
        ended = False
        while not ended or self._full_sinks():
            ready = self._poll(ended)
            if ready.get(self._woken):
                os.read(self._woken, 4096)  # the handlers have run by now
            for sink in self._full_sinks():
                if ready.get(sink.fd):
                    sink.flush()
            if self._unsent() and ready.get(self._write_fd, 0) & ~select.POLLIN:
                self._window_full = not self._send()
            if self._stdin is not None and ready.get(self._stdin):
                self._read_stdin()
            heard = ready.get(self._read_fd, 0) & ~select.POLLOUT
            if heard and not self._full_sinks():
                ended = not self._receive()
        return self._connection.status

    def _poll(self, ended: bool) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        full = self._full_sinks()
        for sink in full:
            poll.register(sink.fd, select.POLLOUT)
        if not ended:
            wanted: dict[int, int] = {} if full else {self._read_fd: select.POLLIN}
            if self._unsent() and not self._window_full:
                wanted[self._write_fd] = wanted.get(self._write_fd, 0) | select.POLLOUT
            for fd, events in wanted.items():
                poll.register(fd, events)
            if self._stdin is not None and not self._to_container:
                poll.register(self._stdin, select.POLLIN)
        return dict(poll.poll())

    def _unsent(self) -> bool:
        return bool(self._to_container) or self._close_due

    def _full_sinks(self) -> list[Sink]:
        return [sink for sink in self._sinks.values() if sink.pending]

    def _receive(self) -> bool:
        """Take one packet to its sink; False after the last."""
        packet = self._connection.receive()
        self._window_full = False  # what came may have been room
        if packet is None or packet[0] == "x":
            return False
        sink = self._sinks.get(packet[0])
        if sink is not None:
            sink.put(packet[1])
        return True

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal that hung up, or a descriptor that cannot be read
        if data:
            self._to_container = self._keys.feed(data)
        else:
            self._stdin = None
            self._close_due = True
            self._to_container = self._keys.rest()
        self._send()
        if self._keys.complete:
            raise Detached

    def _send(self) -> bool:
        """Send what waits for the container; False when it is not taken now."""
        if self._to_container:
            if not self._connection.try_write(self._to_container):
                return False
            self._to_container = b""
        if self._close_due:
            self._close_due = not self._connection.try_close_stdin()
        return not self._close_due


class KeyFilter:
    """Finds the detach keys in what is typed; a sequence that has begun is held back."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Return what is to be passed on; ``complete``: the whole sequence was typed after it."""
        if not self._keys:
            return data
        out = bytearray()
        for byte in data:
            if byte != self._keys[self._held]:
                out += self.rest()
            if byte != self._keys[self._held]:
                out.append(byte)
                continue
            self._held += 1
            if self._held == len(self._keys):
                self.complete = True
                break
        return bytes(out)

    def rest(self) -> bytes:
        """Return and forget what was held back."""
        held = self._keys[: self._held]
        self._held = 0
        return held
