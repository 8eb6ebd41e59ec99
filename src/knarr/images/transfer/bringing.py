"""A manifest of one repository into another of the same registry, which moves no bytes of it."""

from __future__ import annotations

from typing import Any

from knarr.errors import InvalidArchive
from knarr.images import manifest as manifests
from knarr.images import mediatypes
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index
from knarr.images.transfer.resolve import ACCEPT
from knarr.registry.repository import Repository

_DEPTH = 4
_ENTRIES = 1000


def bring(
    source: Repository, target: Repository, entry: Descriptor, raw: bytes | None = None
) -> None:
    """Have a manifest, and all that it leads to, in ``target`` as it is in ``source``.

    raw: its bytes, where they are known. Blobs are mounted; where the registry does not do that
    they are copied through here. Raises Refused, InvalidArchive.
    """
    _bring(source, target, entry, raw, _DEPTH, set())


def _bring(
    source: Repository,
    target: Repository,
    entry: Descriptor,
    raw: bytes | None,
    depth: int,
    seen: set[str],
) -> None:
    """Bring each manifest once: indexes may list one another any number of times."""
    if entry.digest in seen:
        return
    seen.add(entry.digest)
    if len(seen) > _ENTRIES:
        raise InvalidArchive(f"index {entry.digest} leads to more than {_ENTRIES} manifests")
    if raw is None:
        raw = source.manifest(entry.digest, (*ACCEPT, entry.media_type)).body
    if mediatypes.is_index(entry.media_type) or mediatypes.is_manifest(entry.media_type):
        parsed = manifests.parse(raw, entry.media_type, f"manifest {entry.digest}")
        if isinstance(parsed, Index):
            for inner in parsed.manifests if depth else ():
                _bring(source, target, inner, None, depth - 1, seen)
        else:
            for blob in (parsed.config, *parsed.layers):
                _blob(source, target, blob)
    target.put_manifest(entry.digest, entry.media_type, raw)


def _blob(source: Repository, target: Repository, blob: Descriptor) -> None:
    if mediatypes.is_foreign(blob.media_type) or target.has_blob(blob.digest) is not None:
        return
    if target.mount(blob.digest, source.path):
        return

    def opened(offset: int) -> Any:
        return source.blob(blob.digest, offset=offset)

    target.push_blob(blob.digest, blob.size, opened)
