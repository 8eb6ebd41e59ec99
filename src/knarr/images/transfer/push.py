"""``knarr push``: layers that the registry lacks, then config, manifest and index, in that order.

What a registry has is not sent: a blob it has in this repository, nor one it has in another
that it can mount it from. Foreign layers are never sent. ``sending`` tells what becomes of layers
that are kept as their tars.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from knarr.errors import InvalidArchive, InvalidArgument, NotFound
from knarr.images import manifest as manifests
from knarr.images import mediatypes, records
from knarr.images.context import Context, Progress, ProgressEvent, translated
from knarr.images.descriptor import Descriptor
from knarr.images.index import IndexRecord
from knarr.images.manifest import Index, Manifest
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.rewriting import Rewriter
from knarr.images.target import Target, find_target, for_platform
from knarr.images.transfer import refusals, squeeze
from knarr.images.transfer.bringing import bring
from knarr.images.transfer.origins import OpenRegistry
from knarr.images.transfer.resolve import ACCEPT
from knarr.images.transfer.sending import Sending
from knarr.registry.failures import Refused
from knarr.registry.repository import Registry, Repository


class Pushed(NamedTuple):
    """A tag that a registry now has: the digest and size in bytes of what it stands for."""

    reference: Reference
    digest: str
    size: int


class _Document(NamedTuple):
    descriptor: Descriptor
    body: bytes


class _Plan(NamedTuple):
    """What is sent: blobs with the names they are shown by, and documents, the last with a tag.

    packs: layers are packed on the way, and the document is made of what comes of it.
    """

    blobs: dict[str, tuple[Descriptor, str]]
    documents: list[_Document]
    packs: bool = False


def tags_of(context: Context, reference: Reference, *, all_tags: bool) -> list[Reference]:
    """Return the tags to push. Raises NotFound in Docker's words when there is none."""
    found = [Reference.parse(name) for name in context.index.all_tags()]
    ours = [each for each in found if each.name == reference.name]
    if not ours:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
    if all_tags:
        return sorted(ours, key=str)
    if reference not in ours:
        raise NotFound(f"tag does not exist: {reference.familiar()}")
    return [reference]


def push(
    context: Context,
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    progress: Progress,
    open_registry: OpenRegistry,
) -> Pushed:
    """Push what a tag stands for: an image with all its platforms, or one of them.

    open_registry: for the registries that its layers came from, where they are not here any more.
    Raises NotFound, Unauthorized, InvalidArgument, Unavailable, Timeout.
    """
    if reference.digest is not None:
        raise InvalidArgument("cannot push a digest reference")
    repository = registry.repository(reference.path)
    what = reference.familiar()
    with context.lock.shared(), translated(f"push {what}"), refusals.of_push(reference):
        target = find_target(context.index, str(reference))
        plan = _plan(context, registry, repository, target, platform, progress)
        sending = Sending(context, registry, repository, open_registry, progress)
        sending.run(plan.blobs, packs=plan.packs)
        *others, last = _with_layers(plan.documents, sending.packed)
        for document in others:
            _put(repository, document, document.descriptor.digest)
        digest = _put(repository, last, reference.tag or "latest")
        if sending.packed and not plan.packs:
            progress(ProgressEvent("Warning", _changed(plan, last, len(sending.packed))))
    canonical = f"{reference.name}@{digest}"
    for image_id in {target.record.id, *(record.id for record in target.records)}:
        records.add_digest(context, image_id, canonical)
    size = len(last.body)
    progress(ProgressEvent("", f"{reference.tag}: digest: {digest} size: {size}"))
    return Pushed(reference, digest, size)


def _with_layers(documents: list[_Document], packed: dict[str, Descriptor]) -> list[_Document]:
    """Return documents, the last at the top, with layers as they were packed on the way."""
    if not packed:
        return documents
    bodies = {each.descriptor.digest: each.body for each in documents}
    rewriter = Rewriter(bodies.get, packed)
    top = rewriter.entry(documents[-1].descriptor)
    wanted = rewriter.reached(top)
    changed = [rewriter.entry(each.descriptor) for each in documents]
    bodies |= rewriter.documents
    # What was said about a manifest that is another now is not sent.
    return [_Document(each, bodies[each.digest]) for each in changed if each.digest in wanted]


def _changed(plan: _Plan, last: _Document, count: int) -> str:
    layers = "1 layer is" if count == 1 else f"{count} layers are"
    old = plan.documents[-1].descriptor.digest
    return (
        f"{layers} neither there nor where the image came from as it was, and went out compressed"
        f" anew: the digest is now {last.descriptor.digest}, no longer {old}"
    )


def _put(repository: Repository, document: _Document, reference: str) -> str:
    return repository.put_manifest(reference, document.descriptor.media_type, document.body)


