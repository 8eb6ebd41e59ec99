"""The tables of the state database, and how an older file becomes this release's.

``PRAGMA user_version`` holds the number of migrations applied. A file from a
newer release is refused, never guessed at.
"""

from __future__ import annotations

import sqlite3

from knarr import errors

_FIRST = """
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;

CREATE TABLE tags (
    ref TEXT PRIMARY KEY,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX tags_by_image ON tags (image_id);

CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE RESTRICT,
    config TEXT NOT NULL,
    created INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'created', 'removing')),
    auto_remove INTEGER NOT NULL,
    owner_pid INTEGER NOT NULL,
    owner_start INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    id_slot INTEGER UNIQUE,
    started INTEGER
) STRICT;
CREATE INDEX containers_by_image ON containers (image_id);

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('id_slot', -1);
"""

# A container's row is written and deleted on every run, and each B-tree it is in costs a page:
# the table is its own primary key, and an image that is removed may look through all rows.
_SECOND = """
CREATE TABLE containers_2 (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE RESTRICT,
    config TEXT NOT NULL,
    created INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'created', 'removing')),
    auto_remove INTEGER NOT NULL,
    owner_pid INTEGER NOT NULL,
    owner_start INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    id_slot INTEGER UNIQUE,
    started INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO containers_2 SELECT * FROM containers;
DROP TABLE containers;
ALTER TABLE containers_2 RENAME TO containers;
"""

# An image for several platforms: its OCI index, and which names stand for it as a whole.
_THIRD = """
CREATE TABLE indexes (
    digest TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;
ALTER TABLE tags ADD COLUMN index_digest TEXT REFERENCES indexes (digest) ON DELETE SET NULL;
"""

# Networks, which containers have a place in them, and addresses: one is given once in a network
# because it is the key. container is NULL where an address is the gateway's, or nobody's.
_FOURTH = """
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ready', 'removing')),
    definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoints (
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    network TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    mac TEXT NOT NULL,
    PRIMARY KEY (container, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoints_by_network ON endpoints (network);

CREATE TABLE addresses (
    network TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    address BLOB NOT NULL CHECK (length(address) IN (4, 16)),
    container TEXT,
    fixed INTEGER NOT NULL,
    PRIMARY KEY (network, address),
    FOREIGN KEY (container, network) REFERENCES endpoints (container, network) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_by_endpoint ON addresses (container, network);
"""

MIGRATIONS = (_FIRST, _SECOND, _THIRD, _FOURTH)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Apply the migrations that ``path`` lacks, each in one transaction.

    The caller holds the file's migration lock. Raises Unsupported for a file
    of a newer release.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise errors.Unsupported(
            f"{path}: written by a newer knarr (schema {version}, this one knows {VERSION})"
        )
    if version == 0:
        connection.execute("PRAGMA journal_mode=WAL")
    for number in range(version, VERSION):
        script = (
            f"BEGIN IMMEDIATE;\n{MIGRATIONS[number]}\nPRAGMA user_version={number + 1};\nCOMMIT;"
        )
        connection.executescript(script)
