"""Images that knarr makes itself: one layer, one config, one manifest."""

from __future__ import annotations

from typing import Any

from knarr.content.store import Blob
from knarr.images import documents, records
from knarr.images.context import Context, Progress
from knarr.images.index import ImageRecord
from knarr.images.intake import Intake
from knarr.images.platform import Platform


def single_layer(
    context: Context,
    intake: Intake,
    layer: Blob,
    config: dict[str, Any],
    *,
    platform: Platform,
    created: str,
    comment: str = "",
    created_by: str = "",
    progress: Progress,
) -> ImageRecord:
    """Return the record of a new image whose only layer is the plain tar ``layer``.

    ``config`` is what containers inherit (Env, Cmd, ...), ``created`` RFC 3339.
    The same arguments give the same image id. The record is not yet in the index.
    """
    history = {"created": created, "created_by": created_by, "comment": comment}
    document: dict[str, Any] = {
        "architecture": platform.architecture,
        "config": config,
        "created": created,
        "history": [{key: value for key, value in history.items() if value}],
        "os": platform.os,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }
    if platform.variant:
        document["variant"] = platform.variant
    stored = intake.document(documents.dump(document))
    return records.synthesise(context, intake, stored, [layer], progress)
