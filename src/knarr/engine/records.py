"""Rows of the table ``containers``: one for each container that exists, running or not."""

from __future__ import annotations

import contextlib
import time
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import host, names, serial
from knarr.engine.ids import SLOTS, RangePlan, new_container_id
from knarr.engine.store import ConstraintViolation, Store

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig

CREATING = "creating"
CREATED = "created"
REMOVING = "removing"

_COLUMNS = (
    "id, name, image_id, config, created, state, auto_remove, owner_pid, owner_start, boot_id, "
    "id_slot, started"
)
_NAME_TRIES = 12
_INSERT = (
    f"INSERT INTO containers ({_COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? "  # noqa: S608 - fixed words
    "WHERE ? IS NULL OR EXISTS (SELECT 1 FROM tags WHERE ref = ? AND image_id = ?)"
)
_DELETE = "DELETE FROM containers WHERE id = ?"
_NEXT = (
    "UPDATE counters SET value = (value + 1) % ? WHERE name = 'id_slot' "
    "RETURNING value, EXISTS (SELECT 1 FROM containers WHERE id_slot = value)"
)


@dataclass(frozen=True)
class ContainerRecord:
    """One row. created and started: ns since the epoch."""

    id: str
    name: str
    image_id: str
    config_json: str
    created: int
    state: str
    auto_remove: int
    owner_pid: int
    owner_start: int
    boot_id: str
    id_slot: int | None
    started: int | None

    @cached_property
    def config(self) -> ContainerConfig:
        """The configuration the container was created with."""
        return serial.decode(self.config_json)


class _Rehearsed(Exception):
    """The end of a transaction that was never meant to last."""


class ImageMoved(errors.Conflict):
    """A name points at another image, or at none, than when it was looked up."""


