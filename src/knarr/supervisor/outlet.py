"""What a log has beside its records: further files, compression, and where else lines go.

A container whose log has no limit and goes nowhere else has no outlet at all.
"""

import os
import select

from knarr.supervisor import logfiles
from knarr.supervisor.lines import Lines
from knarr.supervisor.log import LogWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from knarr.supervisor.jsonfile import JsonFile
    from knarr.supervisor.lines import Line

    class Forward(Protocol):
        """Where lines go beside the log; ``fd`` is what to wait for while some are ``waiting``."""

        dropped: int

        @property
        def fd(self) -> int:
            """A descriptor to wait for, -1 without one."""

        @property
        def waiting(self) -> bool:
            """Whether lines wait for the receiver."""

        @property
        def full(self) -> bool:
            """Whether no more lines should come for now."""

        @property
        def due(self) -> bool:
            """Whether its file has reached its size."""

        def send(self, lines: "list[Line]") -> None:
            """Take lines; what cannot be delivered is counted as dropped."""

        def flush(self) -> None:
            """Send what waits."""

        def rotate(self) -> str:
            """Begin another file; return the path of the one to compress, or nothing."""

        def close(self) -> None:
            """Let go of it, with what waits."""


def open_log(path: str, config: "dict[str, Any] | None") -> "LogWriter | None":
    """Return the writer of a log, which may not be kept ("" or None). Raises OSError."""
    if not path:
        return None
    return LogWriter(path, config["limit"] if config else 0)


def open_outlet(log: "LogWriter | None", config: "dict[str, Any] | None") -> "Outlet | None":
    """Return what a log with that configuration has beside it."""
    if not config or not (config["limit"] or config["forward"]):
        return None
    return Outlet(log, config)


class Outlet:
    """Beside one log. config: as ``engine.logconfig`` makes it. epoll: of the relay's loop."""

    __slots__ = (
        "_again", "_compressor", "_config", "_epoll", "_forward", "_json", "_lines", "_log",
        "_watched",
    )  # fmt: skip

    def __init__(self, log: "LogWriter | None", config: "dict[str, Any]") -> None:
        self._log = log
        self._config = config
        self._lines = Lines()
        self._forward: Forward | None = None
        self._json: JsonFile | None = None  # the same, which takes many lines at once
        self._epoll: select.epoll | None = None
        self._compressor = (0, -1)  # pid and pidfd
        self._again = False
        self._watched = -1
        if config["forward"]:
            self._open_forward(config["forward"])

    def _open_forward(self, config: "dict[str, Any]") -> None:
        """Find where the lines go. Raises OSError when it cannot be reached."""
        if config["kind"] == "json":
            from knarr.supervisor.jsonfile import JsonFile

            self._forward = self._json = JsonFile(config)
            return
        from knarr.supervisor.senders import Sender

        self._forward = Sender(config)

    def attach(self, epoll: "select.epoll") -> None:
        """Wait in that loop."""
        self._epoll = epoll

    @property
    def full(self) -> bool:
        """Whether the container has to wait for who receives its lines."""
        return self._forward is not None and self._forward.full

    @property
    def waiting(self) -> bool:
        """Whether there are lines that have not been sent."""
        return self._forward is not None and self._forward.waiting

    @property
    def dropped(self) -> int:
        """How many lines could not be delivered."""
        return 0 if self._forward is None else self._forward.dropped

    def take(self, stream: int, data: bytes, *, lagging: bool) -> None:
        """Do what follows from output. lagging: somebody has to read from the present file."""
        forward = self._forward
        if forward is not None:
            if self._json is None:
                forward.send(self._lines.cut(stream, data))
            else:
                self._json.take(stream, self._lines.pieces(stream, data))
            self._watch()
        self._rotate(lagging)

    def end(self) -> None:
        """Send what the streams ended with, a line or not."""
        if self._forward is not None:
            self._forward.send(self._lines.rest())
            self._watch()

    def handle(self, fd: int) -> None:
        """Do what a descriptor of ours asks for."""
        if fd == self._compressor[1]:
            self._part()
        elif self._forward is not None:
            self._forward.flush()
            self._watch()

    def give_up(self) -> None:
        """Drop what a receiver does not take."""
        if self._forward is not None and self._forward.waiting:
            self._forward.close()

    def close(self) -> None:
        """Let go of everything; a child that compresses goes on, as its parent's to wait for."""
        if self._forward is not None:
            self._forward.close()
        if self._compressor[1] >= 0:
            os.close(self._compressor[1])

    def _watch(self) -> None:
        """Wait for the receiver only while something waits for it."""
        forward, epoll = self._forward, self._epoll
        assert forward is not None
        wanted = forward.fd if forward.waiting else -1
        if epoll is None:
            return
        # A descriptor that was closed meanwhile is not in the loop any more, and its number
        # may be that of the next connection.
        if self._watched not in (-1, wanted):
            try:
                epoll.unregister(self._watched)
            except OSError:
                self._watched = -1
        if wanted >= 0:
            try:
                epoll.register(wanted, select.EPOLLOUT)
            except FileExistsError:
                return
        self._watched = wanted

    def _rotate(self, lagging: bool) -> None:
        log, forward = self._log, self._forward
        packed = []
        try:
            # What an attached client has yet to read is in this file.
            if log is not None and log.limit and log.size >= log.limit and not lagging:
                log.rotate(self._config["keep"])
                packed.append(log.path)
            # Its files change their names, which must not happen under the compressor.
            if forward is not None and forward.due and not self._compressor[0]:
                packed.append(forward.rotate())
        except OSError:
            # Without a place for another file the present one has to do; tried again later.
            return
        if self._config["compress"] and any(packed):
            self._compress()

    def _compress(self) -> None:
        if self._compressor[0]:
            self._again = True
            return
        self._again = False
        log = self._log.path if self._log is not None and self._log.limit else ""
        forward = self._config["forward"]
        plain = f"{forward['path']}.1" if forward and forward["kind"] == "json" else ""
        try:
            self._compressor = logfiles.compress(log, plain)
        except OSError:
            return  # as they are, they can be read too
        if self._epoll is not None:
            self._epoll.register(self._compressor[1], select.EPOLLIN)

    def _part(self) -> None:
        pid, fd = self._compressor
        os.waitpid(pid, 0)
        if self._epoll is not None:
            self._epoll.unregister(fd)
        os.close(fd)
        self._compressor = (0, -1)
        if self._again:
            self._compress()
