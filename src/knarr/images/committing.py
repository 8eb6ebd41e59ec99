"""A container's changes as an image: its layers, one more above them, and a config of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from knarr.content.store import Blob
from knarr.images import documents, garbage, records, times
from knarr.images.context import Context, Progress, ProgressEvent, translated
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord
from knarr.images.intake import Intake


@dataclass(frozen=True, slots=True)
class HistoryNote:
    """What the history of an image says of its last layer: how it was made, by whom, why."""

    created_by: str
    author: str
    comment: str


def commit(
    context: Context,
    parent: ImageRecord,
    layer: Iterable[bytes],
    config: dict[str, Any],
    name: str | None,
    note: HistoryNote,
    progress: Progress,
) -> ImageRecord:
    """Store an image with ``layer``, an uncompressed tar, above those of ``parent``.

    config: what containers inherit. name: canonical, or None. Raises ResourceExhausted on a
    full disk; nothing is left then.
    """
    intake = Intake(context.store)
    try:
        with context.lock.shared(), translated("commit"):
            blob = intake.pieces(
                layer, on_bytes=lambda done: progress(ProgressEvent("Committing", "layer", done))
            )
            above = records.read_config(context, parent.config_digest).document
            document = intake.document(documents.dump(_document(above, blob, config, note)))
            layers: list[Blob | Descriptor] = [*parent.layers, blob]
            record = records.synthesise(context, intake, document, layers, progress)
            records.publish(context, record, () if name is None else (name,))
            return record
    finally:
        garbage.collect(context, intake.touched)


def _document(
    parent: dict[str, Any], layer: Blob, config: dict[str, Any], note: HistoryNote
) -> dict[str, Any]:
    """Return the image config: the parent's with one more layer and another ``config``."""
    document = copy.deepcopy(parent)
    created = times.now()
    entry = {
        "created": created,
        "created_by": note.created_by,
        "author": note.author,
        "comment": note.comment,
    }
    document["created"] = created
    document["config"] = config
    document["history"] = [
        *(document.get("history") or ()),
        {key: value for key, value in entry.items() if value},
    ]
    document["rootfs"]["diff_ids"] = [*document["rootfs"]["diff_ids"], layer.digest]
    document.pop("author", None)
    if note.author:
        document["author"] = note.author
    return document
