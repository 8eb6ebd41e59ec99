"""``knarr manifest``: lists that are put together here and pushed, of manifests in a registry.

    CONTENT/lists/HEX.json   one list, by the digest of its name: its name and its entries

An entry keeps the bytes of its manifest, so that it can be put beside the list in another
repository of the registry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from knarr.content import durable
from knarr.content.store import ContentStore
from knarr.errors import Conflict, InvalidArchive, InvalidArgument, NotFound
from knarr.images import documents, mediatypes
from knarr.images import manifest as manifests
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index, Manifest
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.transfer import refusals
from knarr.images.transfer.bringing import bring
from knarr.images.transfer.resolve import ACCEPT, Source, platform_of
from knarr.registry.failures import Missing
from knarr.registry.repository import Manifest as Document
from knarr.registry.repository import Registry

# Bytes of all manifests of a list that is shown, which are held together.
_TOGETHER = 64 * 1024 * 1024

Connect = Callable[[str, bool], Registry]
"""Returns the registry of a host; the flag says whether it may be asked without TLS."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest of a list: where it is, what refers to it, its bytes."""

    reference: Reference
    descriptor: Descriptor
    raw: bytes

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able value that ``from_dict`` reads back."""
        return {
            "ref": str(self.reference),
            "descriptor": self.descriptor.to_dict(),
            "raw": base64.b64encode(self.raw).decode(),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Entry:
        """Return the entry that ``to_dict`` described."""
        return cls(
            Reference.parse(value["ref"]),
            Descriptor.from_dict(value["descriptor"]),
            base64.b64decode(value["raw"]),
        )

    def verbose(self) -> dict[str, Any]:
        """Return what ``docker manifest inspect --verbose`` shows of it."""
        is_docker = self.descriptor.media_type == mediatypes.DOCKER_MANIFEST
        return {
            "Ref": str(self.reference),
            "Descriptor": self.descriptor.to_dict(),
            "Raw": base64.b64encode(self.raw).decode(),
            "SchemaV2Manifest" if is_docker else "OCIManifest": json.loads(self.raw),
        }


class ManifestLists:
    """The lists of one content store."""

    def __init__(self, store: ContentStore, connect: Connect) -> None:
        self._store = store
        self._connect = connect

    def create(
        self, name: str, members: list[str], *, amend: bool = False, insecure: bool = False
    ) -> Reference:
        """Make a list of manifests that are in the registry, or add to one; return its name.

        Raises Conflict for a list that is there without ``amend``, NotFound, InvalidArgument.
        """
        target = Reference.parse(name)
        entries = {str(each.reference): each for each in self._read(target) or ()}
        if entries and not amend:
            raise Conflict("refusing to amend an existing manifest list with no --amend flag")
        for member in members:
            reference = Reference.parse(member)
            if reference.domain != target.domain:
                raise InvalidArgument(
                    "cannot use source images from a different registry than the target image:"
                    f" {reference.domain} != {target.domain}"
                )
            entries[str(reference)] = self._fetch(reference, insecure=insecure)
        self._write(target, list(entries.values()))
        return target

    def annotate(self, name: str, member: str, change: Callable[[Platform], Platform]) -> None:
        """Say otherwise what platform a manifest of a list is for. Raises NotFound."""
        target, reference = Reference.parse(name), Reference.parse(member)
        entries = self.entries(name)
        for position, entry in enumerate(entries):
            if entry.reference == reference:
                known = entry.descriptor.platform or Platform("", "")
                described = replace(entry.descriptor, platform=change(known))
                entries[position] = replace(entry, descriptor=described)
                self._write(target, entries)
                return
        raise NotFound(f"manifest for image {member} does not exist in {name}")

    def entries(self, name: str) -> list[Entry]:
        """Return the manifests of a list that is here. Raises NotFound."""
        found = self._read(Reference.parse(name))
        if found is None:
            raise NotFound(f"No such manifest: {name}")
        return found

    def inspect(self, name: str, *, insecure: bool = False) -> tuple[bytes, list[Entry]]:
        """Return the bytes of a manifest or list, of one here or of its registry, and its entries.

        The entries are those of a list, or the manifest itself. Raises NotFound.
        """
        reference = Reference.parse(name)
        local = self._read(reference)
        if local is not None:
            return _index(local).to_bytes(), local
        with self._connect(reference.domain, insecure) as registry, refusals.of_pull(reference):
            source = Source(self._store, registry.repository(reference.path))
            try:
                top = source.repository.manifest(reference.digest or reference.tag or "", ACCEPT)
            except Missing:
                raise NotFound(f"no such manifest: {name}") from None
            parsed = manifests.parse(top.body, top.media_type, name)
            if isinstance(parsed, Manifest):
                return top.body, [_entry(source, reference, top, parsed)]
            if sum(each.size for each in parsed.manifests) > _TOGETHER:
                raise InvalidArchive(f"{name} lists manifests of more than {_TOGETHER} bytes")
            return top.body, [
                Entry(reference.with_digest(each.digest), each, source.document(each).body)
                for each in parsed.manifests
            ]

    def push(
        self, name: str, *, purge: bool = False, insecure: bool = False
    ) -> tuple[str, list[Reference]]:
        """Push a list; return its digest and the manifests that had to be put beside it.

        Those of another repository are, with their blobs mounted. Raises NotFound,
        InvalidArgument for an entry without a platform, Unauthorized, Unavailable.
        """
        target = Reference.parse(name)
        entries = self.entries(name)
        for entry in entries:
            platform = entry.descriptor.platform
            if platform is None or not (platform.os and platform.architecture):
                raise InvalidArgument(
                    f"manifest {entry.reference} must have an OS and Architecture to be pushed"
                    " to a registry"
                )
        index = _index(entries)
        moved: list[Reference] = []
        with self._connect(target.domain, insecure) as registry, refusals.of_push(target):
            repository = registry.repository(target.path)
            for entry in entries:
                if entry.reference.path != target.path:
                    source = registry.repository(entry.reference.path)
                    bring(source, repository, entry.descriptor, entry.raw)
                    moved.append(target.with_digest(entry.descriptor.digest))
            digest = repository.put_manifest(
                target.tag or "latest", index.media_type, index.to_bytes()
            )
        if purge:
            self.remove(name)
        return digest, moved

    def remove(self, name: str) -> None:
        """Remove a list that is here. Raises NotFound."""
        try:
            os.unlink(self._path(Reference.parse(name)))
        except FileNotFoundError:
            raise NotFound(f"No such manifest: {name}") from None

    def _fetch(self, reference: Reference, *, insecure: bool) -> Entry:
        with self._connect(reference.domain, insecure) as registry, refusals.of_pull(reference):
            source = Source(self._store, registry.repository(reference.path))
            found = source.repository.manifest(reference.digest or reference.tag or "", ACCEPT)
            parsed = manifests.parse(found.body, found.media_type, reference.familiar())
            if not isinstance(parsed, Manifest):
                raise InvalidArgument(f"{reference.familiar()} is a manifest list")
            return _entry(source, reference, found, parsed)

    def _path(self, reference: Reference) -> str:
        name = hashlib.sha256(str(reference).encode()).hexdigest()
        return os.path.join(self._store.root, "lists", f"{name}.json")

    def _read(self, reference: Reference) -> list[Entry] | None:
        try:
            with open(self._path(reference), "rb") as file:
                value = json.loads(file.read())
        except FileNotFoundError:
            return None
        return [Entry.from_dict(each) for each in value["entries"]]

    def _write(self, reference: Reference, entries: list[Entry]) -> None:
        path = self._path(reference)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        value = {"ref": str(reference), "entries": [each.to_dict() for each in entries]}
        durable.replace(path, documents.dump(value))


def _entry(source: Source, reference: Reference, found: Document, parsed: Manifest) -> Entry:
    platform = platform_of(source, parsed) if parsed.is_image else None
    kind = found.media_type if found.media_type in ACCEPT else parsed.media_type
    return Entry(
        reference, Descriptor(kind, found.digest, len(found.body), platform=platform), found.body
    )


def _index(entries: list[Entry]) -> Index:
    """Return the list: an OCI index when all in it is OCI's, else Docker's manifest list."""
    is_oci = all(each.descriptor.media_type == mediatypes.OCI_MANIFEST for each in entries)
    kind = mediatypes.OCI_INDEX if is_oci else mediatypes.DOCKER_INDEX
    return Index(kind, tuple(each.descriptor for each in entries))
