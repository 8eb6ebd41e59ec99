"""``knarr load``: all images of an archive come in, or none and nothing is left of it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from knarr.content import compression
from knarr.errors import InvalidArchive, Unsupported
from knarr.images import garbage, layers, records
from knarr.images.archive import docker, layout
from knarr.images.archive.directory import DirectoryMembers
from knarr.images.archive.members import Members, TarMembers
from knarr.images.archive.staging import Staged, Staging
from knarr.images.context import Context, Progress, told_of, translated
from knarr.images.intake import Intake
from knarr.images.platform import Platform, host, rank
from knarr.images.reference import Reference

Source = str | os.PathLike[str] | BinaryIO
# How far a compressed pipe, whose length nobody knows, may unpack: bytes.
_PIPE_LIMIT = 256 * 1024**3


@dataclass(frozen=True, slots=True)
class Loaded:
    """One loaded image: its id, the familiar names that now point at it, its platforms.

    The id is that of the image for this machine, if it has one.
    """

    id: str
    names: tuple[str, ...]
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What ``load`` did.

    replaced: (familiar name, id) of images that lost a name to a new one; they stay,
    dangling. warnings: lines about what was skipped or may not run here.
    """

    images: tuple[Loaded, ...]
    replaced: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


def load(
    context: Context, source: Source, platform: Platform | None, progress: Progress
) -> LoadResult:
    """Load every image of an archive (path, directory or binary stream).

    An image for several platforms comes with all that are in the archive, or with the one that
    ``platform`` asks for. Raises InvalidArchive for what is corrupt or hostile, Unsupported for
    formats of long ago, NotFound when there is no image for the platform.
    """
    intake = Intake(context.store)
    try:
        with (
            context.lock.shared(),
            translated("load"),
            told_of(source),
            _opened(source, intake, progress) as members,
        ):
            staging = Staging(context, members, intake, progress)
            staged = _stage(staging, platform)
            return _publish(context, staged, staging.skipped)
    finally:
        garbage.collect(context, intake.touched)
        if intake.chain:
            garbage.collect_layers(context, intake.chain)


def _stage(staging: Staging, platform: Platform | None) -> list[Staged]:
    members = staging.members
    has_docker = members.has(docker.MANIFEST)
    has_layout = members.has(layout.INDEX) and (members.has(layout.LAYOUT) or not has_docker)
    if not has_docker and not has_layout:
        if members.has("repositories"):
            raise Unsupported("the archive is of a Docker older than 1.10: save it again")
        raise InvalidArchive(
            "this is no image archive: it has neither manifest.json nor index.json"
        )
    staged: dict[str, Staged] = {}
    for each in layout.stage(staging, platform) if has_layout else ():
        _merge(staged, each)
    if has_docker:
        for each in docker.stage(staging, platform, list(staged.values())):
            _merge(staged, each)
    if not staged:
        reason = f": {staging.skipped[0]}" if staging.skipped else ""
        raise InvalidArchive(f"the archive has no image to load{reason}")
    return list(staged.values())


def _merge(staged: dict[str, Staged], each: Staged) -> None:
    known = staged.get(each.key, each)
    staged[each.key] = known._replace(names=tuple(dict.fromkeys((*known.names, *each.names))))


def _publish(context: Context, staged: list[Staged], skipped: list[str]) -> LoadResult:
    images, replaced = [], []
    warnings = [f"skipped: {text}" for text in skipped]
    for record, names, whole, others in staged:
        before = {name: context.index.resolve(name) for name in names}
        main = records.publish(context, record, names, whole, others)
        ours = {main.id, record.id, *(each.id for each in others)}
        for name, old in before.items():
            if old is not None and old not in ours:
                replaced.append((Reference.parse(name).familiar(), old))
        platforms = [member.platform for member in whole.members] if whole else [record.platform]
        familiar = tuple(Reference.parse(name).familiar() for name in names)
        images.append(Loaded(main.id, familiar, tuple(map(str, platforms))))
        if all(rank(host(), platform) is None for platform in platforms):
            have = ", ".join(map(str, platforms))
            warnings.append(f"image {main.id} is for {have}, this machine is {host()}")
    return LoadResult(tuple(images), tuple(replaced), tuple(warnings))


@contextlib.contextmanager
def _opened(source: Source, intake: Intake, progress: Progress) -> Iterator[Members]:
    if not isinstance(source, str | os.PathLike):
        yield _tar(source, intake, progress, close=False)
        return
    path = os.fspath(source)
    if stat.S_ISDIR(os.stat(path).st_mode):
        directory = DirectoryMembers(path, intake)
        try:
            yield directory
        finally:
            directory.close()
        return
    with open(path, "rb", buffering=0) as file:
        yield _tar(file, intake, progress, close=True)


def _tar(file: BinaryIO, intake: Intake, progress: Progress, *, close: bool) -> TarMembers:
    limit = _limit(file)
    with compression.open_decompressed(file, limit=limit, close_source=close) as plain:
        return TarMembers(plain, intake, progress)


def _limit(file: BinaryIO) -> int:
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError, ValueError):
        return _PIPE_LIMIT  # a stream that is no file of the kernel
    return layers.size_limit(status.st_size) if stat.S_ISREG(status.st_mode) else _PIPE_LIMIT
