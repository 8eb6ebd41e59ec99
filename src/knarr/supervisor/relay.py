"""The supervisor's loop: output to log and clients, input to the container, until it ends."""

import _socket
import json
import os
import select
import signal
import time

from knarr.kernel import process as kprocess
from knarr.kernel import tty
from knarr.runtime import pages
from knarr.supervisor import log as logs
from knarr.supervisor import rundir
from knarr.supervisor.clients import Client
from knarr.supervisor.streams import widen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.foreign import Foreign
    from knarr.supervisor.container import Supervisor
    from knarr.supervisor.foreign.signals import Signals
    from knarr.supervisor.health import Monitor
    from knarr.supervisor.oom import OomWatch
    from knarr.supervisor.outlet import Outlet
    from knarr.supervisor.streams import Streams

_EIO = 5
_EVENTS = 16  # a round; left to itself epoll takes 12 KiB for a thousand
INPUT_LIMIT = 64 * 1024 * 1024
# How long a client that does not read may keep a supervisor whose container has ended (s).
PATIENCE = 5.0
# Output of less than so many bytes (a piece) that comes again within so many ns is left a moment
# (s) to become more: what a piece costs hardly depends on its size.
_PIECE, _AGAIN, _MOMENT = 32768, 500_000, 0.0001


class Relay:
    """Everything that one supervisor waits for.

    listener: the attach socket. pidfd: of the container's first process. tty:
    streams.out is a pseudo-terminal's master. log_errors: chunks of output that
    the log's disk did not take. hello: text of the first packet, with a place for
    the status. maker: pid of the process that made the container, a child that stays
    for a moment, or 0. outlet: what the log has beside its file, usually nothing.
    owner: has the container go on if it is frozen, since it does not die before, and begins to
    watch its memory. health: what checks it, usually nothing. oom: tells of out-of-memory
    kills, where memory is limited. foreign: sends signals where another runtime made it.
    """

    __slots__ = (
        "_before", "_epoll", "_exit", "_held", "_input", "_input_done", "_paused", "_wide",
        "acknowledged", "clients", "foreign", "health", "hello", "listener", "log", "log_errors",
        "maker", "maker_fd", "oom", "outlet", "owner", "pidfd", "streams", "tty",
    )  # fmt: skip

    def __init__(
        self,
        streams: "Streams",
        pidfd: int,
        listener: "_socket.socket | None",
        log: "logs.LogWriter | None",
        hello: str,
        owner: "Supervisor",
        *,
        terminal: bool,
        maker: int = 0,
        outlet: "Outlet | None" = None,
    ) -> None:
        self.outlet, self.owner, self.listener = outlet, owner, listener
        self.health: Monitor | None = None
        self.oom: OomWatch | None = None
        self.foreign: Signals | None = None
        self.streams, self.pidfd, self.maker = streams, pidfd, maker
        self.maker_fd = os.pidfd_open(maker) if maker else -1
        self.log, self.log_errors = log, 0
        self.hello, self.tty = hello, terminal
        self.clients: dict[int, Client] = {}
        self.acknowledged = self._held = False
        self._exit: bytes | None = None
        self._before = self._wide = 0
        self._input: list[tuple[Client | None, bytes]] = []
        self._input_done = self._paused = False
        self._epoll = select.epoll()
        for fd in (streams.out, streams.err, pidfd, self.maker_fd):
            if fd >= 0:
                os.set_blocking(fd, False)
                self._epoll.register(fd, select.EPOLLIN)
        if listener is not None:
            listener.setblocking(False)
            self._epoll.register(listener.fileno(), select.EPOLLIN)
        if outlet is not None:
            outlet.attach(self._epoll)

    def add_client(self, sock: "_socket.socket", *, owner: bool = False) -> None:
        """Attach a client from now on."""
        client = Client(sock, owner)
        self.clients[client.fd] = client
        self._epoll.register(client.fd, select.EPOLLIN)
        client.control(b"s", (self.hello % ("exited" if self._exit else "running")).encode())
        if self._exit is not None:
            client.control(b"x", self._exit)
        self._watch(client)

    def check_with(self, monitor: "Monitor") -> None:
        """Have the container's health checked as long as it runs."""
        self.health = monitor
        self._epoll.register(monitor.fd, select.EPOLLIN)

    def tell_kills(self, watch: "OomWatch") -> None:
        """Have out-of-memory kills noted when they happen."""
        self.oom = watch
        self._epoll.register(watch.fd, select.EPOLLIN if watch.is_event else select.EPOLLPRI)

    def drive(self, runtime: "Foreign") -> None:
        """Have signals sent by another runtime, which made the container."""
        from knarr.supervisor.foreign.signals import Signals

        self.foreign = Signals(runtime, self.pidfd, self._epoll)

    def run(self) -> None:
        """Relay until the first process has ended and all its output is in the log."""
        quiet: float | None = pages.QUIET
        while True:
            wait = quiet if self.oom is None else self.oom.patience(quiet)
            ready = self._epoll.poll(wait, _EVENTS)
            looked = self.oom is not None and self.oom.look_if_due()
            if not ready and not looked:
                pages.give_back()
            quiet = pages.QUIET if ready or looked else None
            for fd, events in ready:
                if fd == self.pidfd:
                    self._drain()
                    if self.outlet is not None:  # before anybody is told of the end
                        self.outlet.end()
                    return
                self._handle(fd, events)

    def dismiss(self) -> None:
        """Let the maker go, if it is still there and once it has answered its caller."""
        if self.maker_fd >= 0:
            kprocess.pidfd_send_signal(self.maker_fd, signal.SIGTERM)

    def _part(self) -> None:
        """Take note of the maker's end: it would stay a zombie."""
        os.waitpid(self.maker, 0)
        self._epoll.unregister(self.maker_fd)
        os.close(self.maker_fd)
        self.maker_fd = -1

    def finish(self, report: bytes) -> None:
        """Send the exit (JSON) to every client; ``settle`` waits until each has it or has gone."""
        self._exit = report
        self._epoll.unregister(self.pidfd)
        for client in list(self.clients.values()):
            client.control(b"x", self._exit)
            self._watch(client)

    def settle(self, *, acknowledge: bool) -> bool:
        """Serve clients until all have the exit; return whether one has acknowledged it.

        acknowledge: also wait for each client's answer or departure. Clients that do
        nothing for ``PATIENCE`` seconds are let go of.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            waiting = any(client.waiting for client in self.clients.values())
            waiting = waiting or (self.outlet is not None and self.outlet.waiting)
            if not waiting and (self.acknowledged or not acknowledge or not self.clients):
                return self.acknowledged
            ready = self._epoll.poll(max(0.0, deadline - time.monotonic()), _EVENTS)
            for fd, events in ready:
                if fd in self.clients or self.outlet is not None:
                    deadline = time.monotonic() + PATIENCE
                self._handle(fd, events)
            if not ready:
                self._let_go(all_of_them=acknowledge)

    def _let_go(self, *, all_of_them: bool) -> None:
        """Drop the clients that keep the supervisor waiting."""
        for client in list(self.clients.values()):
            if client.waiting or all_of_them:
                client.close()
                self._watch(client)
        if self.outlet is not None:
            self.outlet.give_up()

    def close(self) -> None:
        """Close clients, listener, log and streams."""
        for client in list(self.clients.values()):
            client.close()
        self.clients.clear()
        if self.listener is not None:
            self.listener.close()
        if self.log is not None:
            self.log.close()
        if self.outlet is not None:
            self.outlet.close()
        if self.maker_fd >= 0:
            os.close(self.maker_fd)
            self.maker_fd = -1
        self._epoll.close()
        self.streams.close()

    def _handle(self, fd: int, events: int) -> None:
        if fd == self.streams.stdin and events & ~select.EPOLLIN:
            self._flush_input()
        if fd in (self.streams.out, self.streams.err):
            if 0 < self._output(fd) < _PIECE and not self.clients:
                self._gather()
        elif fd == self.streams.stdin:
            return
        elif self.listener is not None and fd == self.listener.fileno():
            self._accept()
        elif fd in self.clients:
            self._client(self.clients[fd], events)
        elif fd == self.maker_fd:
            self._part()
        elif self.health is not None and fd == self.health.fd:
            self.health.turn()
        elif self.oom is not None and fd == self.oom.fd:
            self.oom.turn()
        elif self.foreign is not None and fd == self.foreign.fd:
            self.foreign.turn()
        elif self.outlet is not None:
            self.outlet.handle(fd)
            self._hold()

    # output

    def _gather(self) -> None:
        """Let a stream fill its pipe, if its pieces are small and follow each other quickly.

        Not while somebody is attached, who may answer what he sees.
        """
        if time.monotonic_ns() - self._before < _AGAIN:
            time.sleep(_MOMENT)
        self._before = time.monotonic_ns()

    def _output(self, fd: int) -> int:
        """Pass one chunk on; return its bytes, 0 when there is no more now."""
        try:
            data = os.read(fd, logs.CHUNK)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != _EIO:  # EIO: nobody has the terminal open any more
                raise
            data = b""
        if not data:
            self._end_of(fd)
            return 0
        stream = logs.STDERR if fd == self.streams.err else logs.STDOUT
        if len(data) == logs.CHUNK and not self._wide & stream:
            self._wide |= stream
            widen(fd)
        offset = self.log.size if self.log is not None else 0
        self._record(stream, data)
        for client in list(self.clients.values()):
            client.output(stream, data, self.log, offset)
            self._watch(client)
        if self.outlet is not None:
            lagging = any(client.behind >= 0 for client in self.clients.values())
            self.outlet.take(stream, data, lagging=lagging)
        self._hold()
        return len(data)

    def _hold(self) -> None:
        """Without a log there is no buffer: stop reading while a client has not got everything.

        The same goes for whoever else receives the log.
        """
        hold = self.log is None and any(client.waiting for client in self.clients.values())
        hold = hold or (self.outlet is not None and self.outlet.full)
        if hold == self._held:
            return
        self._held = hold
        for fd in {self.streams.out, self.streams.err} - {-1}:
            self._listen(fd)

    def _listen(self, fd: int) -> None:
        """Wait for what is wanted of a stream: a terminal is output and input in one."""
        word = 0 if self._held else select.EPOLLIN
        if self._paused and fd == self.streams.stdin:
            word |= select.EPOLLOUT
        self._epoll.modify(fd, word)

    def _record(self, stream: int, data: bytes) -> None:
        if self.log is None:
            return
        try:
            self.log.write(stream, data)
        except OSError:
            # A full or broken disk is not the container's end; how often this happened
            # becomes part of its state.
            self.log_errors += 1

    def _end_of(self, fd: int) -> None:
        self._epoll.unregister(fd)
        if fd == self.streams.stdin:
            self.streams.stdin = -1
        if fd == self.streams.out:
            self.streams.out = -1
        else:
            self.streams.err = -1
        os.close(fd)

    def _drain(self) -> None:
        """Read what is left in the pipes: their writers are gone with the pid namespace."""
        for name in ("out", "err"):
            fd = getattr(self.streams, name)
            while fd >= 0 and getattr(self.streams, name) == fd and self._output(fd):
                continue

    # input

    def _write_input(self, client: "Client | None", data: bytes) -> None:
        if self.streams.stdin < 0:
            self._consumed(client, len(data))
            return
        self._input.append((client, data))
        self._flush_input()

    def _flush_input(self) -> None:
        while self._input and self.streams.stdin >= 0:
            client, data = self._input[0]
            try:
                done = os.write(self.streams.stdin, data)
            except BlockingIOError:
                self._watch_input(True)
                return
            except OSError:
                # The container closed its end: what comes is dropped, as a pipe would.
                self._close_input()
                break
            self._consumed(client, done)
            if done < len(data):
                self._input[0] = (client, data[done:])
            else:
                del self._input[0]
        self._watch_input(False)
        if self._input_done and not self._input:
            self._close_input()

    def _consumed(self, client: "Client | None", count: int) -> None:
        if client is not None:
            client.control(b"w", b"%d" % count)
            self._watch(client)

    def _watch_input(self, on: bool) -> None:
        if on == self._paused or self.streams.stdin < 0:
            return
        self._paused = on
        fd = self.streams.stdin
        if self.tty:
            self._listen(fd)
        elif on:
            self._epoll.register(fd, select.EPOLLOUT)
        else:
            self._epoll.unregister(fd)

    def _close_input(self) -> None:
        for client, data in self._input:
            self._consumed(client, len(data))
        self._input.clear()
        if self.tty or self.streams.stdin < 0:
            return
        self._watch_input(False)
        os.close(self.streams.stdin)
        self.streams.stdin = -1

    # clients

    def _accept(self) -> None:
        assert self.listener is not None
        try:
            sock = rundir.accept(self.listener)
        except OSError:
            return
        self.add_client(sock)

    def _watch(self, client: Client) -> None:
        """Ask for writability only while something is outstanding; drop a client that has gone."""
        if not client.open:
            # The descriptor is closed already; epoll forgot it with its last reference.
            if self.clients.get(client.fd) is client:
                del self.clients[client.fd]
                self._gone(client)
        elif client.waiting != client.armed:
            client.armed = client.waiting
            self._epoll.modify(client.fd, select.EPOLLIN | (select.EPOLLOUT if client.armed else 0))

    def _gone(self, client: Client) -> None:
        if client.owner:
            self._signal(9)

    def _signal(self, number: int) -> None:
        # After the exit the descriptor's number may already be something else's.
        if self._exit is None:
            if self.foreign is not None and number != signal.SIGKILL:
                self.foreign.send(number)
                return
            kprocess.pidfd_send_signal(self.pidfd, number)
            if number == signal.SIGKILL:
                self.owner.thaw()

    def _client(self, client: Client, events: int) -> None:
        if events & select.EPOLLOUT:
            client.catch_up(self.log)
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            packet = client.receive()
            if packet == b"":
                client.close()
            elif packet is not None:
                self._packet(client, packet[:1], packet[1:])
        self._watch(client)
        self._hold()

    def _packet(self, client: Client, tag: bytes, payload: bytes) -> None:
        """Do what a client asks; nonsense ends its connection."""
        try:
            if tag == b"i":
                if sum(len(data) for _, data in self._input) > INPUT_LIMIT:
                    raise ValueError("too much input outstanding")
                self._write_input(client, payload)
            elif tag == b"c":
                self._input_done = not self.tty
                self._flush_input()
            elif tag == b"r":
                rows, columns = json.loads(payload)
                if self.tty and self.streams.out >= 0:
                    tty.set_size(self.streams.out, rows, columns)
            elif tag == b"k":
                self._signal(int(payload))
            elif tag == b"h":
                if self.health is not None:
                    self.health.look()
            elif tag == b"m":
                if self.oom is None:
                    self.owner.watch_memory()
            elif tag == b"q":
                self.acknowledged = True
            else:
                raise ValueError("unknown packet")
        except ProcessLookupError:
            return
        except Exception:
            # Whatever nonsense does to its parser, RecursionError included, is its sender's loss.
            client.close()
