"""``logs``: reads what a supervisor recorded: whole, by line, from the end, or as it comes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus

from knarr import errors
from knarr.engine import logconfig, logoptions, when
from knarr.engine.logreader import GAP, LogReader, Record
from knarr.engine.state import merged, read_state_file
from knarr.kernel import inotify, process

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


LONGEST = 1 << 20  # bytes of a line that are kept together


class LogEntry(NamedTuple):
    """Output of a container: stream 1 (stdout) or 2 (stderr), when (ns since the epoch), bytes.

    A line with its newline, where lines were asked for; a run of lines that came together; else
    a block as written.
    """

    stream: int
    time: int
    data: bytes

    def stamped(self) -> bytes:
        """Return the data with Docker's time stamp in front."""
        return self.text(stamped=True)

    def text(self, *, stamped: bool, before: bytes = b"") -> bytes:
        """Return the data with what is to stand in front of each line, a time stamp first."""
        if stamped:
            before = when.rfc3339_fixed(self.time).encode() + b" " + before
        if not before:
            return self.data
        return before + self.data[:-1].replace(b"\n", b"\n" + before) + self.data[-1:]


class LogOptions(NamedTuple):
    """What to read. since, until: ns since the epoch. tail: lines from the end, None for all.

    lines: cut into lines even where neither tail nor time stamps need it. stop: a descriptor;
    when it is readable, following ends. runs: cut only into pieces of whole lines that came
    together, which costs less.
    """

    since: int | None = None
    until: int | None = None
    tail: int | None = None
    follow: bool = False
    lines: bool = False
    stop: int | None = None
    runs: bool = False


def read(
    engine: Engine, record: ContainerRecord, paths: Paths, options: LogOptions
) -> Iterator[LogEntry]:
    """Yield the container's output in the order it was written.

    With ``follow`` it goes on until the container ends, sleeping in the kernel
    while nothing is written. A container that never ran has no output. Raises
    InvalidArgument when its log driver keeps none.
    """
    if not readable(record):
        raise errors.InvalidArgument("configured logging driver does not support reading")
    with LogReader(paths.log) as reader:
        watch = _Watch(engine, record, paths, options.stop) if options.follow else None
        try:
            skipped = 0
            if options.tail is not None:
                skipped = _seek_tail(reader, options.tail, options.since)
            blocks = _blocks(reader, watch, options)
            if options.lines or options.tail is not None:
                yield from _last(_lines(blocks), skipped)
            elif options.runs:
                yield from _runs(blocks)
            else:
                yield from (block for block in blocks if block != GAP)
        finally:
            if watch is not None:
                watch.close()


def readable(record: ContainerRecord | None) -> bool:
    """Return whether the output of a container is kept here."""
    return record is None or logoptions.readable(record.config)


def details(engine: Engine, record: ContainerRecord) -> bytes:
    """Return what ``logs --details`` has before a line: ``name=value,name=value``, or nothing."""
    driver, options = logoptions.effective(record.config)
    if driver in ("local", "none"):
        return b""
    found = logconfig.attributes(engine, record, driver, options)
    pairs = (f"{quote_plus(name)}={quote_plus(found[name])}" for name in sorted(found))
    return ",".join(pairs).encode()


def _blocks(reader: LogReader, watch: _Watch | None, options: LogOptions) -> Iterator[LogEntry]:
    since, until = options.since or 0, options.until
    while True:
        ended = watch is None or watch.ended()  # asked before reading, so nothing is missed
        for entry in map(_entry, reader.records()):
            if until is not None and entry.time > until:
                return
            if entry.time >= since or entry == GAP:
                yield entry
        if ended or watch is None:
            return
        watch.wait()


def _lines(blocks: Iterator[LogEntry]) -> Iterator[LogEntry]:
    """Cut blocks into lines; a line gets the time of its first byte."""
    for stream, moment, data in _runs(blocks):
        for line in _split(data):
            yield LogEntry(stream, moment, line)


def _runs(blocks: Iterator[LogEntry]) -> Iterator[LogEntry]:
    """Cut blocks into pieces of whole lines; a piece has the time of its first byte.

    A line of more than ``LONGEST`` bytes comes in several, as one without an end has to. One
    whose end is missing ends there, and is not joined with what comes after the gap.
    """
    begun: dict[int, tuple[int, bytearray]] = {}  # time and text of a line without its end
    for stream, moment, data in blocks:
        if not stream:
            yield from _unfinished(begun)
            begun.clear()
        elif stream in begun:
            head, newline, data = data.partition(b"\n")
            first, line = begun[stream]
            line += head + newline
            if not newline and len(line) <= LONGEST:
                continue
            del begun[stream]
            yield LogEntry(stream, first, bytes(line))
        end = data.rfind(b"\n") + 1
        if end:
            yield LogEntry(stream, moment, data[:end])
        if end < len(data):
            begun[stream] = (moment, bytearray(data[end:]))
    yield from _unfinished(begun)


