"""Referrers: the manifests that name another as their subject, with and without the API.

Where a registry does not have the API, they are listed in an index under the tag
``ALGORITHM-HEX`` of the subject, which clients keep (distribution specification, "Referrers
Tag Schema"). Two clients that change it at once can lose one another's entry; no registry
without the API offers anything against that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, NotFound
from knarr.registry.endpoint import RESOLVE
from knarr.registry.failures import Refused
from knarr.registry.session import json_object, query

if TYPE_CHECKING:
    from knarr.registry.repository import Repository

INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_WITH_SUBJECT = frozenset({INDEX, _MANIFEST})


def tag_of(digest: str) -> str:
    """Return the fallback tag of a subject: at most 32 and 64 characters, what no tag has as -."""
    algorithm, _, value = digest.partition(":")
    text = f"{algorithm[:32]}-{value[:64]}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)


def referrers(
    repository: Repository, digest: str, artifact_type: str | None
) -> list[dict[str, Any]]:
    """Return the descriptors; see ``Repository.referrers``."""
    digests.parse(digest)
    path = f"/{repository.path}/referrers/{digest}{query(artifactType=artifact_type)}"
    what = f"referrers of {digest[:19]} in {repository}"
    found: list[dict[str, Any]] = []
    try:
        for document in repository.registry.pages(path, repository.pulling, what, RESOLVE):
            found += _manifests(document)
    except NotFound:
        found = _manifests(_listed(repository, tag_of(digest)) or {})
    # The filter is applied here as well: a registry may leave it to us.
    return [
        each
        for each in found
        if digests.is_valid(each.get("digest"))
        and (artifact_type is None or each.get("artifactType") == artifact_type)
    ]


def note(repository: Repository, media_type: str, digest: str, body: bytes) -> None:
    """Put a manifest that has a subject on the subject's list, where we have to keep that."""
    if media_type not in _WITH_SUBJECT or b'"subject"' not in body:
        return
    manifest = json_object(body, f"manifest {digest}")
    subject = manifest.get("subject")
    if not isinstance(subject, dict) or not digests.is_valid(subject.get("digest")):
        return
    tag = tag_of(subject["digest"])
    index = _listed(repository, tag) or {
        "schemaVersion": 2, "mediaType": INDEX, "manifests": []
    }  # fmt: skip
    entries = _manifests(index)
    if any(each.get("digest") == digest for each in entries):
        return
    entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(body)}
    config = manifest.get("config")
    kind = manifest.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else None
    )
    if kind:
        entry["artifactType"] = kind
    if manifest.get("annotations"):
        entry["annotations"] = manifest["annotations"]
    changed = {**index, "manifests": [*entries, entry]}
    repository.put_manifest(tag, INDEX, json.dumps(changed, separators=(",", ":")).encode())


def _listed(repository: Repository, tag: str) -> dict[str, Any] | None:
    try:
        found = repository.manifest(tag, (INDEX,))
    except NotFound:
        return None
    except Refused as error:
        if error.status in (400, 405):  # a registry that lets no such tag be
            return None
        raise
    return json_object(found.body, f"referrers {tag} of {repository}")


def _manifests(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = document.get("manifests") or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InvalidArchive("a list of referrers is no list of descriptors")
    return found
