"""``knarr image verify``: every byte that images are made of against its digest, and repairs.

Blobs are read as they are stored, layers compressed or as their tars; a blob with the right digest
unpacks to the layer that it was found to be when it came. Of layers that are not unpacked, the tar
that containers see is read too, where it is not the very file that is stored.
What is wrong can be had again from the registries that the image came from.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from knarr.content import compression
from knarr.content import digest as digests
from knarr.errors import InvalidArchive, KnarrError, NotFound
from knarr.images import documents, layers, tars
from knarr.images.context import Context, Progress, ProgressEvent, ignore_progress, translated
from knarr.images.reference import DEFAULT_DOMAIN, Reference
from knarr.images.target import Target, find_target, target_of
from knarr.images.transfer.resolve import ACCEPT
from knarr.snapshots.driver import LayerSource

if TYPE_CHECKING:
    from knarr.images.descriptor import Descriptor
    from knarr.images.index import ImageRecord, Member
    from knarr.registry.lanes import WideStream
    from knarr.registry.repository import Registry, Repository

OpenRegistry = Callable[[str], "Registry"]
_CHUNK = 1024 * 1024
_DOCUMENTS = ("index", "manifest")
UNPACKED = "layer in use"
FILES = "files in use"
_REPAIR = "'knarr image verify --repair' makes it anew"
_ADVICE = "remove its containers and the images, and pull or load them again"
# Files that are told of one image: a disk that loses one loses many.
_MOST = 20


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as its digest says.

    kind: index, manifest, config, layer, attestation, or by chain id ``UNPACKED``, the tar of a
    layer that containers see, and ``FILES``, a file that they see. images: familiar names, or ids,
    of the images that have it.
    reason: "missing", or what is wrong. repaired: whether it is right now. trouble: why not.
    """

    kind: str
    digest: str
    images: tuple[str, ...]
    reason: str
    repaired: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found: how many blobs and layers were read, their bytes, and what is wrong."""

    checked: int
    size: int
    damages: tuple[Damage, ...]

    @property
    def is_well(self) -> bool:
        """Whether all is right now."""
        return all(each.repaired for each in self.damages)


@dataclass(slots=True)
class _Piece:
    """A blob that images are made of. size: bytes, None if it is not known.

    packed: the digest of the compressed layer that it is the tar of, and of which it has size and
    urls.
    """

    kind: str
    size: int | None = None
    urls: tuple[str, ...] = ()
    packed: str = ""
    images: dict[str, None] = field(default_factory=dict)
    sources: dict[Reference, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Use:
    """A layer of the driver's: what it was made of, and the images that have it."""

    layer: Descriptor
    diff_id: str
    images: dict[str, None] = field(default_factory=dict)


def verify(
    context: Context,
    names: Iterable[str] = (),
    open_registry: OpenRegistry | None = None,
    progress: Progress = ignore_progress,
    *,
    files: bool = False,
) -> Verified:
    """Return what is wrong with images, all of them when none is named.

    open_registry: have what is wrong brought in again. files: compare each file that containers
    see. Raises NotFound for a name.
    """
    with context.lock.shared(), translated("verify"):
        targets = [find_target(context.index, name) for name in names] or _all(context)
        pieces = _pieces(context, targets)
        damages: list[Damage] = []
        size = checked = 0
        for digest, piece in pieces.items():
            progress(ProgressEvent("Verifying", digest))
            reason = _wrong(lambda digest=digest: context.store.verify(digest))  # type: ignore[misc]
            checked += 1
            if not reason:
                size += context.store.stat(digest)
                continue
            damage = Damage(piece.kind, digest, tuple(piece.images), reason)
            if open_registry is not None:
                damage = _repaired(context, piece, damage, open_registry)
            damages.append(damage)
        sound = pieces.keys() - {each.digest for each in damages if not each.repaired}
        count, wrong = _layers(context, targets, sound, mend=open_registry is not None)
        if files and not any(each for each in damages if not each.repaired):
            wrong += _files(context, targets)
        return Verified(checked + count, size, (*damages, *wrong))


