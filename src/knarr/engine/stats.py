"""``stats``: what containers use, as it changes; which containers, the journal of events says."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr import errors
from knarr.closing import Closing
from knarr.engine import eventreader, events
from knarr.engine.paths import prepare_run_root
from knarr.engine.probe import FILES, Probe, Reading
from knarr.engine.state import merged
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine
    from knarr.engine.state import ContainerState

INTERVAL = 1.0  # seconds between two readings, Docker's
ONCE = 0.5  # seconds over which the use of processors is measured for a single answer


@dataclass(frozen=True, slots=True)
class Stats:
    """What a container uses at one moment; of one that does not run all figures are 0.

    time: ns since the epoch. cpu_percent: since the reading before, 100 is one processor.
    cpu_total: ns since its start. memory, memory_limit: bytes, without the page cache that
    lies idle; without a limit that of the machine. network_*: bytes since its start over all
    interfaces but lo, 0 in the host's network. block_*: bytes since its start. pids: processes
    and threads. None is what is not known: without control groups, or of one that is gone,
    since it has been removed.
    """

    id: str
    name: str
    time: int
    running: bool = False
    cpu_percent: float | None = 0.0
    cpu_total: int | None = 0
    memory: int | None = 0
    memory_limit: int | None = 0
    network_received: int | None = 0
    network_sent: int | None = 0
    block_read: int | None = 0
    block_written: int | None = 0
    pids: int | None = 0
    gone: bool = False

    @property
    def memory_percent(self) -> float | None:
        """The share of the limit, 0 to 100."""
        if self.memory is None or self.memory_limit is None:
            return None
        return self.memory * 100 / self.memory_limit if self.memory_limit else 0.0


def _unknown(id: str, name: str) -> Stats:
    """Return the figures of a container of which nothing is known: it has been removed."""
    return Stats(
        id, name, time.time_ns(), cpu_percent=None, cpu_total=None, memory=None, memory_limit=None,
        network_received=None, network_sent=None, block_read=None, block_written=None, pids=None,
        gone=True,
    )  # fmt: skip


def _stats(row: _Row, reading: Reading) -> Stats:
    received, sent = reading.network or (None, None)
    block_read, written = reading.block or (None, None)
    limit = None if reading.memory is None else _limit(reading.memory_limit)
    return Stats(
        row.id, row.name, time.time_ns(), True, reading.cpu_percent, reading.cpu_total,
        reading.memory, limit, received, sent, block_read, written, reading.pids,
    )  # fmt: skip


def _limit(limit: int | None) -> int:
    """Return the limit that counts: none, or one above it, is the memory of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine if limit is None else min(limit, machine)


class _Row:
    """One container that is watched. probe: None unless it runs; awaited: it is to be opened."""

    __slots__ = ("awaited", "container", "id", "name", "probe", "removed")

    def __init__(self, container: Container) -> None:
        self.container = container
        self.id, self.name = container.id, container.name
        self.probe: Probe | None = None
        self.awaited = True
        self.removed = False

    def open(self, state: ContainerState, *, keep: bool) -> None:
        """Begin to watch it if it runs. Raises KnarrError."""
        if not state.running:
            return
        with translated(f"container {self.name}: stats"):
            try:
                self.probe = Probe(self.container.paths, state, keep)
                self.awaited = False
            except (FileNotFoundError, ProcessLookupError):
                return  # it ends just now, or its next start is not recorded yet

    def read(self) -> Stats:
        """Return what it uses. Raises KnarrError."""
        if self.probe is not None:
            with translated(f"container {self.name}: stats"):
                reading = self.probe.read()
            if reading is not None:
                return _stats(self, reading)
            self.close()  # as the journal will say
        if self.removed:
            return _unknown(self.id, self.name)
        return Stats(self.id, self.name, time.time_ns())

    def close(self) -> None:
        """Stop watching; twice is no error."""
        if self.probe is not None:
            self.probe.close()
            self.probe = None