def _plan(
    context: Context,
    registry: Registry,
    repository: Repository,
    target: Target,
    platform: Platform | None,
    progress: Progress,
) -> _Plan:
    if target.whole is None or platform is not None:
        return _one(context, target, platform)
    index = _document(context, target.whole.digest, target.whole.media_type)
    parsed = manifests.parse(index.body, target.whole.media_type)
    if not isinstance(parsed, Index):
        raise InvalidArchive(f"index {target.whole.digest} is no index")
    lacking = [each for each in _lacking(parsed, target.whole) if not _has(repository, each)]
    for path in _places_of(target, registry.host, repository.path):
        lacking = [
            each for each in lacking if not _brought(registry.repository(path), repository, each)
        ]
    if not lacking:
        return _whole(context, target.whole, index)
    if len(target.members) == 1:
        plan = _one(context, target, None)
        progress(ProgressEvent("Warning", (
            "Not all multiplatform-content is present and only the available single-platform image"
            f" was pushed: {target.whole.digest} -> {plan.documents[-1].descriptor.digest}"
        )))  # fmt: skip
        return plan
    raise NotFound(
        f"{len(lacking)} of the manifests of {target.whole.digest} are neither here nor in"
        f" {repository}: pull them with --platform, or push one with --platform"
    )


def _one(context: Context, target: Target, platform: Platform | None) -> _Plan:
    """Return the plan for one platform, by its own manifest."""
    member, record = None, target.record
    if platform is not None:
        member, record = for_platform(target, platform, target.record.id[:19])
    elif target.members:
        member, record = target.members[0]
    known = (
        (record.manifest_digest, record.manifest_media_type)
        if member is None
        else (member.manifest.digest, member.manifest.media_type)
    )
    document = _document(context, *known)
    blobs: dict[str, tuple[Descriptor, str]] = {}
    parsed = _add_image(context, document, blobs)
    packs = member is None and squeeze.is_wanted(document.body, parsed)
    return _Plan(blobs, [document], packs)


def _whole(context: Context, whole: IndexRecord, index: _Document) -> _Plan:
    """Return the plan for an index with everything of it that is here."""
    blobs: dict[str, tuple[Descriptor, str]] = {}
    documents: dict[str, _Document] = {}
    _add_index(context, index, blobs, documents, set(whole.blobs))
    return _Plan(blobs, [*documents.values(), index])


def _add_index(
    context: Context,
    index: _Document,
    blobs: dict[str, tuple[Descriptor, str]],
    documents: dict[str, _Document],
    ours: set[str],
) -> None:
    parsed = manifests.parse(index.body, index.descriptor.media_type)
    assert isinstance(parsed, Index)
    for entry in parsed.manifests:
        if entry.digest not in ours or entry.digest in documents:
            continue
        document = _document(context, entry.digest, entry.media_type)
        if mediatypes.is_index(entry.media_type):
            _add_index(context, document, blobs, documents, ours)
        else:
            _add_image(context, document, blobs)
        documents[entry.digest] = document


def _add_image(
    context: Context, document: _Document, blobs: dict[str, tuple[Descriptor, str]]
) -> Manifest:
    parsed = manifests.parse(document.body, document.descriptor.media_type)
    if not isinstance(parsed, Manifest):
        raise InvalidArchive(f"manifest {document.descriptor.digest} is no manifest")
    shown: Iterable[str] = ()
    if parsed.is_image:
        shown = records.read_config(context, parsed.config.digest).diff_ids
    names = list(shown) or [layer.digest for layer in parsed.layers]
    for layer, name in zip(parsed.layers, names, strict=False):
        if not mediatypes.is_foreign(layer.media_type):
            blobs.setdefault(layer.digest, (layer, name))
    # Shown by nobody: the config is a document of the image and no layer.
    blobs.setdefault(parsed.config.digest, (parsed.config, ""))
    return parsed


def _lacking(index: Index, whole: IndexRecord) -> list[Descriptor]:
    here = {*whole.extras, *(member.manifest.digest for member in whole.members)}
    return [entry for entry in index.manifests if entry.digest not in here]


def _places_of(target: Target, host: str, path: str) -> list[str]:
    """Return the other repositories of a registry that are known to have an image's index."""
    assert target.whole is not None
    names = (Reference.parse(each) for record in target.records for each in record.repo_digests)
    found = (
        each.path for each in names if each.domain == host and each.digest == target.whole.digest
    )
    return [each for each in dict.fromkeys(found) if each != path]


def _brought(source: Repository, target: Repository, entry: Descriptor) -> bool:
    """Take a manifest that is not here over from another repository; return whether it worked."""
    try:
        bring(source, target, entry)
    except Refused:
        return False
    return True


def _has(repository: Repository, entry: Descriptor) -> bool:
    try:
        return repository.head_manifest(entry.digest, (*ACCEPT, entry.media_type)) is not None
    except Refused:
        return False


def _document(context: Context, digest: str, media_type: str) -> _Document:
    body = context.store.read(digest)
    return _Document(Descriptor(media_type, digest, len(body)), body)