def _all(context: Context) -> list[Target]:
    """Return every image, each with every index that it belongs to."""
    found = [Target(record) for record in context.index.list()]
    for index in context.index.indexes():
        for member in index.members:
            for record in context.index.find(member.image_id):
                found.append(target_of(context.index, record, index.digest))
    return found


def _pieces(context: Context, targets: Iterable[Target]) -> dict[str, _Piece]:
    pieces: dict[str, _Piece] = {}
    for target in targets:
        names = tuple(dict.fromkeys(
            _shown(context, each) for each in target.records or (target.record,)
        ))  # fmt: skip
        sources = _sources(context, target)
        for digest, piece in _stored(context, target):
            known = pieces.setdefault(digest, piece)
            if piece.packed and not known.packed:
                known.packed, known.size, known.urls = piece.packed, piece.size, piece.urls
            known.images.update(dict.fromkeys(names))
            known.sources.update(dict.fromkeys(sources))
    return pieces


def _stored(context: Context, target: Target) -> Iterator[tuple[str, _Piece]]:
    """Yield what an image is made of as it is stored, layers in either form or in both."""
    for digest, piece in _of_target(target):
        tar = tars.of(context.store, digest) if piece.kind == "layer" else None
        if tar is not None:
            yield tar, replace(piece, packed=digest, images={}, sources={})
        if tar is None or context.store.has(digest):
            yield digest, piece


def _of_target(target: Target) -> Iterator[tuple[str, _Piece]]:
    for record in target.records:
        yield record.manifest_digest, _Piece("manifest")
        yield record.config_digest, _Piece("config")
        for layer in record.layers:
            yield layer.digest, _Piece("layer", layer.size, layer.urls)
    if target.whole is not None:
        yield target.whole.digest, _Piece("index", target.whole.size)
        for member, _ in target.members:
            yield from _of_member(member)
        for digest in target.whole.extras:
            yield digest, _Piece("attestation")


def _of_member(member: Member) -> Iterator[tuple[str, _Piece]]:
    yield member.manifest.digest, _Piece("manifest", member.manifest.size)
    for position, digest in enumerate(member.blobs):
        yield digest, _Piece("layer" if position else "config")


def _shown(context: Context, record: ImageRecord) -> str:
    tags = context.index.tags(record.id)
    return Reference.parse(tags[0]).familiar() if tags else record.id[:19]


def _sources(context: Context, target: Target) -> list[Reference]:
    """Return the repositories where an image came from, or is named to be."""
    found: list[Reference] = []
    for record in target.records:
        found += [Reference.parse(each) for each in record.repo_digests]
    for record in target.records:
        named = [Reference.parse(tag) for tag in context.index.tags(record.id)]
        found += [each for each in named if each.domain != DEFAULT_DOMAIN]
    return list(dict.fromkeys(replace(each, tag=None, digest=None) for each in found))


def _layers(
    context: Context, targets: Iterable[Target], sound: Container[str], *, mend: bool
) -> tuple[int, list[Damage]]:
    """Check what containers see of layers; return how many tars were read, and what is wrong.

    sound: digests of blobs that are right. mend: have a tar again from there.
    """
    users: dict[str, _Use] = {}
    for target in targets:
        for record in target.records:
            chain = digests.chain_ids(record.diff_ids)
            for layer, diff_id, chain_id in zip(record.layers, record.diff_ids, chain, strict=True):
                use = users.setdefault(chain_id, _Use(layer, diff_id))
                use.images[_shown(context, record)] = None
    damages, count = [], 0
    for chain_id, use in users.items():
        if not context.driver.has(chain_id) or _is_the_blob(context, chain_id, use.diff_id):
            continue
        count += 1
        if reason := _wrong(lambda chain_id=chain_id: context.driver.verify_layer(chain_id)):  # type: ignore[misc]
            damage = Damage(UNPACKED, chain_id, tuple(use.images), reason, trouble=_REPAIR)
            if mend and tars.held(context.store, use.layer.digest) in sound:
                damage = _mended(context, damage, use)
            elif mend:
                damage = replace(damage, trouble=_ADVICE)
            damages.append(damage)
    return count, damages


