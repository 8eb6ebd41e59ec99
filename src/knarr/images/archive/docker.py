"""docker-archive: what ``docker save`` and ``skopeo copy docker-archive:`` write.

``manifest.json`` lists images, each with the path of its config, its
names and the paths of its layers, plain or compressed, bottom first. Layers may
be links to one another. Source: "Docker Image Specification v1.2", and moby's tarexport.
"""

from __future__ import annotations

import re
from typing import Any

from knarr.content import digest as digests
from knarr.content.store import Blob
from knarr.errors import InvalidArchive, InvalidArgument
from knarr.images import config as configs
from knarr.images import documents, records
from knarr.images.archive.members import normalise
from knarr.images.archive.staging import Staged, Staging
from knarr.images.config import ImageConfig
from knarr.images.index import ImageRecord
from knarr.images.platform import Platform, rank
from knarr.images.reference import Reference

MANIFEST = "manifest.json"
_NAMED = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?")
_MAX_IMAGES = 1000


def stage(staging: Staging, platform: Platform | None, already: list[Staged]) -> list[Staged]:
    """Return the images of ``manifest.json``.

    ``already`` are those of the archive's OCI layout: they come back only with further names, since
    an image for several platforms has one of them here, for old readers. Raises
    InvalidArchive; images for another platform than asked are skipped.
    """
    staged = []
    taken = {name for each in already for name in each.names}
    for entry in _entries(staging):
        names = _names(documents.strings(entry, "RepoTags", MANIFEST))
        config = _config(staging, documents.text(entry, "Config", MANIFEST))
        known = [each for each in already if config.digest in each.ids]
        if known:
            best = next((each for each in known if set(each.names) & set(names)), known[0])
            staged.append(best._replace(names=tuple(each for each in names if each not in taken)))
            continue
        parsed = configs.parse(staging.context.store.read(config.digest), f"config {config.digest}")
        if platform is not None and rank(platform, parsed.platform) is None:
            if not names or not set(names) <= taken:
                staging.skipped.append(f"image {config.digest} is for {parsed.platform}")
            continue
        staged.append(Staged(_image(staging, entry, config, parsed), names))
    return staged


def _image(
    staging: Staging, entry: dict[str, Any], config: Blob, parsed: ImageConfig
) -> ImageRecord:
    diff_ids = parsed.diff_ids
    paths = documents.strings(entry, "Layers", MANIFEST)
    if len(paths) != len(diff_ids):
        raise InvalidArchive(
            f"image {config.digest} has {len(paths)} layers but {len(diff_ids)} diff ids"
        )
    layers = [_layer(staging, path, diff_id) for path, diff_id in zip(paths, diff_ids, strict=True)]
    measured = staging.laid_out(layers, parsed)
    return records.synthesise(
        staging.context, staging.intake, config, layers, staging.progress, measured
    )


def _entries(staging: Staging) -> list[dict[str, Any]]:
    value = documents.parse(staging.members.read(MANIFEST), MANIFEST)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidArchive(f"{MANIFEST} is not a list of images")
    if len(value) > _MAX_IMAGES:
        raise InvalidArchive(f"{MANIFEST} lists more than {_MAX_IMAGES} images")
    return value


def _config(staging: Staging, path: str) -> Blob:
    name = normalise(path)
    match = _NAMED.fullmatch(name)
    config = staging.members.blob(name, f"sha256:{match[1]}" if match else None)
    if config.size > documents.LIMIT:
        raise InvalidArchive(f"image config {name} is {config.size} bytes, too large")
    return config


def _layer(staging: Staging, path: str, diff_id: str) -> Blob:
    if not digests.is_valid(diff_id):
        raise InvalidArchive(f"{diff_id[:80]!r} is not a diff id")
    return staging.plain_layer(staging.members.blob(normalise(path)), diff_id)


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        references = [Reference.parse(text) for text in texts]
    except InvalidArgument as error:
        raise InvalidArchive(f"{MANIFEST}: RepoTags: {error}") from None
    if any(reference.digest for reference in references):
        raise InvalidArchive(f"{MANIFEST}: RepoTags: a name has a digest")
    return tuple(dict.fromkeys(str(reference) for reference in references))