class ContainerTable:
    """Reads and writes rows; every write is one transaction."""

    def __init__(self, store: Store, ranges: RangePlan) -> None:
        self._store = store
        self._ranges = ranges

    def insert(
        self,
        config: ContainerConfig,
        image_id: str,
        *,
        with_range: bool,
        text: str | None = None,
        tag: str | None = None,
    ) -> ContainerRecord:
        """Add a row in state ``creating`` owned by this process and return it.

        text: the configuration as ``serial.encode`` has it, if that is known already. tag:
        a name that has to point at the image still. A container without a name gets a random
        one. Not synced: what makes a container exist for good is :meth:`confirm`. Raises Conflict
        for a name in use, NotFound when the image has just been removed, ImageMoved when the
        tag has, ResourceExhausted when all id ranges are held.
        """
        wanted = None if config.name is None else names.check(config.name)
        text = serial.encode(config) if text is None else text
        for attempt in range(_NAME_TRIES):
            row = (
                new_container_id(), wanted or names.generate(attempt), image_id, text,
                time.time_ns(), CREATING, int(config.auto_remove), *host.own_identity(),
                host.boot_id(),
            )  # fmt: skip
            try:
                with self._store.write(durable=False) as db:
                    full = (*row, self._next_slot(db) if with_range else None, None)
                    if not db.execute(_INSERT, (*full, tag, tag, image_id)).rowcount:
                        raise ImageMoved(f"image {tag} is another one by now")
                record = ContainerRecord(*full)
                record.__dict__["config"] = config  # need not be read back
                return record
            except ConstraintViolation as error:
                self._explain(error, wanted, image_id)
        raise errors.ResourceExhausted("no free container name found: give one with --name")

    def rehearse(self, record: ContainerRecord) -> None:
        """Go through the motions of inserting and deleting a row, and take them back.

        The statements are prepared and the pages of their tables read afterwards.
        """
        values = list(astuple(record))
        with contextlib.suppress(_Rehearsed), self._store.write(durable=False) as db:
            values[-2] = self._next_slot(db)
            db.execute(_INSERT, (*values, None, None, record.image_id))
            db.execute(_DELETE, (record.id,))
            raise _Rehearsed

    def _explain(self, error: ConstraintViolation, wanted: str | None, image_id: str) -> None:
        """Raise what a refused insert means; return when another random name may do."""
        if "FOREIGN KEY" in str(error):
            raise errors.NotFound(f"No such image: {image_id}") from error
        if wanted is not None and "containers.name" in str(error):
            owner = self.id_of_name(wanted)
            if owner is not None:  # None: removed meanwhile, the name is free again
                raise names.conflict(wanted, owner) from error

    def _next_slot(self, db: Any) -> int:
        """Return the next free id range in turn, inside the caller's transaction."""
        for _ in range(SLOTS):
            ((slot, held),) = db.execute(_NEXT, (SLOTS,)).fetchall()
            if not held and self._ranges.allowed(slot):
                return int(slot)
        raise errors.ResourceExhausted(
            f"all {SLOTS} user id ranges are held by containers: remove some, or use --userns=host"
        )

    def confirm(self, container_id: str) -> None:
        """Mark a container as complete, synced to disk: from here on it exists for good."""
        self._update("state = ?", (CREATED,), container_id, durable=True)

    def mark_removing(self, container_id: str) -> bool:
        """Mark a container as going away; False when there is no such row."""
        return self._update("state = ?", (REMOVING,), container_id, durable=False)

    def mark_started(self, container_id: str, started: int | None, boot_id: str) -> None:
        """Note when the container was started last, and in which boot."""
        values = (started, boot_id)
        self._update("started = ?, boot_id = ?", values, container_id, durable=False)

    def rename(self, container_id: str, name: str) -> str:
        """Give a container another name, synced to disk; return the name without its slash.

        Raises InvalidArgument for no name, Conflict for one in use, NotFound.
        """
        bare = names.check(name)
        try:
            if not self._update("name = ?", (bare,), container_id, durable=True):
                raise errors.NotFound(f"No such container: {container_id}")
        except ConstraintViolation as error:
            raise names.conflict(bare, self.id_of_name(bare) or "") from error
        return bare

    def configure(self, container_id: str, config: ContainerConfig) -> None:
        """Replace what a container was created with, synced to disk."""
        self._update("config = ?", (serial.encode(config),), container_id, durable=True)

    def delete(self, container_id: str, *, durable: bool) -> None:
        """Remove the row; its name and id range are free from here on."""
        self._store.change(_DELETE, (container_id,), durable=durable)

    def _update(
        self, assignment: str, values: tuple[Any, ...], container_id: str, *, durable: bool
    ) -> bool:
        statement = f"UPDATE containers SET {assignment} WHERE id = ?"  # noqa: S608 - fixed words only
        return self._store.change(statement, (*values, container_id), durable=durable) > 0

    def get(self, container_id: str) -> ContainerRecord | None:
        """Return the row with this full id, or None."""
        return self._one("id = ?", (container_id,))

    def existing(self, container_id: str) -> ContainerRecord:
        """Return the row with this full id. Raises NotFound in Docker's words."""
        found = self.get(container_id)
        if found is None:
            raise errors.NotFound(f"No such container: {container_id}")
        return found

    def id_of_name(self, name: str) -> str | None:
        """Return the id of the container with this name, or None."""
        found = self._one("name = ?", (name,))
        return None if found is None else found.id

    def find(self, name_or_id: str) -> ContainerRecord:
        """Return the row for a full id, else a name, else an unambiguous start of an id.

        Raises NotFound and, for several matches, InvalidArgument, in Docker's words.
        """
        bare = name_or_id.removeprefix("/")
        found = self._one("id = ?", (bare,)) or self._one("name = ?", (bare,))
        if found is not None:
            return found
        rows = self._many("WHERE id >= ? AND id < ? LIMIT 2", (bare, bare + "\x7f")) if bare else []
        if not rows:
            raise errors.NotFound(f"No such container: {name_or_id}")
        if len(rows) > 1:
            raise errors.InvalidArgument(f"multiple IDs found with provided prefix: {name_or_id}")
        return rows[0]

    def all(self) -> list[ContainerRecord]:
        """Return every row, the newest first."""
        return self._many("ORDER BY created DESC", ())

    def _one(self, condition: str, values: tuple[Any, ...]) -> ContainerRecord | None:
        rows = self._many(f"WHERE {condition}", values)
        return rows[0] if rows else None

    def _many(self, tail: str, values: tuple[Any, ...]) -> list[ContainerRecord]:
        with self._store.read() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM containers {tail}", values).fetchall()  # noqa: S608
        return [ContainerRecord(*row) for row in rows]
