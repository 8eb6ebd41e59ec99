"""What a name stands for now: in its registry, or in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.errors import NotFound
from knarr.images.context import Context, translated
from knarr.images.target import find_target
from knarr.images.transfer import refusals
from knarr.images.transfer.resolve import ACCEPT

if TYPE_CHECKING:
    from knarr.images.reference import Reference
    from knarr.registry.repository import Registry


def in_registry(registry: Registry, reference: Reference) -> str:
    """Return the digest that a tag stands for: of the index of an image for several platforms.

    Raises NotFound, Unauthorized, Unavailable, Timeout.
    """
    tag = reference.tag or "latest"
    with translated(f"look up {reference.familiar()}"), refusals.of_pull(reference):
        repository = registry.repository(reference.path)
        head = repository.head_manifest(tag, ACCEPT)
        if head is not None and head.digest:
            return head.digest
        return repository.manifest(tag, ACCEPT).digest  # or why there is none


def in_store(context: Context, reference: Reference) -> str:
    """Return the digest of the image that a name means here. Raises NotFound."""
    target = find_target(context.index, str(reference))
    if target.whole is not None:
        return target.whole.digest
    prefix = f"{reference.name}@"
    known = [each for each in target.record.repo_digests if each.startswith(prefix)]
    if len(known) == 1:
        return known[0].removeprefix(prefix)
    if not target.record.manifest_digest:
        raise NotFound(f"{reference.familiar()} has no digest here: pull or load it again")
    return target.record.manifest_digest
