"""From a reference to the manifest of one platform, by way of indexes if there are any."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive, NotFound, Unsupported
from knarr.images import config as configs
from knarr.images import documents, manifest, mediatypes, select
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index, Manifest
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.registry.failures import Refused
from knarr.registry.repository import Manifest as Document
from knarr.registry.repository import Repository

ACCEPT = (
    mediatypes.OCI_INDEX,
    mediatypes.DOCKER_INDEX,
    mediatypes.OCI_MANIFEST,
    mediatypes.DOCKER_MANIFEST,
)


class Inner(NamedTuple):
    """The index that led to an image: itself, those inside it, and the image's place."""

    document: Document
    parsed: Index
    nested: tuple[Document, ...]
    position: int
    descriptor: Descriptor


class Resolved(NamedTuple):
    """What is to be pulled: a manifest as it came and as it reads, and its index if it has one."""

    document: Document
    manifest: Manifest
    inner: Inner | None

    @property
    def digest(self) -> str:
        """The digest that the name stands for in the registry."""
        return self.inner.document.digest if self.inner else self.document.digest


class Source:
    """Documents of one repository, taken from the store where that has them."""

    def __init__(self, store: ContentStore, repository: Repository) -> None:
        self._store = store
        self.repository = repository

    def top(self, reference: Reference) -> Document:
        """Return what the reference stands for in the registry.

        A tag is only looked up when what it means is here: many registries count what is
        fetched and not what is looked at. Raises Refused.
        """
        named = reference.digest or reference.tag or "latest"
        if reference.digest is not None and self._store.has(reference.digest):
            return Document("", reference.digest, self._store.read(reference.digest))
        if reference.digest is None:
            with contextlib.suppress(Refused):  # the answer to GET says why
                head = self.repository.head_manifest(named, ACCEPT)
                if head is not None and head.digest and self._store.has(head.digest):
                    return Document(head.media_type, head.digest, self._store.read(head.digest))
        return self.repository.manifest(named, ACCEPT)

    def document(self, entry: Descriptor) -> Document:
        """Return the manifest or index that a descriptor names. Raises InvalidArchive, Refused."""
        if entry.data is not None:
            return Document(entry.media_type, entry.digest, entry.data)
        if self._store.has(entry.digest) and self._store.stat(entry.digest) == entry.size:
            return Document(entry.media_type, entry.digest, self._store.read(entry.digest))
        found = self.repository.manifest(entry.digest, ACCEPT)
        if len(found.body) != entry.size:
            raise InvalidArchive(
                f"manifest {entry.digest} has {len(found.body)} bytes,"
                f" not the {entry.size} announced"
            )
        return found._replace(media_type=entry.media_type or found.media_type)

    def small(self, descriptor: Descriptor, what: str) -> bytes:
        """Return a blob that is a document, verified. Raises InvalidArchive, Refused."""
        name = f"{what} {descriptor.digest}"
        if descriptor.data is not None:
            return descriptor.data
        if descriptor.size > documents.LIMIT:
            raise InvalidArchive(f"{name} is {descriptor.size} bytes, too large")
        if self._store.has(descriptor.digest) and (
            self._store.stat(descriptor.digest) == descriptor.size
        ):
            return self._store.read(descriptor.digest)
        return self.repository.right(descriptor.digest, lambda: self._fetched(descriptor, name))

    def _fetched(self, descriptor: Descriptor, name: str) -> bytes:
        with contextlib.closing(self.repository.blob(descriptor.digest)) as stream:
            data = stream.read(descriptor.size + 1)
        if len(data) != descriptor.size:
            raise InvalidArchive(f"{name} has not the {descriptor.size} bytes announced")
        found = digests.of(data, descriptor.digest.partition(":")[0])
        if found != descriptor.digest:
            raise InvalidArchive(f"{name} is corrupt: its bytes have digest {found}")
        return data


def resolve(
    source: Source, reference: Reference, wanted: Platform | None, top: Document
) -> Resolved:
    """Return what ``reference``, which is ``top`` in the registry, means for a platform.

    None means this machine. Raises NotFound when there is no image for it, Unsupported for
    what is no image, InvalidArchive.
    """
    what = reference.familiar()
    parsed = _parse(top, what)
    if isinstance(parsed, Manifest):
        return Resolved(top, _image(parsed, what), None)
    nested: list[Document] = []

    def read(entry: Descriptor) -> bytes:
        found = source.document(entry)
        nested.append(found)
        return found.body

    found = select.survey(parsed, read)
    position, chosen = _choose(source, found.candidates, wanted, what)
    document = source.document(chosen)
    image = _parse(document, f"manifest {chosen.digest}")
    if not isinstance(image, Manifest):
        raise InvalidArchive(f"manifest {chosen.digest} of {what} is an index")
    inner = Inner(top, parsed, tuple(nested), position, chosen)
    return Resolved(document, _image(image, what), inner)


def _choose(
    source: Source,
    candidates: list[select.Candidate],
    wanted: Platform | None,
    what: str,
) -> tuple[int, Descriptor]:
    offered: list[tuple[Descriptor, Platform]] = []
    for descriptor, platform in candidates:
        offered.append((descriptor, platform or _platform_of(source, descriptor)))
    try:
        chosen = select.choose(offered, wanted, what)
    except NotFound as error:
        raise NotFound(f"no matching manifest in the manifest list entries: {error}") from None
    for position, (descriptor, platform) in enumerate(offered):
        if descriptor is chosen:
            known = Descriptor(
                descriptor.media_type, descriptor.digest, descriptor.size, platform=platform
            )
            return position, known
    raise AssertionError("what was chosen is one of those offered")


def platform_of(source: Source, parsed: Manifest) -> Platform:
    """Return the platform that an image's config names. Raises InvalidArchive, Refused."""
    data = source.small(parsed.config, "image config")
    return configs.parse(data, f"image config {parsed.config.digest}").platform


def _platform_of(source: Source, descriptor: Descriptor) -> Platform:
    """Return the platform of an image whose index does not say."""
    parsed = _parse(source.document(descriptor), f"manifest {descriptor.digest}")
    if not isinstance(parsed, Manifest) or not parsed.is_image:
        return Platform("unknown", "unknown")
    return platform_of(source, parsed)


def _parse(document: Document, what: str) -> Manifest | Index:
    # Registries that lost the type, or never had one, call it plain JSON or octets.
    known = document.media_type
    if not (known in ACCEPT or known in mediatypes.DOCKER_SCHEMA1):
        known = ""
    return manifest.parse(document.body, known, what)


def _image(parsed: Manifest, what: str) -> Manifest:
    if not parsed.is_image:
        kind = parsed.artifact_type or parsed.config.media_type
        raise Unsupported(f"{what} is an artifact of type {kind}, which is no image")
    return parsed
