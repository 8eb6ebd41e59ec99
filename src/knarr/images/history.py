"""``knarr history``: the lines of an image's history beside the layers they made.

A config's ``history`` has a line for every build step; those not marked
``empty_layer`` made, in order, one layer each. Older tools wrote too few lines or
none, so what is left of either list is shown without its counterpart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr.images.config import HistoryEntry, ImageConfig

if TYPE_CHECKING:
    from knarr.images.index import ImageRecord

MISSING = "<missing>"


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line, newest first: ``id`` is the image's on the first, ``<missing>`` on the others.

    size: bytes of the uncompressed layer; created: RFC 3339 or empty;
    layer: the diff id of the layer that this step made, or None.
    """

    id: str
    created: str
    created_by: str
    size: int
    comment: str
    tags: tuple[str, ...]
    layer: str | None


def lines(record: ImageRecord, config: ImageConfig, tags: tuple[str, ...]) -> list[HistoryLine]:
    """Return the history of an image, newest first; ``tags`` are its familiar names."""
    layers = list(zip(record.diff_ids, record.layer_sizes, strict=True))
    steps: list[tuple[HistoryEntry, str | None, int]] = []
    for entry in config.history:
        if entry.empty_layer or not layers:
            steps.append((entry, None, 0))
        else:
            diff_id, size = layers.pop(0)
            steps.append((entry, diff_id, size))
    nothing = HistoryEntry("", "", "", "", empty_layer=False)
    steps += [(nothing, diff_id, size) for diff_id, size in layers]
    result = [
        HistoryLine(
            id=MISSING,
            created=entry.created,
            created_by=entry.created_by,
            size=size,
            comment=entry.comment,
            tags=(),
            layer=diff_id,
        )
        for entry, diff_id, size in reversed(steps)
    ]
    top = result[0] if result else HistoryLine(MISSING, record.created, "", 0, "", (), None)
    head = HistoryLine(
        record.id, top.created, top.created_by, top.size, top.comment, tags, top.layer
    )
    return [head, *result[1:]]
