"""zstd:chunked layers, made by hand as containers/storage writes them."""

from __future__ import annotations

import io
import itertools
import json
import re
import struct
import tarfile
from typing import Any

from knarr.content.compression import zstd_module
from tests.support.fakeregistry import digest_of
from tests.support.layertables import TYPES, xattrs

PREFIX = "io.github.containers.zstd-chunked."


def packed(data: bytes) -> bytes:
    frame: bytes = zstd_module().compress(data, 3)
    return frame


def skipped(data: bytes) -> bytes:
    """Return a frame that decoders pass over (RFC 8878, 3.1.2)."""
    return struct.pack("<II", 0x184D2A50, len(data)) + data


class Chunked:
    """A layer: ``blob``, its ``tar``, and the annotations of its descriptor.

    chunk: bytes of a file that are one chunk; runs of 1024 zeros and more are chunks too.
    """

    media_type = "application/vnd.oci.image.layer.v1.tar+zstd"

    def __init__(self, plain: bytes, chunk: int = 400_000) -> None:
        self._chunk = chunk
        self._blob = bytearray()
        self.tar = plain
        self.entries: list[dict[str, Any]] = []
        with tarfile.open(fileobj=io.BytesIO(plain)) as source:
            done = 0  # bytes of the tar
            for member in source:
                done = self._add(member, done)
        self._blob += packed(plain[done:])
        self.blob, self.annotations = finished(bytes(self._blob), self.entries)

    def _add(self, member: tarfile.TarInfo, done: int) -> int:
        entry = {
            "type": TYPES[member.type],
            "name": member.name + ("/" if member.isdir() else ""),
            "linkName": member.linkname,
            "mode": member.mode,
            "size": member.size if member.isreg() else 0,
            "uid": member.uid,
            "gid": member.gid,
            "modtime": "2020-09-13T12:26:40.123456789Z",
            "accesstime": "0001-01-01T00:00:00Z",
            "devMajor": member.devmajor,
            "devMinor": member.devminor,
            "xattrs": xattrs(member),
        }
        self.entries.append({name: value for name, value in entry.items() if value})
        if not entry["size"]:
            return done
        start, end = member.offset_data, member.offset_data + member.size
        self._blob += packed(self.tar[done:start])
        self._contents(member.name, self.tar[start:end])
        return end

    def _contents(self, name: str, data: bytes) -> None:
        first = self.entries[-1]
        first["digest"], chunks = digest_of(data), []
        for at, piece in _cut(data, self._chunk):
            chunks.append({
                "chunkOffset": at,
                "offset": len(self._blob),
                "chunkSize": len(piece),
                "chunkDigest": digest_of(piece),
                "chunkType": "" if piece.strip(b"\0") or len(piece) < 1024 else "zeros",
            })  # fmt: skip
            self._blob += packed(piece)
        first["endOffset"] = len(self._blob)
        if len(chunks) == 1:
            first["offset"] = chunks[0]["offset"]
            return
        for number, each in enumerate(chunks):
            said = {name: value for name, value in each.items() if value or name == "offset"}
            if number:
                self.entries.append({"type": "chunk", "name": name, **said})
            else:
                first.update(said)


def _cut(data: bytes, most: int) -> list[tuple[int, bytes]]:
    """Return the chunks of a file, each with its place."""
    places = {0, len(data)}
    for run in re.finditer(rb"\0{1024,}", data):
        places.update(run.span())
    chunks, ends = [], sorted(places)
    for start, end in itertools.pairwise(ends):
        length = most if data[start:end].strip(b"\0") else end - start
        chunks += [(at, data[at : min(at + length, end)]) for at in range(start, end, length)]
    return chunks


def finished(
    blob: bytes, entries: list[dict[str, Any]], text: bytes | None = None
) -> tuple[bytes, dict[str, str]]:
    """Return a blob with its table and a footer behind it, and the annotations that tell of it.

    text: what the table is, instead of the entries.
    """
    if text is None:
        text = json.dumps({"version": 1, "entries": entries}).encode()
    table, offset = packed(text), len(blob) + 8
    footer = struct.pack("<7Q", offset, len(table), len(text), 1, 0, 0, 0) + b"GNUlInUx"
    annotations = {
        f"{PREFIX}manifest-checksum": digest_of(table),
        f"{PREFIX}manifest-position": f"{offset}:{len(table)}:{len(text)}:1",
    }
    return blob + skipped(table) + skipped(footer), annotations