def _unfinished(begun: dict[int, tuple[int, bytearray]]) -> Iterator[LogEntry]:
    for stream, (first, line) in begun.items():
        yield LogEntry(stream, first, bytes(line))


def _split(data: bytes) -> list[bytes]:
    """Split after newlines only; ``splitlines`` would also split at carriage returns."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _last(lines: Iterator[LogEntry], skip: int) -> Iterator[LogEntry]:
    """Yield the lines after the first ``skip``."""
    for number, line in enumerate(lines):
        if number >= skip:
            yield line


def _seek_tail(reader: LogReader, count: int, since: int | None) -> int:
    """Go to a record from which on there are ``count`` lines; return how many more there are.

    Goes back from the end by the lengths behind the records, until enough
    newlines were seen. Whole lines cannot be counted backwards where two
    streams interleave, so those found are then counted forwards.
    """
    newlines, begin, cut = 0, None, False
    for record, place in reader.backwards():
        if record[1] < (since or 0):
            break
        if newlines > count + 1:
            # Where the walk stops half way, the first line may lack its beginning.
            cut = True
            break
        begin = place
        newlines += record[2].count(b"\n")
    if begin is None:
        reader.go_to_end()
        return 0
    reader.go(begin)
    present = sum(1 for _ in _lines(map(_entry, reader.records(keep=True))))
    reader.go(begin)
    return max(present - count, int(cut))


def _entry(record: Record) -> LogEntry:
    return LogEntry(*record)


class _Watch:
    """Sleeps until the log grows, the container's state changes, or its supervisor dies."""

    def __init__(
        self, engine: Engine, record: ContainerRecord, paths: Paths, stop: int | None
    ) -> None:
        self._engine = engine
        self._record = record
        self._paths = paths
        self._stop, self._stopped = stop, False
        self._supervisor: tuple[int, int] | None = None  # pid and descriptor
        self._notify = inotify.init()
        try:
            # The directory, for the next file of a log that is rotated.
            inotify.add_watch(self._notify, paths.data, inotify.IN_MODIFY | inotify.IN_CREATE)
            inotify.add_watch(self._notify, paths.run, inotify.IN_MOVED_TO | inotify.IN_DELETE_SELF)
        except FileNotFoundError:
            return  # not started, or gone: ``ended`` says so
        except OSError as error:
            os.close(self._notify)
            raise errors.ResourceExhausted(
                f"container {paths.id[:12]}: following the log: {error.strerror}"
                " (fs.inotify.max_user_watches)"
            ) from error

    def ended(self) -> bool:
        """Return True when nothing more will be written; a dead supervisor is replaced."""
        if self._stopped:
            return True
        state = merged(self._record, self._paths)
        if state.stale:
            self._engine.recover_container(self._record)
            state = merged(self._record, self._paths)
        return not state.running

    def wait(self) -> None:
        """Sleep until there may be something new."""
        poller = select.poll()
        poller.register(self._notify, select.POLLIN)
        supervisor = self._open_supervisor()
        if supervisor is not None:
            poller.register(supervisor, select.POLLIN)
        if self._stop is not None:
            poller.register(self._stop, select.POLLIN)
        self._stopped = any(fd == self._stop for fd, _ in poller.poll())
        inotify.drain(self._notify)

    def _open_supervisor(self) -> int | None:
        """Return a pidfd of the present supervisor; None when it has just ended."""
        live = read_state_file(self._paths.state) or {}
        pid = int(live.get("supervisor_pid") or 0)
        if self._supervisor is not None and self._supervisor[0] == pid:
            return self._supervisor[1]
        self._close_supervisor()
        try:
            self._supervisor = (pid, process.pidfd_open(pid))
        except OSError:
            return None
        return self._supervisor[1]

    def _close_supervisor(self) -> None:
        if self._supervisor is not None:
            os.close(self._supervisor[1])
            self._supervisor = None

    def close(self) -> None:
        """Let go of the descriptors."""
        self._close_supervisor()
        os.close(self._notify)
