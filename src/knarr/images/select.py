"""Choosing among the manifests of an index, nested ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from knarr.errors import InvalidArchive, NotFound
from knarr.images import manifest, mediatypes
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index
from knarr.images.platform import Platform, host, rank

_DEPTH = 4
_ENTRIES = 1000


class Candidate(NamedTuple):
    """An image manifest found in an index, and the platform it is for if that is said."""

    descriptor: Descriptor
    platform: Platform | None


class Survey(NamedTuple):
    """What an index leads to: images, the indexes inside it, and what is neither."""

    candidates: list[Candidate]
    inner: list[Descriptor]
    others: list[Descriptor]


def survey(index: Index, read: Callable[[Descriptor], bytes | None]) -> Survey:
    """Return what an index and the indexes inside it list, in order, each once.

    Attestations, ``unknown/unknown`` and entries of media types that knarr does not know are no
    candidates, as the spec wants. ``read`` returns the bytes of an inner index, or None when it
    is not here. Raises InvalidArchive when nesting or number of entries is beyond reason.
    """
    found = Survey([], [], [])
    seen: set[str] = set()
    _walk(index, read, _DEPTH, found, seen)
    return found


def _walk(
    index: Index,
    read: Callable[[Descriptor], bytes | None],
    depth: int,
    found: Survey,
    seen: set[str],
) -> None:
    for entry in index.manifests:
        if entry.digest in seen:
            continue
        seen.add(entry.digest)
        if len(seen) > _ENTRIES:
            raise InvalidArchive(f"the index lists more than {_ENTRIES} manifests")
        if manifest.is_attestation(entry):
            found.others.append(entry)
        elif mediatypes.is_manifest(entry.media_type):
            found.candidates.append(Candidate(entry, entry.platform))
        elif mediatypes.is_index(entry.media_type):
            if depth == 0:
                raise InvalidArchive(f"index {entry.digest} is nested too deep")
            if (data := read(entry)) is None:
                continue
            inner = manifest.parse(data, entry.media_type, f"index {entry.digest}")
            if isinstance(inner, Index):
                found.inner.append(entry)
                _walk(inner, read, depth - 1, found, seen)
        else:
            found.others.append(entry)


def choose(
    offered: Iterable[tuple[Descriptor, Platform]], wanted: Platform | None, what: str
) -> Descriptor:
    """Return the entry that serves ``wanted`` best; None means this machine.

    Without a wish, the only image of an index is taken whatever it is for. Raises
    NotFound naming the platforms that ``what`` has.
    """
    entries = list(offered)
    target = wanted or host()
    ranked = [
        (score, position, entry)
        for position, (entry, platform) in enumerate(entries)
        if (score := rank(target, platform)) is not None
    ]
    if ranked:
        return min(ranked, key=lambda item: item[:2])[2]
    if wanted is None and len(entries) == 1:
        return entries[0][0]
    have = ", ".join(sorted({str(platform) for _, platform in entries})) or "none"
    raise NotFound(f"{what} has no image for {target}; it has: {have}")
