"""``knarr import``: a tar of a root file system becomes an image of one layer."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from knarr.content import compression
from knarr.images import create, garbage, layers, records, times
from knarr.images.changes import apply_changes
from knarr.images.context import Context, Progress, ProgressEvent, told_of, translated
from knarr.images.index import ImageRecord
from knarr.images.intake import Intake
from knarr.images.platform import Platform, host
from knarr.snapshots.tarstream import TarReader

if TYPE_CHECKING:
    from knarr.content.store import Blob, Writer

_LIMIT = 256 * 1024**3


class _Copying(io.RawIOBase):
    """A stream that writes all that is read from it into a blob as well."""

    def __init__(self, source: BinaryIO, writer: Writer, progress: Progress) -> None:
        super().__init__()
        self._source = source
        self._writer = writer
        self._progress = progress

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._writer.write(data)
        self._progress(ProgressEvent("Importing", "layer", self._writer.size))
        return data


def import_tar(
    context: Context,
    source: str | os.PathLike[str] | BinaryIO,
    name: str | None,
    changes: Iterable[str],
    message: str,
    platform: Platform | None,
    progress: Progress,
) -> ImageRecord:
    """Store a tar (plain or compressed; path or stream) as an image and return its record.

    ``name`` is canonical. The layer is the uncompressed tar, byte for byte. Raises
    InvalidArchive when it is no whole tar, InvalidArgument for a wrong change.
    """
    config = apply_changes({}, changes)
    intake = Intake(context.store)
    try:
        with context.lock.shared(), translated("import"), told_of(source):
            if isinstance(source, str | os.PathLike):
                with open(source, "rb", buffering=0) as file:
                    layer = _layer(file, intake, progress)
                comment = f"Imported from {os.path.basename(os.fspath(source))}"
            else:
                layer = _layer(source, intake, progress)
                comment = "Imported from -"
            record = create.single_layer(
                context,
                intake,
                layer,
                config,
                platform=platform or host(),
                created=times.now(),
                comment=message or comment,
                progress=progress,
            )
            records.publish(context, record, () if name is None else (name,))
            return record
    finally:
        garbage.collect(context, intake.touched)


def _layer(file: BinaryIO, intake: Intake, progress: Progress) -> Blob:
    limit = _LIMIT
    try:
        limit = layers.size_limit(os.fstat(file.fileno()).st_size) if file.seekable() else _LIMIT
    except (OSError, AttributeError, ValueError):
        limit = _LIMIT  # no file of the kernel, so its length is not known
    plain = compression.open_decompressed(file, limit=limit, close_source=False)
    with plain, intake.store.ingest() as writer:
        reader = TarReader(_Copying(plain, writer, progress))
        for _ in reader:
            continue
        reader.drain()
        blob = writer.commit()
    intake.touched.add(blob.digest)
    return blob
