"""The files of an archive by name, whether it is a tar, a pipe or a directory.

A tar is read once, from front to back, and may be a pipe: what it holds is
only known at its end, so every file that can be part of an image is stored
as a blob on the way. Nothing is ever written anywhere else.
"""

from __future__ import annotations

import posixpath
import re
from typing import BinaryIO, Protocol

from knarr.content import digest as digests
from knarr.content.store import Blob
from knarr.errors import InvalidArchive
from knarr.images import documents
from knarr.images.context import Progress, ProgressEvent
from knarr.images.intake import Intake
from knarr.snapshots import tarentry
from knarr.snapshots.tarstream import TarReader

_MAX_ENTRIES = 100_000
_MAX_FILES = 20_000
_MAX_HOPS = 16
_OTHER_LIMIT = documents.LIMIT
_BLOB = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")
# What tools name layers: HEX/layer.tar, HEX.tar, HEX.tar.gz, sha256:HEX, or HEX alone.
_LAYER = re.compile(r"(?:.*/)?(?:[^/]*\.(?:tar|tgz|tzst)(?:\.[a-z0-9]+)?|(?:sha256:)?[0-9a-f]{64})")
# Whoever reads the first of two and whoever reads the last would load different images.
_ONCE = frozenset({"manifest.json", "index.json", "oci-layout"})


class Members(Protocol):
    """The files of one archive; names are relative, with ``/`` and without ``.`` or ``..``."""

    def has(self, name: str) -> bool:
        """Return whether there is a regular file of this name, links followed."""

    def blob(self, name: str, digest: str | None = None, size: int | None = None) -> Blob:
        """Return the file as a stored blob. Raises InvalidArchive if absent or not as said."""

    def read(self, name: str) -> bytes:
        """Return the contents of a document, 4 MiB at most. Raises InvalidArchive."""


def blob_name(digest: str) -> str:
    """Return where an OCI layout keeps the blob (``image-layout.md``): ``blobs/ALGORITHM/HEX``."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def normalise(name: str) -> str:
    """Return a member name in plain form. Raises InvalidArchive for one that leaves the archive."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise InvalidArchive(f"the archive has a file {name[:80]!r}, which is outside of it")
    return posixpath.normpath(name) if name else "."


class TarMembers:
    """The members of a tar stream, all read and stored when it is constructed."""

    def __init__(self, source: BinaryIO, intake: Intake, progress: Progress) -> None:
        self._intake = intake
        self._files: dict[str, Blob | None] = {}
        self._links: dict[str, str] = {}
        reader = TarReader(source, tarentry.Limits(max_entries=_MAX_ENTRIES))
        for entry in reader:
            self._take(entry, reader, progress)
        reader.drain()

    def has(self, name: str) -> bool:
        """See ``Members.has``."""
        return self._resolve(name) is not None

    def blob(self, name: str, digest: str | None = None, size: int | None = None) -> Blob:
        """See ``Members.blob``."""
        target = self._resolve(name)
        if target is None:
            raise InvalidArchive(f"the archive has no file {name}")
        blob = self._files[target]
        if blob is None:
            raise InvalidArchive(f"{name} in the archive is larger than {_OTHER_LIMIT} bytes")
        if digest is not None and digest.startswith("sha256:") and blob.digest != digest:
            raise InvalidArchive(f"{name} in the archive has digest {blob.digest}, not {digest}")
        if size is not None and blob.size != size:
            raise InvalidArchive(f"{name} in the archive has {blob.size} bytes, not {size}")
        return blob

    def read(self, name: str) -> bytes:
        """See ``Members.read``."""
        blob = self.blob(name)
        if blob.size > documents.LIMIT:
            raise InvalidArchive(f"{name} in the archive is {blob.size} bytes, which is too large")
        return self._intake.store.read(blob.digest)

    def _take(self, entry: tarentry.Entry, reader: TarReader, progress: Progress) -> None:
        try:
            name = normalise(entry.name.decode())
        except UnicodeDecodeError:
            return  # no JSON document can refer to it
        if name in _ONCE and (name in self._files or name in self._links):
            raise InvalidArchive(f"the archive has two files {name}")
        self._files.pop(name, None)
        self._links.pop(name, None)
        if entry.kind == tarentry.FILE:
            self._files[name] = self._store(name, entry, reader, progress)
        elif entry.kind in (tarentry.SYMLINK, tarentry.HARDLINK):
            self._link(name, entry)
        if len(self._files) + len(self._links) > _MAX_FILES:
            raise InvalidArchive(f"the archive has more than {_MAX_FILES} files")

    def _link(self, name: str, entry: tarentry.Entry) -> None:
        try:
            target = entry.link.decode()
        except UnicodeDecodeError:
            return
        if entry.kind == tarentry.SYMLINK:
            # `..` is what these links have (skopeo: ID/layer.tar -> ../HEX.tar), but never
            # beyond the top; an absolute target means nothing inside an archive.
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        self._links[name] = normalise(target)

    def _resolve(self, name: str) -> str | None:
        for _ in range(_MAX_HOPS):
            if name in self._files:
                return name
            if name not in self._links:
                return None
            name = self._links[name]
        raise InvalidArchive(f"links in the archive go in circles at {name}")

    def _store(
        self, name: str, entry: tarentry.Entry, reader: TarReader, progress: Progress
    ) -> Blob | None:
        if entry.sparse is not None:
            raise InvalidArchive(f"{name} in the archive is a sparse file")
        match = _BLOB.fullmatch(name)
        digest = f"{match[1]}:{match[2]}" if match else None
        if digest is not None and not digests.is_valid(digest):
            raise InvalidArchive(f"{name[:80]} in the archive is not named by a digest")
        if digest is None and entry.size > _OTHER_LIMIT and not _LAYER.fullmatch(name):
            return None
        if digest is not None and self._intake.has(digest, entry.size):
            return Blob(digest, entry.size)
        with self._intake.store.ingest(digest, entry.size) as writer:
            for _, piece in reader.segments():
                writer.write(piece)
                if entry.size > _OTHER_LIMIT:
                    progress(ProgressEvent("Loading", name, writer.size, entry.size))
            blob = writer.commit()
        self._intake.touched.add(blob.digest)
        return blob
