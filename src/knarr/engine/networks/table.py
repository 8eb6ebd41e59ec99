"""Rows of networks, of containers' endpoints in them, and of their addresses.

That no address is given twice is a constraint of the database: an address is a row, and its
key is network and address. An endpoint is there from a container's first start on until it is
disconnected or removed, and so are its addresses: a container that is started again has them
again. Rows of a container, or of a network, go with it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine.store import ConstraintViolation, Store
from knarr.networks.definition import Definition

if TYPE_CHECKING:
    from knarr.networks.definition import Address

READY = "ready"
REMOVING = "removing"
_COLUMNS = "id, name, created, definition"


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A container's place in a network. addresses: of IPv4 first."""

    container: str
    network: str
    id: str
    mac: str
    addresses: tuple[Address, ...]


class NetworkTable:
    """Reads and writes rows; every write is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(
        self, wanted: Definition, decide: Callable[[Definition, list[Definition]], Definition]
    ) -> Definition:
        """Add a network and return it; only then it has its id, time and subnets.

        decide: returns the network with its subnets, knowing all others; nobody else adds one
        meanwhile. Raises Conflict for a name in use, and what ``decide`` does.
        """
        made = replace(wanted, id=new_id(), created=time.time_ns())
        try:
            with self._store.write() as db:
                if db.execute("SELECT 1 FROM networks WHERE name = ?", (made.name,)).fetchone():
                    raise errors.Conflict(f"network with name {made.name} already exists")
                made = decide(made, _all(db))
                db.execute(
                    "INSERT INTO networks (id, name, created, state, definition) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (made.id, made.name, made.created, READY, made.to_json()),
                )
                for pool in made.pools:
                    for address in pool.reserved:
                        _take(db, made.id, address, None, fixed=True)
        except ConstraintViolation as error:
            raise errors.InvalidArgument(
                f"network {made.name}: an address is given to more than one thing"
            ) from error
        return made

    def all(self) -> list[Definition]:
        """Return every network, the oldest first."""
        with self._store.read() as db:
            return _all(db)

    def get(self, network_id: str) -> Definition | None:
        """Return the network with this full id, or None."""
        return self._one("id = ?", network_id)

    def named(self, name: str) -> Definition | None:
        """Return the network with this name, or None."""
        return self._one("name = ?", name)

    def find(self, name_or_id: str) -> Definition:
        """Return the network of a full id, else of a name, else of an unambiguous start of an id.

        Raises NotFound and InvalidArgument in Docker's words.
        """
        found = self.get(name_or_id) or self.named(name_or_id)
        if found is not None:
            return found
        with self._store.read() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM networks WHERE id >= ? AND id < ?",  # noqa: S608
                (name_or_id, name_or_id + "\x7f"),
            ).fetchall()
        if not name_or_id or not rows:
            raise errors.NotFound(f"network {name_or_id} not found")
        if len(rows) > 1:
            raise errors.InvalidArgument(
                f"network {name_or_id} is ambiguous ({len(rows)} matches found based on ID prefix)"
            )
        return _network(rows[0])

    def _one(self, condition: str, value: str) -> Definition | None:
        with self._store.read() as db:
            row = db.execute(
                f"SELECT {_COLUMNS} FROM networks WHERE {condition}",  # noqa: S608 - fixed words
                (value,),
            ).fetchone()
        return None if row is None else _network(row)

    def mark_removing(self, network_id: str) -> None:
        """Mark a network as going away: whoever finds it so sees it through."""
        statement = "UPDATE networks SET state = ? WHERE id = ?"
        self._store.change(statement, (REMOVING, network_id), durable=False)

    def removing(self) -> list[Definition]:
        """Return the networks whose removal was begun and not seen through."""
        with self._store.read() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM networks WHERE state = ?",  # noqa: S608 - fixed words
                (REMOVING,),
            ).fetchall()
        return [_network(row) for row in rows]

    def delete(self, network_id: str) -> None:
        """Remove a network with its endpoints and addresses."""
        self._store.change("DELETE FROM networks WHERE id = ?", (network_id,), durable=True)

    def endpoints(self, *, network: str = "", container: str = "") -> list[EndpointRow]:
        """Return the endpoints of a network, of a container, or of both together."""
        column, value = ("network", network) if network else ("container", container)
        with self._store.read() as db:
            rows = db.execute(
                "SELECT e.container, e.network, e.id, e.mac, a.address FROM endpoints e "  # noqa: S608
                "LEFT JOIN addresses a ON a.container = e.container AND a.network = e.network "
                f"WHERE e.{column} = ? ORDER BY e.container, e.network, length(a.address)",
                (value,),
            ).fetchall()
        found: dict[tuple[str, str], EndpointRow] = {}
        for holder, place, id_, mac, raw in rows:
            added = () if raw is None else (ip_address(raw),)
            row = found.get((holder, place)) or EndpointRow(holder, place, id_, mac, ())
            found[holder, place] = replace(row, addresses=(*row.addresses, *added))
        chosen = (row for row in found.values() if container in ("", row.container))
        return list(chosen)

    def held(self, network_id: str) -> list[Address]:
        """Return all addresses of a network that are somebody's, the gateway's too."""
        statement = "SELECT address FROM addresses WHERE network = ? ORDER BY address"
        with self._store.read() as db:
            return [ip_address(raw) for (raw,) in db.execute(statement, (network_id,))]

    def write(self) -> Any:
        """Return a context manager of one write transaction, which need not outlive a reboot."""
        return self._store.write(durable=False)

    def disconnect(self, container: str, network: str) -> bool:
        """Remove an endpoint and its addresses; False when there is none."""
        statement = "DELETE FROM endpoints WHERE container = ? AND network = ?"
        return self._store.change(statement, (container, network), durable=True) > 0


def _all(db: sqlite3.Connection) -> list[Definition]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM networks ORDER BY created, id")  # noqa: S608
    return [_network(row) for row in rows.fetchall()]


def _network(row: tuple[Any, ...]) -> Definition:
    return Definition.from_json(row[0], row[1], row[2], row[3])


def _take(
    db: sqlite3.Connection, network: str, address: Address, container: str | None, *, fixed: bool
) -> None:
    db.execute(
        "INSERT INTO addresses (network, address, container, fixed) VALUES (?, ?, ?, ?)",
        (network, address.packed, container, int(fixed)),
    )


def new_id() -> str:
    """Return a new random id of 64 hexadecimal digits, which is no number at its start."""
    while True:
        value = os.urandom(32).hex()
        if not value[:12].isdigit():
            return value
