"""Tables of eStargz layers: what they say, and what none may say."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest

from knarr.errors import InvalidArchive, Unsupported
from knarr.images.lazy import stargz
from knarr.images.lazy.table import Chunk, Table, entries_of, verified
from knarr.snapshots import tarentry
from tests.support.stargz import Stargz
from tests.support.tars import directory, file, hardlink, symlink, tar

BIG, SMALL = os.urandom(1_000_000), os.urandom(500)
MADE = Stargz(
    tar(
        directory("d", mode=0o755),
        file("d/big", BIG, mode=0o4755, uid=1000, xattrs={b"user.x": b"\xff\0"}),
        file("d/small", SMALL),
        file("empty"),
        hardlink("link", "d/big"),
        symlink("soft", "d/big"),
        file("last", b"last"),
    ),
    together=1000,
)
END = stargz.table_offset(MADE.blob[-stargz.FOOTER :])


def table(entries: list[dict[str, Any]]) -> Table:
    return Table(entries, END, 100_000_000)


def unpacked(chunk: Chunk, data: memoryview) -> bytes:
    return verified(chunk, stargz.unpacked(chunk, data))


def contents(found: Table, start: int, size: int) -> bytes:
    data = bytearray(found.size)
    for chunk in found.between(start, start + size):
        piece = unpacked(chunk, memoryview(MADE.blob)[chunk.offset : chunk.end])
        data[chunk.place : chunk.place + chunk.size] = piece
    return bytes(data[start : start + size])


def test_entries_and_contents() -> None:
    wanted = MADE.annotations[stargz.TABLE_DIGEST]
    found = table(entries_of(stargz.read_table(MADE.blob[END : -stargz.FOOTER], wanted)))
    named = {entry.name: (entry, place) for entry, place in found.entries}
    assert list(named) == [b"d/", b"d/big", b"d/small", b"empty", b"link", b"soft", b"last"]
    big, place = named[b"d/big"]
    assert (big.kind, big.mode, big.uid, big.size) == (tarentry.FILE, 0o4755, 1000, len(BIG))
    assert big.xattrs == {b"user.x": b"\xff\0"}
    assert big.mtime_ns == 1_600_000_000 * 10**9
    assert (named[b"link"][0].kind, named[b"link"][0].link) == (tarentry.HARDLINK, b"d/big")
    assert contents(found, place, len(BIG)) == BIG
    assert contents(found, place + 399_990, 20) == BIG[399_990:400_010]
    assert contents(found, named[b"d/small"][1], 500) == SMALL
    assert contents(found, named[b"last"][1], 4) == b"last"
    assert any(chunk.inner for chunk in found.chunks)
    assert all(place % 512 == 0 for _, place in found.entries)


def test_what_is_no_estargz() -> None:
    for footer in (bytes(51), MADE.blob[:51], MADE.blob[-51:].replace(b"STARGZ", b"STARGX")):
        with pytest.raises(Unsupported, match="no eStargz"):
            stargz.table_offset(footer)


def test_a_table_of_another_digest_or_none() -> None:
    data = MADE.blob[END : -stargz.FOOTER]
    with pytest.raises(InvalidArchive, match="has digest"):
        stargz.read_table(data, "sha256:" + "0" * 64)
    for damaged in (b"", data[:50], b"x" + data):
        with pytest.raises(InvalidArchive):
            stargz.read_table(damaged, MADE.annotations[stargz.TABLE_DIGEST])


def test_a_chunk_of_other_bytes() -> None:
    found = table(MADE.entries)
    chunk = found.chunks[0]
    packed = bytearray(MADE.blob[chunk.offset : chunk.end])
    packed[len(packed) // 2] ^= 1
    with pytest.raises(InvalidArchive):
        unpacked(chunk, memoryview(packed))
    with pytest.raises(InvalidArchive, match="has digest"):
        unpacked(found.chunks[1], memoryview(MADE.blob)[chunk.offset : chunk.end])


@pytest.mark.parametrize(
    ("position", "changes", "kind", "said"),
    [
        (1, {"chunkDigest": None}, Unsupported, "no digests"),
        (1, {"chunkSize": 17 << 20, "size": 20 << 20}, Unsupported, "more than 16 MiB"),
        (1, {"size": 100}, InvalidArchive, "outside its file"),
        (2, {"chunkOffset": 5}, InvalidArchive, "overlap"),
        (2, {"chunkOffset": -5}, InvalidArchive, "layer's table"),
        (1, {"offset": END + 5}, InvalidArchive, "nowhere"),
        (1, {"offset": "x"}, InvalidArchive, "layer's table"),
        (1, {"innerOffset": -1}, InvalidArchive, "nowhere"),
        (1, {"size": -1}, InvalidArchive, "layer's table"),
        (1, {"type": "whiteout"}, InvalidArchive, "whiteout"),
        (1, {"name": 5}, InvalidArchive, "layer's table"),
        (1, {"xattrs": {"user.x": "?"}}, InvalidArchive, "layer's table"),
        (1, {"modtime": "yesterday"}, InvalidArchive, "layer's table"),
        (1, {"modtime": 7}, InvalidArchive, "layer's table"),
        (1, {"xattrs": ["user.x"]}, InvalidArchive, "layer's table"),
        (1, {"xattrs": {"user.x": 5}}, InvalidArchive, "layer's table"),
        (1, {"devMajor": 1 << 13}, InvalidArchive, "out of range"),
        (1, {"uid": -1}, InvalidArchive, "owner"),
    ],
)
def test_what_no_table_may_say(
    position: int, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    entries = copy.deepcopy(MADE.entries)
    entries[position] |= changes
    with pytest.raises(kind, match=said):
        table(entries)


def test_nothing_but_directories() -> None:
    with pytest.raises(Unsupported, match="no contents"):
        table(MADE.entries[:1])
