"""``knarr bootstrap``: from a name to a tagged image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from knarr.content.store import Blob
from knarr.errors import InvalidArgument
from knarr.images import create, garbage, records, times
from knarr.images.bootstrap import busybox, debian, packages
from knarr.images.bootstrap.names import Recipe, recipe, with_packages
from knarr.images.bootstrap.rewrite import rewrite
from knarr.images.bootstrap.workroom import workroom
from knarr.images.context import Context, Progress, ProgressEvent, translated
from knarr.images.index import ImageRecord
from knarr.images.intake import Intake
from knarr.images.platform import host
from knarr.images.reference import Reference

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Wish(NamedTuple):
    """What of an image is not the usual: where packages come from, which, what it is called."""

    mirror: str | None = None
    snapshot: str | None = None
    include: tuple[str, ...] = ()
    tag: str | None = None


def bootstrap(context: Context, name: str, wish: Wish, progress: Progress) -> ImageRecord:
    """Make the image called ``name`` on this machine, tag it and return its record.

    The same packages give the same image id. Raises InvalidArgument for a name that cannot be
    made, Unsupported for what this machine lacks, Unavailable when packages cannot be had.
    """
    reference = Reference.parse(wish.tag or name)
    chosen = with_packages(recipe(name), wish.include)
    if chosen.kind == "busybox" and (wish.mirror, wish.snapshot) != (None, None):
        raise InvalidArgument("busybox is taken from this machine's apt: give no mirror")
    intake = Intake(context.store)
    try:
        with (
            context.lock.shared(),
            translated(f"bootstrap {name}"),
            workroom(context.store.root) as directory,
        ):
            if chosen.kind == "busybox":
                record = _busybox(context, intake, directory, progress)
            else:
                record = _debian(context, intake, chosen, wish, directory, progress)
            records.publish(context, record, (str(reference),))
            return record
    finally:
        garbage.collect(context, intake.touched)


def _busybox(context: Context, intake: Intake, directory: str, progress: Progress) -> ImageRecord:
    progress(ProgressEvent("Bootstrapping", "finding a static busybox"))
    found = busybox.find(directory)
    given = times.source_date_epoch()
    epoch = found.mtime if given is None else given
    layer = _store(intake, busybox.tree(found, epoch), progress)
    config: dict[str, Any] = {"Env": [_PATH], "Cmd": ["sh"]}
    return _image(context, intake, layer, config, epoch, found.version, progress)


def _debian(
    context: Context,
    intake: Intake,
    chosen: Recipe,
    wish: Wish,
    directory: str,
    progress: Progress,
) -> ImageRecord:
    plan = debian.plan(chosen, wish.mirror, wish.snapshot, host())
    epoch = debian.epoch_of(plan.release, directory)
    noted = dict.fromkeys(packages.FILES, b"")
    with debian.running(plan.command, epoch, progress, directory) as output:
        tree = rewrite(output, epoch, slim=chosen.slim, extra=plan.extra, noted=noted)
        layer = _store(intake, tree, progress)
    what = f"{chosen.kind} {chosen.suite}{' slim' if chosen.slim else ''} minbase"
    what = " + ".join((what, *chosen.include))
    labels = packages.labels(noted, plan.suites)
    config: dict[str, Any] = {"Env": [_PATH], "Cmd": ["bash"], "Labels": labels}
    return _image(context, intake, layer, config, epoch, what, progress)


def _store(intake: Intake, pieces: Iterable[bytes], progress: Progress) -> Blob:
    blob = intake.pieces(pieces)
    progress(ProgressEvent("Storing", blob.digest, blob.size, blob.size))
    return blob


def _image(
    context: Context,
    intake: Intake,
    layer: Blob,
    config: dict[str, Any],
    epoch: int,
    what: str,
    progress: Progress,
) -> ImageRecord:
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
