"""Tables of zstd:chunked layers: what they say, and what none may say."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from knarr.errors import InvalidArchive, Unsupported
from knarr.images import mediatypes
from knarr.images.descriptor import Descriptor
from knarr.images.lazy import chunked
from knarr.images.lazy.table import LIMIT, Chunk, Table, verified
from knarr.snapshots import tarentry
from tests.support.chunked import PREFIX, Chunked, finished, packed
from tests.support.fakeregistry import digest_of
from tests.support.tars import directory, file, hardlink, symlink, tar

ANY = random.Random(20261126).randbytes  # of one length in every process that collects tests
SMALL = ANY(500)
HOLES = ANY(100_000) + bytes(5000) + ANY(7) + bytes(30_000_000)
MADE = Chunked(
    tar(
        directory("d", mode=0o755),
        file("d/big", ANY(1_000_000), mode=0o4755, uid=1000, xattrs={b"user.x": b"\xff\0"}),
        file("d/small", SMALL),
        file("empty"),
        hardlink("link", "d/big"),
        symlink("soft", "d/big"),
        file("holes", HOLES),
        file("last", b"last"),
    )
)
LAYER = MADE.blob[: int(MADE.annotations[f"{PREFIX}manifest-position"].partition(":")[0]) - 8]


def described(blob: bytes, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(
        mediatypes.OCI_LAYER_ZSTD, digest_of(blob), len(blob), annotations=annotations
    )


def table(blob: bytes, annotations: dict[str, str]) -> Table:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(blob)
        return blob[offset : offset + length]

    return chunked.table(described(blob, annotations), read)


def made_of(entries: list[dict[str, Any]]) -> Table:
    return table(*finished(LAYER, entries))


def unpacked(chunk: Chunk, data: bytes | memoryview) -> bytes:
    return verified(chunk, chunked.unpacked(chunk, memoryview(data)))


def contents(found: Table, start: int, size: int) -> bytes:
    data = bytearray(size)
    for chunk in found.between(start, start + size):
        piece = unpacked(chunk, MADE.blob[chunk.offset : chunk.end])
        data[chunk.place - start : chunk.place - start + chunk.size] = piece
    return bytes(data)


def test_entries_and_contents() -> None:
    found = table(MADE.blob, MADE.annotations)
    named = {entry.name: (entry, place) for entry, place in found.entries}
    names = [b"d/", b"d/big", b"d/small", b"empty", b"link", b"soft", b"holes", b"last"]
    assert list(named) == names
    big, _ = named[b"d/big"]
    assert (big.kind, big.mode, big.uid, big.size) == (tarentry.FILE, 0o4755, 1000, 1_000_000)
    assert big.xattrs == {b"user.x": b"\xff\0"}
    assert big.mtime_ns == 1_600_000_000_123_456_789
    assert (named[b"link"][0].kind, named[b"link"][0].link) == (tarentry.HARDLINK, b"d/big")
    start = MADE.tar.index(SMALL)
    assert contents(found, named[b"d/small"][1], 500) == MADE.tar[start : start + 500]
    assert contents(found, named[b"holes"][1], len(HOLES)) == HOLES
    assert contents(found, named[b"last"][1], 4) == b"last"
    assert all(place % 512 == 0 for _, place in found.entries)
    assert chunked.tar_size(described(MADE.blob, {}), found) <= len(MADE.tar)


def test_zeros_are_not_fetched_however_many() -> None:
    found = table(MADE.blob, MADE.annotations)
    place = next(place for entry, place in found.entries if entry.name == b"holes")
    assert found.between(place + 200_000, place + len(HOLES)) == []


@pytest.mark.parametrize("prefix", [PREFIX, "io.containers.zstd-chunked."])
def test_whose_annotations_they_are(prefix: str) -> None:
    said = {name.replace(PREFIX, prefix): value for name, value in MADE.annotations.items()}
    assert chunked.is_one(described(MADE.blob, said))
    assert table(MADE.blob, said).chunks


def test_one_whose_manifest_says_nothing() -> None:
    layer = described(MADE.blob, {})
    assert not chunked.is_one(layer)
    assert chunked.lost(layer, lambda offset, length: MADE.blob[offset : offset + length])
    assert not chunked.lost(layer, lambda _offset, length: LAYER[-length:])


def test_a_chunk_of_other_bytes() -> None:
    found = table(MADE.blob, MADE.annotations)
    first, second = found.chunks[:2]
    whole = MADE.blob[first.offset : first.end]
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    for data in (damaged, whole[:-20], b"", MADE.blob[second.offset : second.end]):
        with pytest.raises(InvalidArchive):
            unpacked(first, bytes(data))


def test_a_chunk_that_is_a_bomb_is_unpacked_no_further_than_it_should() -> None:
    bomb = packed(bytes(200 * 1024 * 1024))
    first = table(MADE.blob, MADE.annotations).chunks[0]
    assert chunked.unpacked(first, memoryview(bomb)) == bytes(first.size)
    with pytest.raises(InvalidArchive, match="has digest"):
        unpacked(first, bomb)


END = len(MADE.blob)


@pytest.mark.parametrize(
    ("position", "kind", "said"),
    [
        (None, Unsupported, "does not say where"),
        ("", Unsupported, "does not say where"),
        ("1:2:3", Unsupported, "does not say where"),
        ("-1:2:3:1", Unsupported, "does not say where"),
        ("1:2:3:1:", Unsupported, "does not say where"),
        ("1:2:3:2", Unsupported, "of type 2"),
        ("0:9:9:1", InvalidArchive, "outside"),
        ("9:0:9:1", InvalidArchive, "outside"),
        (f"{END}:1:9:1", InvalidArchive, "outside"),
        (f"{END - 5}:6:9:1", InvalidArchive, "outside"),
        (f"8:{10**17}:9:1", InvalidArchive, "outside"),
        (f"8:9:{LIMIT + 1}:1", Unsupported, "longer than 32 MiB"),
        ("8:9:9:1", InvalidArchive, "has digest"),
    ],
)
def test_where_no_table_is(position: str | None, kind: type[Exception], said: str) -> None:
    annotations = dict(MADE.annotations)
    del annotations[f"{PREFIX}manifest-position"]
    if position is not None:
        annotations[f"{PREFIX}manifest-position"] = position
    with pytest.raises(kind, match=said):
        table(MADE.blob, annotations)


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "md5:" + "0" * 32, "", "x"])
def test_a_table_of_another_digest_or_none(digest: str) -> None:
    annotations = {**MADE.annotations, f"{PREFIX}manifest-checksum": digest}
    with pytest.raises(InvalidArchive, match="digest"):
        table(MADE.blob, annotations)


@pytest.mark.parametrize("length", [10, 10**7])
def test_a_table_of_another_length_than_said(length: int) -> None:
    where, packed_size, _, kind = MADE.annotations[f"{PREFIX}manifest-position"].split(":")
    position = f"{where}:{packed_size}:{length}:{kind}"
    with pytest.raises(InvalidArchive, match="not as long as"):
        table(MADE.blob, {**MADE.annotations, f"{PREFIX}manifest-position": position})


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (b"", InvalidArchive, "is none"),
        (b"{}", InvalidArchive, "is none"),
        (b"[]", InvalidArchive, "is none"),
        (b'{"entries": 5}', InvalidArchive, "is none"),
        (b'{"entries": [5]}', InvalidArchive, "is none"),
        (b"[" * 1_000_000, InvalidArchive, "is none"),
        (b'{"version": 2, "entries": []}', Unsupported, "version 2"),
        (b'{"version": 1, "entries": []}', Unsupported, "no contents"),
        (b'{"entries": [' + b"{}," * 3_000_000 + b"{}]}", Unsupported, "too much"),
        (b'{"entries": [' + b"[]," * 3_000_000 + b"0]}", Unsupported, "too much"),
    ],
)
def test_what_is_no_table(text: bytes, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        table(*finished(LAYER, [], text))


def test_zeros_where_a_table_should_be_take_no_room() -> None:
    text = bytes(LIMIT)
    with pytest.raises(InvalidArchive, match="is none"):
        table(*finished(LAYER, [], text))


@pytest.mark.parametrize(
    ("position", "changes", "kind", "said"),
    [
        (1, {"chunkDigest": None}, Unsupported, "no digests"),
        (1, {"chunkDigest": "sha512:" + "0" * 128}, Unsupported, "no digests"),
        (4, {"digest": None}, Unsupported, "no digests"),  # a file in one chunk
        (4, {"size": 501}, InvalidArchive, "has 500 bytes, not 501"),
        (4, {"size": 1 << 62}, Unsupported, "more than"),
        (4, {"size": 17 << 20}, Unsupported, "more than 16 MiB"),
        (4, {"endOffset": 1}, InvalidArchive, "nowhere"),
        (4, {"endOffset": -1}, InvalidArchive, "nowhere"),
        (4, {"offset": 1 << 62}, InvalidArchive, "nowhere"),
        (4, {"offset": -1}, InvalidArchive, "nowhere"),
        (4, {"chunkOffset": 400}, InvalidArchive, "overlap"),
        (4, {"chunkSize": 400}, Unsupported, "no digests"),
        (4, {"chunkSize": 400, "chunkDigest": "sha256:"}, InvalidArchive, "not the whole file"),
        (1, {"size": 100}, InvalidArchive, "outside its file"),
        (1, {"size": 5 << 20}, InvalidArchive, "not the whole file"),
        (1, {"chunkSize": -1}, InvalidArchive, "outside its file"),
        (2, {"chunkOffset": 5}, InvalidArchive, "overlap"),
        (2, {"chunkOffset": -5}, InvalidArchive, "overlap"),
        (2, {"chunkOffset": 500_000}, InvalidArchive, "leave something out"),
        (2, {"chunkSize": 1 << 62}, InvalidArchive, "outside its file"),
        (2, {"name": "d/small"}, InvalidArchive, "another file"),
        (2, {"type": "reg"}, InvalidArchive, "not the whole file"),
        (0, {"type": "unknown"}, InvalidArchive, "unknown"),
        (0, {"type": "chunk"}, InvalidArchive, "another file"),
        (0, {"name": "d\ufffd/"}, Unsupported, "not UTF-8"),
        (0, {"modtime": "2020-13-13T12:26:40Z"}, InvalidArchive, "layer's table"),
        (0, {"modtime": "2020-09-13T12:26:40"}, InvalidArchive, "no time"),
        (0, {"mode": 1e300, "uid": 1e400}, InvalidArchive, "layer's table"),
    ],
)
def test_what_no_table_may_say(
    position: int, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    entries = copy.deepcopy(MADE.entries)
    entries[position] |= changes
    with pytest.raises(kind, match=said):
        found = made_of(entries)
        small = next(each for each in found.chunks if each.size == entries[4].get("size"))
        unpacked(small, MADE.blob[small.offset : small.end])


def test_files_that_one_frame_is_said_to_be() -> None:
    entries = copy.deepcopy(MADE.entries)
    entries.append({**entries[4], "name": "again"})
    found = made_of(entries)
    place = found.entries[-1][1]
    assert contents(found, place, 500) == SMALL


def test_tables_of_random_words_are_refused_in_words() -> None:
    values: list[Any] = [None, -1, 1 << 70, 0.5, "", "x", [], {}, {"a": 5}, True, "\udc80"]
    base = json.dumps(MADE.entries)
    names = sorted({name for entry in MADE.entries for name in entry})
    for position in range(len(MADE.entries)):
        for name in names:
            for value in values:
                entries = json.loads(base)
                entries[position][name] = value
                try:
                    made_of(entries)
                except (InvalidArchive, Unsupported) as error:
                    assert str(error)
