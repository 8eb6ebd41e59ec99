"""``knarr save``: images out of the store, the same images always as the same bytes.

``docker-archive`` is what Docker writes since release 25: an OCI layout and a
``manifest.json`` in one tar, for old readers and new. Entries are sorted by name and carry no
time and no owner, so two saves of the same images can be compared by digest. Of a layer that is
kept as its tar alone the tar goes out, as with Docker, and a manifest that says so; the ids of
images stay. What is left out for somebody who has a base image is said in an annotation of
index.json, for ``load`` to tell.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

from knarr.errors import Conflict, InvalidArgument
from knarr.images import documents, mediatypes, tars
from knarr.images.archive.layout import FULL_NAME, INDEX, LAYOUT, REF_NAME, SINCE
from knarr.images.archive.members import blob_name
from knarr.images.archive.packing import COMPRESSIONS, packed
from knarr.images.context import Context, Progress, ProgressEvent, translated
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageIndex, ImageRecord, Member
from knarr.images.manifest import Index
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.rewriting import Rewriter
from knarr.images.target import Target, find_target, for_platform
from knarr.snapshots import tarwriter
from knarr.snapshots.tarentry import DIRECTORY, FILE, Entry

FORMATS = ("docker-archive", "oci", "oci-dir")
Destination = str | os.PathLike[str] | BinaryIO
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Selected:
    """An image to save and the canonical names to save it under, none for an id.

    entry: what the archive's index refers to, a manifest or an OCI index. blobs: all that comes
    along. config and layers: of the platform that docker-archive, which has one, shows.
    """

    entry: Descriptor
    blobs: frozenset[str]
    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...] = ()


class Omitted(NamedTuple):
    """Layers that whoever gets an archive has, and the images it has them from, as texts."""

    layers: frozenset[str]
    bases: tuple[str, ...]


NOTHING = Omitted(frozenset(), ())


class Saved(NamedTuple):
    """How many layers were left out of an archive, and how many bytes that is."""

    left_out: int
    left_out_bytes: int


def selection(index: ImageIndex, text: str, platform: Platform | None) -> list[Selected]:
    """Return the images to save for what a person typed, with all platforms or with one.

    A name without tag means every tag of its repository, as in Docker. Raises NotFound.
    """
    try:
        reference = Reference.parse(text, default_tag=False)
    except InvalidArgument:
        reference = None
    if reference is not None and reference.tag is None and reference.digest is None:
        names = [n for n in sorted(index.all_tags()) if Reference.parse(n).name == reference.name]
        if names:
            return [_selected(find_target(index, name), platform, name) for name in names]
    target = find_target(index, text)
    by_name = reference is not None and index.resolve(str(reference)) == target.record.id
    return [_selected(target, platform, str(reference) if by_name else "")]


def _selected(target: Target, platform: Platform | None, name: str) -> Selected:
    names = (name,) if name else ()
    if platform is not None:
        member, record = for_platform(target, platform, name or target.record.id)
        return _one_platform(member, record, names)
    whole = target.whole
    if whole is None:
        return _one_platform(None, target.record, names)
    main = next(m for m, record in target.members if record.id == target.record.id)
    entry = Descriptor(whole.media_type, whole.digest, whole.size)
    config, *layers = main.blobs
    return Selected(entry, frozenset(whole.blobs), config, tuple(layers), names)


def _one_platform(member: Member | None, record: ImageRecord, names: tuple[str, ...]) -> Selected:
    if member is not None:
        config, *layers = member.blobs
        blobs = {member.manifest.digest, *member.blobs}
        return Selected(member.manifest, frozenset(blobs), config, tuple(layers), names)
    entry = Descriptor(
        record.manifest_media_type, record.manifest_digest, -1, platform=record.platform
    )
    layer_blobs = tuple(layer.digest for layer in record.layers)
    return Selected(entry, frozenset(record.blobs), record.config_digest, layer_blobs, names)


def without(context: Context, bases: Iterable[str]) -> Omitted:
    """Return what an archive may leave out for somebody who has the images ``bases``: layers.

    They have them as they came or as their tars. Raises NotFound.
    """
    layers: set[str] = set()
    names = []
    for text in bases:
        target = find_target(context.index, text)
        for record in target.records:
            layers.update(layer.digest for layer in record.layers)
        for member, _ in target.members:
            layers.update(member.blobs[1:])
        names.append(f"{text}@{target.whole.digest if target.whole else target.record.id}")
    layers |= tars.of_all(context.store, layers)
    return Omitted(frozenset(layers), tuple(names))


def as_held(context: Context, image: Selected) -> tuple[Selected, dict[str, bytes]]:
    """Return an image in the form in which its layers are stored, and documents made for that."""
    store = context.store
    found = {each: tar for each in image.blobs if (tar := tars.replaces(context, each))}
    if not found:
        return image, {}
    plain = {old: Descriptor(mediatypes.OCI_LAYER, tar, store.stat(tar))
             for old, tar in found.items()}  # fmt: skip
    rewriter = Rewriter(
        lambda each: store.read(each) if each in image.blobs else None, plain, as_ours=True
    )
    entry = rewriter.entry(image.entry)
    here = image.blobs | rewriter.documents.keys() | set(found.values())
    return Selected(
        entry,
        frozenset(rewriter.reached(entry) & here),
        image.config,
        tuple(found.get(each, each) for each in image.layers),
        image.names,
    ), rewriter.documents


def save(
    context: Context,
    images: list[Selected],
    destination: Destination,
    archive_format: str,
    compress: str | None,
    progress: Progress,
    omitted: Omitted = NOTHING,
) -> Saved:
    """Write images as an archive to a path or a binary stream, or as a layout directory.

    A path appears whole or not at all. Raises InvalidArgument for an unknown format or
    compression, NotFound when a blob is gone, Conflict for a directory that is not empty.
    """
    if archive_format not in FORMATS:
        raise InvalidArgument(f"unknown format {archive_format!r}: use {', '.join(FORMATS)}")
    if compress is not None and compress not in COMPRESSIONS:
        raise InvalidArgument(f"unknown compression {compress!r}: use {', '.join(COMPRESSIONS)}")
    with context.lock.shared(), translated("save"):
        held = [as_held(context, image) for image in images]
        # In one order, whatever that of the command line was.
        images = sorted(
            (each for each, _ in held), key=lambda each: (each.names, each.entry.digest)
        )
        made = {digest: body for _, found in held for digest, body in found.items()}
        digests = {digest for image in images for digest in image.blobs}
        blobs = {digest: context.store.stat(digest) for digest in digests - made.keys()}
        sizes = blobs | {digest: len(body) for digest, body in made.items()}
        since = " ".join(omitted.bases)
        files = _documents(images, sizes, since, docker=archive_format == "docker-archive")
        files |= {blob_name(digest): body for digest, body in made.items()}
        left_out = {digest: blobs.pop(digest) for digest in omitted.layers & blobs.keys()}
        saved = Saved(len(left_out), sum(left_out.values()))
        if archive_format == "oci-dir":
            if compress is not None or not isinstance(destination, str | os.PathLike):
                raise InvalidArgument(
                    "an OCI directory has a path and is not compressed as a whole"
                )
            _write_directory(context, os.fspath(destination), files, blobs, progress)
            return saved
        with _opened(destination) as out:
            for piece in packed(_tar(context, files, blobs, progress), compress):
                out.write(piece)
        return saved


def _documents(
    images: list[Selected], blobs: dict[str, int], since: str, *, docker: bool
) -> dict[str, bytes]:
    index = _index(images, blobs)
    if since:
        index = replace(index, annotations={SINCE: since})
    files = {
        LAYOUT: documents.dump({"imageLayoutVersion": "1.0.0"}),
        INDEX: index.to_bytes(),
    }
    if docker:
        files["manifest.json"] = documents.dump(_docker_entries(images))
    return files


def _index(images: list[Selected], blobs: dict[str, int]) -> Index:
    entries = []
    for image in images:
        entry = replace(image.entry, size=blobs[image.entry.digest])
        for name in sorted(image.names) or ("",):
            annotations = {}
            if name:
                annotations = {FULL_NAME: name, REF_NAME: Reference.parse(name).tag or ""}
            entries.append(replace(entry, annotations=annotations))
    return Index(mediatypes.OCI_INDEX, tuple(entries))


def _docker_entries(images: list[Selected]) -> list[dict[str, object]]:
    """Return an entry for each image; of several platforms, old readers get this machine's."""
    names: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for image in images:
        familiar = [Reference.parse(name).familiar() for name in sorted(image.names)]
        names.setdefault((image.config, image.layers), []).extend(familiar)
    return [
        {
            "Config": blob_name(config),
            "RepoTags": tags or None,
            "Layers": [blob_name(layer) for layer in layers],
        }
        for (config, layers), tags in names.items()
    ]


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
    is_new = not os.path.lexists(path)
    os.makedirs(path, exist_ok=True)
    if os.listdir(path):
        raise Conflict(f"directory {path} is not empty: give a new one for the OCI layout")
    try:
        for digest, size in sorted(blobs.items()):
            target = os.path.join(path, blob_name(digest))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as out:
                out.writelines(_pieces(context, digest, size, progress))
        # index.json comes last: without it a directory is no layout.
        for name in sorted(files, key=lambda each: each == INDEX):
            target = os.path.join(path, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as out:
                out.write(files[name])
    except BaseException:
        _undo_directory(path, whole=is_new)
        raise


def _undo_directory(path: str, *, whole: bool) -> None:
    shutil.rmtree(os.path.join(path, "blobs"), ignore_errors=True)
    for name in (LAYOUT, INDEX):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, name))
    if whole:
        with contextlib.suppress(OSError):
            os.rmdir(path)


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
