"""Reading the journal of events: from a time on, up to a time, by Docker's filters."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from knarr.engine import events
from knarr.engine.paths import prepare_run_root
from knarr.errors import InvalidArgument
from knarr.images import labels
from knarr.kernel import inotify
from knarr.supervisor import journal

if TYPE_CHECKING:
    from knarr.config import Settings

Event = dict[str, Any]
_BY_NAME = ("container", "daemon", "network", "plugin", "volume", "service", "node", "secret",
            "config")  # fmt: skip
FILTERS = frozenset({"event", "image", "label", "scope", "type", *_BY_NAME})
# Actions with more behind them, which the bare word also means.
_OPEN = frozenset({"exec_create", "exec_start", "health_status"})
_CHUNK = 1 << 20
_AHEAD = 4  # files that are kept open ahead of the one that is read, removed or not


def read(
    settings: Settings,
    *,
    since: int | None = None,
    until: int | None = None,
    filters: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Event]:
    """Return an iterator over events in their order; what comes from now on is in it already.

    since: from this time (ns since the epoch), else only what comes. until: ends then, also
    in the future; without it there is no end. Raises InvalidArgument for an unknown filter.
    """
    wanted = dict(filters or {})
    unknown = sorted(set(wanted) - FILTERS)
    if unknown:
        raise InvalidArgument(f"invalid filter '{unknown[0]}'")
    prepare_run_root(settings.run_root)
    journal_of = Journal(events.path(settings))
    if since is None:
        journal_of.skip()
    return _chosen(journal_of, since or 0, until, wanted)


def _chosen(
    journal_of: Journal, since: int, until: int | None, wanted: Mapping[str, Sequence[str]]
) -> Iterator[Event]:
    try:
        for event in journal_of.follow(until):
            if until is not None and event["timeNano"] > until:
                return
            if event["timeNano"] >= since and matches(event, wanted):
                yield with_old_names(event)
    finally:
        journal_of.close()


def with_old_names(event: Event) -> Event:
    """Return an event with what its members were called before, which Docker 28 still has."""
    actor = event["Actor"]
    before = {"status": event["Action"], "id": actor["ID"]}
    if event["Type"] == "container":
        before["from"] = actor["Attributes"].get("image", "")
    return {**before, **event}


def matches(event: Event, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Return whether an event is among those that the filters ask for."""
    return all(_test(event, name, values) for name, values in wanted.items())


def _test(event: Event, name: str, values: Sequence[str]) -> bool:
    actor, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    if name == "event":
        if _OPEN & set(values):
            return _begins(event["Action"], values)
        return event["Action"] in values
    if name in ("type", "scope"):
        return event["Type" if name == "type" else "scope"] in values
    if name == "label":
        return all(labels.meets(attributes, value) for value in values)
    if name == "image":
        image = attributes.get("name" if event["Type"] == "image" else "image", "")
        names = {actor, image, image.rpartition(":")[0] or image}
        return event["Type"] in ("image", "container") and not names.isdisjoint(values)
    return event["Type"] == name and (
        _begins(actor, values) or _begins(attributes.get("name", ""), values)
    )


def _begins(text: str, values: Iterable[str]) -> bool:
    return any(text.startswith(value) for value in values)


class Journal:
    """A place in the journal; close it.

    Nothing that is appended after it was opened is missed, unless the file is renamed three times
    between two looks, of which there is one for each MiB that is read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        self._ahead: list[int] = []
        older = self._open(path + journal.OLDER)
        self._handle = self._open(path) if older is None else older

    def skip(self) -> None:
        """Go to the present end."""
        present = self._open(self._path)
        if present is not None:
            self._close_file()
            self._handle = present
        if self._handle is not None:
            os.lseek(self._handle, 0, os.SEEK_END)

    def follow(self, until: int | None) -> Iterator[Event]:
        """Yield events, waiting for more, until that time has passed."""
        notify = inotify.init()
        try:
            mask = inotify.IN_MODIFY | inotify.IN_CREATE | inotify.IN_MOVED_FROM
            inotify.add_watch(notify, os.path.dirname(self._path), mask)
            poller = select.poll()
            poller.register(notify, select.POLLIN)
            while True:
                now = time.time_ns()
                yield from self.present()
                if until is not None and now > until:
                    return
                poller.poll(None if until is None else (until - now) / 1e6 + 1)
                inotify.drain(notify)
        finally:
            os.close(notify)

    def present(self) -> Iterator[Event]:
        """Yield the events from this place on that are there now."""
        while True:
            # Asked before reading: to a file that is not the journal any more nothing is added.
            self._look_ahead()
            complete = bool(self._ahead)
            if self._handle is not None:
                yield from self._lines(self._handle)
            if not complete:
                return
            self._close_file()
            self._handle, self._rest = self._ahead.pop(0), b""

    def _look_ahead(self) -> None:
        """Open what has come after the files at hand, as far as it is there and not too much."""
        if len(self._ahead) >= _AHEAD:
            return
        last = self._ahead[-1] if self._ahead else self._handle
        both = self._both()
        # After two renamings since the last look there is one in between; and where nothing was
        # there at first, both are new.
        known = [last is not None and os.path.sameopenfile(handle, last) for handle in both]
        for place, handle in enumerate(both):
            if any(known[place:]):  # it is at hand, or was before what is
                os.close(handle)
            else:
                self._ahead.append(handle)

    def _both(self) -> list[int]:
        """Return the older file, if there is one, and the present one, as they were at one time.

        Nothing while there is no present one: who appends next makes it.
        """
        while True:
            there = self._open(self._path)
            if there is None:
                return []
            older = self._open(self._path + journal.OLDER)
            try:
                same = os.path.samestat(os.stat(self._path), os.fstat(there))
            except FileNotFoundError:
                same = False
            if same:
                return [there] if older is None else [older, there]
            for handle in (there, older):
                if handle is not None:
                    os.close(handle)

    def _lines(self, handle: int) -> Iterator[Event]:
        while data := os.read(handle, _CHUNK):
            self._look_ahead()
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # its writer was killed half way

    @staticmethod
    def _open(path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _close_file(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def close(self) -> None:
        """Let go of the files; twice is no error."""
        self._close_file()
        while self._ahead:
            os.close(self._ahead.pop())
