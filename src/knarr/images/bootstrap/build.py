"""``knarr bootstrap``: from a name to a tagged image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from knarr.content.store import Blob
from knarr.errors import InvalidArgument
from knarr.images import create, garbage, records, times
from knarr.images.bootstrap import busybox, debian
from knarr.images.bootstrap.names import Recipe, recipe
from knarr.images.bootstrap.rewrite import rewrite
from knarr.images.context import Context, Progress, ProgressEvent, translated
from knarr.images.index import ImageRecord
from knarr.images.intake import Intake
from knarr.images.platform import host
from knarr.images.reference import Reference

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def bootstrap(context: Context, name: str, mirror: str | None, progress: Progress) -> ImageRecord:
    """Make the image called ``name`` on this machine, tag it and return its record.

    The same packages give the same image id. Raises InvalidArgument for a name that cannot be
    made, Unsupported for what this machine lacks, Unavailable when packages cannot be had.
    """
    chosen = recipe(name)
    if mirror is not None and chosen.kind == "busybox":
        raise InvalidArgument("busybox is taken from this machine's apt: give no mirror")
    intake = Intake(context.store)
    try:
        with context.lock.shared(), translated(f"bootstrap {name}"):
            make = _busybox if chosen.kind == "busybox" else _debian
            record = make(context, intake, chosen, mirror, progress)
            records.publish(context, record, (str(Reference.parse(name)),))
            return record
    finally:
        garbage.collect(context, intake.touched)


def _busybox(
    context: Context, intake: Intake, chosen: Recipe, mirror: str | None, progress: Progress
) -> ImageRecord:
    del chosen, mirror
    progress(ProgressEvent("Bootstrapping", "finding a static busybox"))
    found = busybox.find()
    epoch = _given_epoch(found.mtime)
    layer = _store(intake, busybox.tree(found, epoch), progress)
    return _image(context, intake, layer, ["sh"], epoch, found.version, progress)


def _debian(
    context: Context, intake: Intake, chosen: Recipe, mirror: str | None, progress: Progress
) -> ImageRecord:
    command, lines = debian.plan(chosen, mirror, host())
    epoch = debian.epoch_of(lines)
    extra = (*debian.EXTRA, debian.SLIM_EXTRA) if chosen.slim else debian.EXTRA
    with debian.running(command, epoch, progress) as output:
        layer = _store(intake, rewrite(output, epoch, slim=chosen.slim, extra=extra), progress)
    what = f"{chosen.kind} {chosen.suite}{' slim' if chosen.slim else ''} minbase"
    return _image(context, intake, layer, ["bash"], epoch, what, progress)


def _store(intake: Intake, pieces: Iterable[bytes], progress: Progress) -> Blob:
    with intake.store.ingest() as writer:
        for piece in pieces:
            writer.write(piece)
        blob = writer.commit()
    intake.touched.add(blob.digest)
    progress(ProgressEvent("Storing", blob.digest, blob.size, blob.size))
    return blob


def _image(
    context: Context,
    intake: Intake,
    layer: Blob,
    command: list[str],
    epoch: int,
    what: str,
    progress: Progress,
) -> ImageRecord:
    config: dict[str, Any] = {"Env": [_PATH], "Cmd": command}
    return create.single_layer(
        context,
        intake,
        layer,
        config,
        platform=host(),
        created=times.render(epoch),
        created_by="knarr bootstrap",
        comment=what,
        progress=progress,
    )


def _given_epoch(fallback: int) -> int:
    if "SOURCE_DATE_EPOCH" not in os.environ:
        return fallback
    moment = times.parse(times.now())
    return fallback if moment is None else int(moment.timestamp())
