"""``knarr save``: images out of the store, the same images always as the same bytes.

``docker-archive`` is what Docker writes since release 25: an OCI layout and a
``manifest.json`` in one tar, for old readers and new. Entries are sorted by name and carry no
time and no owner, so two saves of the same images can be compared by digest.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from knarr.errors import Conflict, InvalidArgument
from knarr.images import documents, mediatypes
from knarr.images.archive.layout import FULL_NAME, INDEX, LAYOUT, REF_NAME
from knarr.images.archive.members import blob_name
from knarr.images.archive.packing import COMPRESSIONS, packed
from knarr.images.context import Context, Progress, ProgressEvent, translated
from knarr.images.descriptor import Descriptor
from knarr.images.find import find
from knarr.images.index import ImageIndex, ImageRecord
from knarr.images.manifest import Index
from knarr.images.reference import Reference
from knarr.snapshots import tarwriter
from knarr.snapshots.tarentry import DIRECTORY, FILE, Entry

FORMATS = ("docker-archive", "oci", "oci-dir")
Destination = str | os.PathLike[str] | BinaryIO
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Selected:
    """An image to save and the canonical names to save it under, none for an id."""

    record: ImageRecord
    names: tuple[str, ...]


def selection(index: ImageIndex, text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return (image id, canonical names to save it under) for what a person typed.

    A name without tag means every tag of its repository, as in Docker. Raises NotFound.
    """
    try:
        reference = Reference.parse(text, default_tag=False)
    except InvalidArgument:
        reference = None
    if reference is not None and reference.tag is None and reference.digest is None:
        tags = index.all_tags()
        found = {
            tag: tags[tag] for tag in sorted(tags) if Reference.parse(tag).name == reference.name
        }
        if found:
            return [(image_id, (tag,)) for tag, image_id in found.items()]
    record = find(index, text)
    by_name = reference is not None and index.resolve(str(reference)) == record.id
    return [(record.id, (str(reference),) if by_name else ())]


def save(
    context: Context,
    images: list[Selected],
    destination: Destination,
    archive_format: str,
    compress: str | None,
    progress: Progress,
) -> None:
    """Write images as an archive to a path or a binary stream, or as a layout directory.

    A path appears whole or not at all. Raises InvalidArgument for an unknown format or
    compression, NotFound when a blob is gone, Conflict for a directory that is not empty.
    """
    if archive_format not in FORMATS:
        raise InvalidArgument(f"unknown format {archive_format!r}: use {', '.join(FORMATS)}")
    if compress is not None and compress not in COMPRESSIONS:
        raise InvalidArgument(f"unknown compression {compress!r}: use {', '.join(COMPRESSIONS)}")
    with context.lock.shared(), translated("save"):
        files = _documents(context, images, docker=archive_format == "docker-archive")
        blobs = {digest: context.store.stat(digest) for digest in _digests(images)}
        if archive_format == "oci-dir":
            if compress is not None or not isinstance(destination, str | os.PathLike):
                raise InvalidArgument(
                    "an OCI directory has a path and is not compressed as a whole"
                )
            _write_directory(context, os.fspath(destination), files, blobs, progress)
            return
        with _opened(destination) as out:
            for piece in packed(_tar(context, files, blobs, progress), compress):
                out.write(piece)


def _digests(images: Iterable[Selected]) -> set[str]:
    # The index an image came from names other platforms, whose blobs are not here:
    # what is saved is the image, so every reference in the archive can be followed.
    return {
        digest
        for image in images
        for digest in image.record.blobs
        if digest != image.record.index_digest
    }


def _documents(context: Context, images: list[Selected], *, docker: bool) -> dict[str, bytes]:
    files = {
        LAYOUT: documents.dump({"imageLayoutVersion": "1.0.0"}),
        INDEX: _index(context, images).to_bytes(),
    }
    if docker:
        files["manifest.json"] = documents.dump([_docker_entry(image) for image in images])
    return files


def _index(context: Context, images: list[Selected]) -> Index:
    entries = []
    for image in images:
        record = image.record
        size = context.store.stat(record.manifest_digest)
        for name in image.names or ("",):
            annotations = {}
            if name:
                annotations = {FULL_NAME: name, REF_NAME: Reference.parse(name).tag or ""}
            entries.append(
                Descriptor(
                    record.manifest_media_type,
                    record.manifest_digest,
                    size,
                    annotations=annotations,
                    platform=record.platform,
                )
            )
    return Index(mediatypes.OCI_INDEX, tuple(entries))


def _docker_entry(image: Selected) -> dict[str, object]:
    names = [Reference.parse(name).familiar() for name in image.names]
    return {
        "Config": blob_name(image.record.config_digest),
        "RepoTags": names or None,
        "Layers": [blob_name(layer.digest) for layer in image.record.layers],
    }


def _tar(
    context: Context, files: dict[str, bytes], blobs: dict[str, int], progress: Progress
) -> Iterator[bytes]:
    members: dict[str, tuple[Entry, Iterable[bytes]]] = {}
    for directory in {"blobs", *(f"blobs/{digest.partition(':')[0]}" for digest in blobs)}:
        members[directory] = (Entry(directory.encode(), DIRECTORY, mode=0o755), ())
    for name, data in files.items():
        members[name] = (Entry(name.encode(), FILE, size=len(data)), (data,))
    for digest, size in blobs.items():
        name = blob_name(digest)
        pieces = _pieces(context, digest, size, progress)
        members[name] = (Entry(name.encode(), FILE, size=size), pieces)
    return tarwriter.pack(members[name] for name in sorted(members))


def _pieces(context: Context, digest: str, size: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    with context.store.open(digest) as blob:
        while chunk := blob.read(_CHUNK):
            done += len(chunk)
            progress(ProgressEvent("Saving", digest, done, size))
            yield chunk


def _write_directory(
    context: Context,
    path: str,
    files: dict[str, bytes],
    blobs: dict[str, int],
    progress: Progress,
) -> None:
    os.makedirs(path, exist_ok=True)
    if os.listdir(path):
        raise Conflict(f"directory {path} is not empty: give a new one for the OCI layout")
    for digest, size in sorted(blobs.items()):
        target = os.path.join(path, blob_name(digest))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as out:
            out.writelines(_pieces(context, digest, size, progress))
    # index.json comes last: without it a directory is no layout, so a half-written one is none.
    for name in sorted(files, key=lambda each: each == INDEX):
        with open(os.path.join(path, name), "xb") as out:
            out.write(files[name])


@contextlib.contextmanager
def _opened(destination: Destination) -> Iterator[BinaryIO]:
    if not isinstance(destination, str | os.PathLike):
        yield destination
        return
    path = os.fspath(destination)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as out:  # a device or a pipe cannot be renamed over
            yield out
        return
    temporary = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with open(temporary, "xb") as out:
            yield out
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
