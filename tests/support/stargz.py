"""eStargz layers, made by hand as the format's description has it."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from typing import Any

from tests.support.fakeregistry import digest_of
from tests.support.layertables import TYPES, xattrs


class Stargz:
    """A layer: ``blob``, its ``tar``, and the annotations of its descriptor.

    chunk: bytes of a file that are one chunk; together: chunks of files so small share a gzip
    stream with what is before them.
    """

    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"

    def __init__(self, plain: bytes, chunk: int = 400_000, together: int = 0) -> None:
        self._chunk, self._together = chunk, together
        self._blob = bytearray()
        self._open = bytearray()  # what the stream that is not closed yet has
        self._tar = bytearray()
        self.entries: list[dict[str, Any]] = []
        with tarfile.open(fileobj=io.BytesIO(plain)) as source:
            for member in source:
                self._add(member, source)
        self._close()
        table = json.dumps({"version": 1, "entries": self.entries}).encode()
        self._finish(table)
        self.blob, self.tar = bytes(self._blob), bytes(self._tar)
        self.annotations = {
            "containerd.io/snapshot/stargz/toc.digest": digest_of(table),
            "io.containers.estargz.uncompressed-size": str(len(self.tar)),
        }

    def _close(self) -> None:
        if self._open:
            self._blob += gzip.compress(bytes(self._open), 1, mtime=0)
            self._tar += self._open
            self._open.clear()

    def _add(self, member: tarfile.TarInfo, source: tarfile.TarFile) -> None:
        self._open += member.tobuf(tarfile.PAX_FORMAT)
        entry: dict[str, Any] = {
            "name": member.name + ("/" if member.isdir() else ""),
            "type": TYPES[member.type],
            "mode": member.mode,
            "uid": member.uid,
            "gid": member.gid,
            "modtime": "2020-09-13T12:26:40Z",
        }
        if member.isdev():
            entry["devMajor"], entry["devMinor"] = member.devmajor, member.devminor
        if member.linkname:
            entry["linkName"] = member.linkname
        if found := xattrs(member):
            entry["xattrs"] = found
        if not (member.isreg() and member.size):
            self.entries.append(entry)
            return
        opened = source.extractfile(member)
        assert opened is not None
        data = opened.read()
        entry["size"], entry["digest"] = len(data), digest_of(data)
        for start in range(0, len(data), self._chunk):
            piece = data[start : start + self._chunk]
            if len(piece) > self._together or not self._blob:
                self._close()
                entry["offset"] = len(self._blob)
            else:
                entry["offset"], entry["innerOffset"] = len(self._blob), len(self._open)
            entry["chunkDigest"] = digest_of(piece)
            if start:
                entry["chunkOffset"] = start
            if start + self._chunk < len(data):
                entry["chunkSize"] = self._chunk
            self.entries.append(entry)
            self._open += piece
            entry = {"name": member.name, "type": "chunk"}
        self._open += bytes(-len(data) % 512)

    def _finish(self, table: bytes) -> None:
        offset = len(self._blob)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo("stargz.index.json")
            member.size = len(table)
            tar.addfile(member, io.BytesIO(table))
        self._open += buffer.getvalue()
        self._close()
        extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % offset
        self._blob += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(extra)) + extra
        self._blob += b"\x01\0\0\xff\xff" + bytes(8)