class Board(Closing):
    """What some containers use; close it. Safe to use from several threads.

    names: these containers, whatever becomes of them. Without: those that run, or all, where
    some come and go. Raises NotFound.
    """

    def __init__(self, engine: Engine, names: Sequence[str] = (), *, all: bool = False) -> None:
        self._engine = engine
        self._named, self._all = bool(names), all
        self._closed = False
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        prepare_run_root(engine.settings.run_root)
        # Opened before the first look, so that nobody who starts meanwhile is missed.
        self._journal = eventreader.Journal(events.path(engine.settings))
        try:
            self._journal.skip()
            for container in self._first(names):
                row = self._rows[container.id] = _Row(container)
                state = container.state  # one whose supervisor died is put right here
                row.open(state, keep=self._may_keep())
                row.awaited = row.awaited and state.running
        except BaseException:  # also a signal's: nobody could close what is open so far
            self.close()
            raise

    def _first(self, names: Sequence[str]) -> list[Container]:
        if names:
            return [self._engine.containers.get(name) for name in names]
        return self._engine.containers.list(all=self._all)

    def _may_keep(self) -> bool:
        """Return whether one more may keep its files open: half of what the process may have."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = sum(row.probe is not None for row in self._rows.values())
        return soft == resource.RLIM_INFINITY or (kept + 1) * FILES < soft // 2

    def read(self) -> list[Stats]:
        """Return what each uses now: in the order of the names, else as ``ps``, later ones last.

        cpu_percent is that since the last call, or since the container's start. Nothing
        when closed. Raises KnarrError.
        """
        with self._lock:
            found: list[Stats] = []
            if self._closed:
                return found
            self._hear()
            for row in list(self._rows.values()):
                if row.awaited:
                    state = merged(row.container.record, row.container.paths)
                    row.open(state, keep=self._may_keep())
                found.append(row.read())
            return found

    @property
    def containers(self) -> dict[str, Container]:
        """The containers that the last reading was of, by id."""
        with self._lock:
            return {row.id: row.container for row in self._rows.values()}

    def container(self, id: str) -> Container:
        """Return one of the containers as it is recorded now. Raises NotFound."""
        return self._engine.containers.get(id)

    def _hear(self) -> None:
        """Take note of what has happened to containers."""
        for event in self._journal.present():
            if event.get("Type") == "container":
                self._take(event["Action"], event["Actor"]["ID"])

    def _take(self, action: str, id: str) -> None:
        row = self._rows.get(id)
        wanted = action == "start" or (action == "create" and self._all)
        if row is None and wanted and not self._named:
            row = self._add(id)
        if row is None:
            return
        if action == "start":
            row.close()
            row.awaited = True
        elif action == "rename":
            row.name = self._name(id) or row.name
        elif action in ("die", "destroy"):
            row.close()
            row.awaited = False
            row.removed = action == "destroy"
            if not self._named and (row.removed or not self._all):
                del self._rows[id]

    def _add(self, id: str) -> _Row | None:
        try:
            row = _Row(self._engine.containers.get(id))
        except errors.NotFound:
            return None  # removed meanwhile, as one of the next events says
        self._rows[id] = row
        return row

    def _name(self, id: str) -> str | None:
        try:
            return self._engine.containers.get(id).name
        except errors.NotFound:
            return None

    def frames(self, interval: float) -> Iterator[list[Stats]]:
        """Yield what each uses, each ``interval`` seconds, for ever."""
        self.read()
        due = time.monotonic() + interval
        while True:
            time.sleep(max(due - time.monotonic(), 0))
            due = max(due + interval, time.monotonic())
            yield self.read()

    def close(self) -> None:
        """Let go of all descriptors; twice is no error."""
        with self._lock:
            self._closed = True
            for row in self._rows.values():
                row.close()
            self._journal.close()


def once(engine: Engine, names: Sequence[str] = (), *, all: bool = False) -> list[Stats]:
    """Return what containers use, their processors over half a second. Raises as `Board`."""
    with Board(engine, names, all=all) as board:
        return next(board.frames(ONCE))


def of_one(engine: Engine, id: str, interval: float) -> Iterator[Stats]:
    """Yield what a container uses until it is removed. Raises NotFound."""
    with Board(engine, [id]) as board:
        for (found,) in board.frames(interval):
            if found.gone:
                return
            yield found
