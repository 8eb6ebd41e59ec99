"""Which endpoint a path is, and whether the names in it are allowed.

Paths are read from their end: a repository may have components that are called ``blobs`` or
``manifests``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from knarr.content import digest as digests
from knarr.registryd import faults
from knarr.registryd.faults import Fault

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
# What fits into clients' 255 characters beside the name of a host.
_LONGEST = 255


class Route(NamedTuple):
    """An endpoint and what its path names: ``kind`` is one of ping, catalog, tags, referrers,
    manifest, blob, uploads (to begin one) and upload; ``last`` is a tag, digest or upload.
    """

    kind: str
    repository: str = ""
    last: str = ""


def route(path: str) -> Route | None:
    """Return what a path is, None for none of the API. Raises Fault for a name that cannot be."""
    if path in ("/v2", "/v2/"):
        return Route("ping")
    if path == "/v2/_catalog":
        return Route("catalog")
    words = path.split("/")
    if words[:2] != ["", "v2"] or len(words) < 5:
        return None
    found = _of(words)
    return None if found is None else Route(found.kind, repository(found.repository), found.last)


def _of(words: list[str]) -> Route | None:
    last, before = words[-1], words[-2]
    if before == "tags" and last == "list":
        return Route("tags", "/".join(words[2:-2]))
    if before == "manifests":
        return Route("manifest", "/".join(words[2:-2]), last)
    if before == "referrers":
        return Route("referrers", "/".join(words[2:-2]), last)
    if before == "blobs":
        if last == "uploads":
            return Route("uploads", "/".join(words[2:-2]))
        return Route("blob", "/".join(words[2:-2]), last)
    if words[-3:-1] == ["blobs", "uploads"]:
        kind = "upload" if last else "uploads"
        return Route(kind, "/".join(words[2:-3]), last)
    return None


def repository(text: str) -> str:
    """Return the name of a repository. Raises Fault when it is none."""
    if len(text) > _LONGEST or _REPOSITORY.match(text) is None:
        raise Fault(
            400,
            "NAME_INVALID",
            f"{text[:_LONGEST]!r} is no name for a repository: lower-case letters and digits, "
            "joined by ., _, __, - or /",
            detail={"name": text[:_LONGEST]},
        )
    return text


def is_tag(text: str) -> bool:
    """Return whether text can be a tag."""
    return _TAG.match(text) is not None


def digest(text: str) -> str:
    """Return a digest. Raises Fault when it is malformed."""
    if not digests.is_valid(text):
        raise faults.digest_invalid(text)
    return text


def existing(repository: str, text: str) -> str:
    """Return a tag or digest of what is looked for: what can be none is not there. Raises Fault."""
    if ":" not in text and not is_tag(text):
        raise faults.manifest_unknown(repository, text[:200])
    return reference(text)


def reference(text: str) -> str:
    """Return a tag or digest. Raises Fault when it is neither."""
    if ":" in text:
        return digest(text)
    if not is_tag(text):
        raise Fault(
            400,
            "MANIFEST_INVALID",
            f"{text[:200]!r} is no tag: up to 128 letters, digits, ., _ and -",
        )
    return text
