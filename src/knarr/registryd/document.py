"""What a registry has to know of a manifest: its type, what it needs, what it is about.

The bytes are kept as they came. Types that nobody knows yet are taken as well, if they are JSON:
what they refer to is looked for under the names that all known types use.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from knarr.content import digest as digests
from knarr.registryd.faults import Fault

LIMIT = 4 * 1024 * 1024
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_V1 = ("application/vnd.docker.distribution.manifest.v1+", "application/json")
_INDEXES = (OCI_INDEX, DOCKER_LIST)
_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_JSON = re.compile(r"application/(?:json|[A-Za-z0-9!#$&^_.+-]{1,200}\+json)\Z")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest's content, as far as a registry minds it.

    blobs: digests and sizes that have to be in the repository. others: manifests that it names.
    subject: digest of what it is about. artifact_type, annotations: as referrers are told.
    """

    media_type: str
    blobs: dict[str, int]
    others: frozenset[str]
    subject: str | None
    artifact_type: str | None
    annotations: dict[str, str]


def read(body: bytes, content_type: str | None) -> Document:
    """Return what a manifest says. Raises Fault."""
    said = (content_type or "").partition(";")[0].strip()
    content = _json(body)
    inner = content.get("mediaType")
    if inner is not None and not isinstance(inner, str):
        raise _invalid("mediaType is no string")
    media_type = said or inner or _guessed(content)
    if content.get("schemaVersion") == 1 or media_type.startswith(_DOCKER_V1[0]):
        raise _invalid("Docker's schema 1 is obsolete: push it with a client of this decade")
    if inner and inner != media_type:
        raise _invalid(f"mediaType says {inner}, Content-Type {media_type}")
    if _JSON.match(media_type) is None:
        raise _invalid(f"Content-Type {media_type[:200]!r} is none of a manifest")
    _check_kind(content, media_type)
    config = _descriptor(content.get("config"), "config")
    artifact_type = _string(content, "artifactType") or None
    if artifact_type is None and config is not None:
        artifact_type = _string(content["config"], "mediaType") or None
    subject = _descriptor(content.get("subject"), "subject")
    return Document(
        media_type=media_type,
        blobs=_blobs(content, config),
        others=frozenset(digest for digest, _, _ in _descriptors(content, "manifests")),
        subject=subject[0] if subject else None,
        artifact_type=artifact_type,
        annotations=_annotations(content),
    )


def _check_kind(content: dict[str, Any], media_type: str) -> None:
    """Raise Fault for what is an index to one reader and a manifest to another.

    Which of them a digest means would be up to a header (CVE-2021-41190).
    """
    single = [name for name in ("config", "layers") if content.get(name) is not None]
    if content.get("manifests") is not None and (single or media_type in _MANIFESTS):
        raise _invalid(f"it has manifests, and is a manifest by {(*single, 'its type')[0]}")
    if single and media_type in _INDEXES:
        raise _invalid(f"its type is that of an index, but it has {single[0]}")


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"it is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _invalid("it is not a JSON object")
    return content


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _annotations(content: dict[str, Any]) -> dict[str, str]:
    """Return the annotations: clients of referrers cannot read a list with others than texts."""
    found = content.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise _invalid("annotations are no object of strings")
    return found


def _guessed(content: dict[str, Any]) -> str:
    """Return the type of a manifest whose client did not say any."""
    return OCI_INDEX if "manifests" in content else OCI_MANIFEST


def _blobs(content: dict[str, Any], config: tuple[str, int, bool] | None) -> dict[str, int]:
    """Return digests and sizes of the blobs that a client must have pushed."""
    found = _descriptors(content, "layers") + _descriptors(content, "blobs")
    if config is not None:
        found.append(config)
    return {digest: size for digest, size, elsewhere in found if not elsewhere}


def _descriptors(content: dict[str, Any], name: str) -> list[tuple[str, int, bool]]:
    value = content.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(f"{name} is no list")
    found = (_descriptor(each, f"{name}[{number}]") for number, each in enumerate(value))
    return [each for each in found if each is not None]


def _descriptor(value: object, where: str) -> tuple[str, int, bool] | None:
    """Return digest, size, and whether the bytes are elsewhere (layers not to be distributed)."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _invalid(f"{where} is no descriptor")
    digest, size = value.get("digest"), value.get("size")
    if not digests.is_valid(digest):
        raise _invalid(f"{where}.digest {str(digest)[:200]!r} is not one of sha256 or sha512")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _invalid(f"{where}.size is no number of bytes")
    kind = _string(value, "mediaType")
    elsewhere = ".nondistributable." in kind or ".foreign." in kind or bool(value.get("urls"))
    return str(digest), size, elsewhere


def _string(content: dict[str, Any], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise _invalid(f"{name} is no string")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can write
        raise _invalid(f"{name} is no text") from None
    return value


def _invalid(why: str) -> Fault:
    return Fault(400, "MANIFEST_INVALID", f"this manifest cannot be taken: {why}")