def _is_the_blob(context: Context, chain_id: str, diff_id: str) -> bool:
    """Return whether the tar that containers see is the file that is stored as a blob."""
    try:
        path = context.driver.layer_tar(chain_id)
        return path is not None and os.path.samefile(path, context.store.path(diff_id))
    except (FileNotFoundError, NotFound):
        return False


def _mended(context: Context, damage: Damage, use: _Use) -> Damage:
    """Return the damage after the tar was made again of the layer as it is stored."""
    source = LayerSource(
        use.diff_id,
        lambda: layers.open_layer(context.store, use.layer.digest),
        blob_path=context.store.path(use.diff_id),
        blob_digest=use.diff_id,
    )
    try:
        context.driver.mend_layer(damage.digest, source)
    except (KnarrError, OSError) as error:
        return replace(damage, trouble=str(error))
    return replace(damage, repaired=True, trouble="")


def _files(context: Context, targets: Iterable[Target]) -> list[Damage]:
    """Compare what containers see of images with their layers; return what is otherwise."""
    from knarr.images import seen

    damages, done = [], set()
    for record in (record for target in targets for record in target.records):
        if record.chain_id in done or not context.driver.has(record.chain_id):
            continue
        done.add(record.chain_id)
        try:
            found = list(itertools.islice(seen.differences(context, record), _MOST))
        except (InvalidArchive, NotFound, OSError) as error:
            found = [str(error)]
        damages += [
            Damage(
                FILES,
                record.chain_id,
                (_shown(context, record),),
                reason,
                trouble="" if position else _ADVICE,  # said once
            )
            for position, reason in enumerate(found)
        ]
    return damages


def _wrong(check: Callable[[], None]) -> str:
    """Return what a check finds wrong, or nothing."""
    try:
        check()
    except NotFound:
        return "missing"
    except InvalidArchive as error:
        return str(error).rpartition(": ")[2]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _repaired(
    context: Context, piece: _Piece, damage: Damage, open_registry: OpenRegistry
) -> Damage:
    """Return the damage after an attempt to have the blob again."""
    trouble = "no registry is known to have it: load the image's archive again"
    for source in piece.sources:
        try:
            with open_registry(source.domain) as registry:
                repository = registry.repository(source.path)
                fetch = partial(_fetch, context, repository, piece, damage.digest)
                repository.right(piece.packed or damage.digest, fetch)
        except (KnarrError, OSError) as error:
            trouble = str(error)
        else:
            return replace(damage, repaired=True)
    return replace(damage, trouble=trouble)


def _fetch(context: Context, repository: Repository, piece: _Piece, digest: str) -> None:
    """Store a blob anew, in the place of what is there. Raises what the registry refuses."""
    if piece.kind in _DOCUMENTS:
        context.store.add(repository.manifest(digest, ACCEPT).body, digest)
        return
    with contextlib.closing(repository.blob(piece.packed or digest, urls=piece.urls)) as stream:
        if piece.packed:
            _store_tar(context, stream, piece, digest)
            return
        limit = documents.LIMIT if piece.kind == "config" else None
        buffer = memoryview(bytearray(_CHUNK))
        with context.store.ingest(digest, piece.size) as writer:
            while count := stream.readinto(buffer):
                writer.write(buffer[:count])
                if limit is not None and writer.size > limit:
                    raise InvalidArchive(f"image config {digest} is larger than {limit} bytes")
            writer.commit()


def _store_tar(context: Context, stream: WideStream, piece: _Piece, digest: str) -> None:
    """Store the tar that a compressed layer unpacks to, in the place of what is there."""
    limit = layers.size_limit(piece.size or 0)
    plain = compression.open_decompressed(cast("BinaryIO", stream), limit=limit, close_source=False)
    with plain, context.store.ingest(digest) as writer:
        while chunk := plain.read(_CHUNK):
            writer.write(chunk)
        writer.commit()
