"""From what a person types to an image: a name, a digest, an id or the start of one."""

from __future__ import annotations

import re

from knarr.errors import Conflict, InvalidArgument, NotFound
from knarr.images.bootstrap.names import is_known
from knarr.images.index import ImageIndex, ImageRecord
from knarr.images.reference import Reference


class ImageNotFound(NotFound):
    """No image is here that the words mean; its name can be pulled."""


_FULL_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")


def is_id(text: str, record: ImageRecord) -> bool:
    """Return whether ``text``, which found ``record``, is its id or the start of it."""
    bare = text.removeprefix("sha256:")
    return bool(_PREFIX.fullmatch(text)) and record.id.removeprefix("sha256:").startswith(bare)


def find(index: ImageIndex, text: str) -> ImageRecord:
    """Return the image that a name, ``name@digest``, id or unique start of an id means.

    As in Docker a name is tried before the start of an id. Raises NotFound with the way to
    get the image, Conflict for an ambiguous start, InvalidArgument for what is no name.
    """
    if _FULL_ID.fullmatch(text):
        return _by_prefix(index, text) or _by_index(index, text) or _missing(text)
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        if not _PREFIX.fullmatch(text):
            raise
        return _by_prefix(index, text) or _missing(text)
    record = _by_reference(index, reference)
    if record is None and _PREFIX.fullmatch(text):
        record = _by_prefix(index, text)
    return record or _missing(text)


def _by_reference(index: ImageIndex, reference: Reference) -> ImageRecord | None:
    if reference.digest is None:
        image_id = index.resolve(str(reference))
        return None if image_id is None else index.get(image_id)
    for name, digest in index.index_names().items():
        if digest == reference.digest and Reference.parse(name).name == reference.name:
            image_id = index.resolve(name)
            return None if image_id is None else index.get(image_id)
    for record in index.list():
        if f"{reference.name}@{reference.digest}" in record.repo_digests:
            return record
        if reference.digest not in (record.manifest_digest, record.id):
            continue
        names = {Reference.parse(name).name for name in record.repo_digests}
        names |= {Reference.parse(tag).name for tag in index.tags(record.id)}
        if reference.name in names:
            return record
    return None


def _by_prefix(index: ImageIndex, text: str) -> ImageRecord | None:
    records = index.find(text.removeprefix("sha256:"))
    if len(records) > 1:
        raise Conflict(f"image id {text} is ambiguous: {len(records)} images start so")
    return records[0] if records else None


def _by_index(index: ImageIndex, text: str) -> ImageRecord | None:
    """Return the image for this machine of the index whose full digest this is."""
    found = index.get_index(text if text.startswith("sha256:") else f"sha256:{text}")
    image_id = found.main_id() if found else None
    return None if image_id is None else index.get(image_id)


def _missing(text: str) -> ImageRecord:
    if _PREFIX.fullmatch(text):
        raise ImageNotFound(f"No such image: {text}: `knarr images` lists those there are")
    shown = Reference.parse(text).familiar()
    if is_known(shown):
        raise ImageNotFound(
            f"No such image: {shown}: get it with `knarr pull {shown}` or `knarr bootstrap {shown}`"
        )
    raise ImageNotFound(f"No such image: {shown}: get it with `knarr pull {shown}`")
