"""Compressed layers of which only the tar is kept: once, for containers and as content.

A driver that does not unpack layers has a layer's tar on disk. It is made a blob under its diff
id, by a hard link, and the compressed blob goes: whoever wants the layer reads the tar. What
they have to do with each other is noted, since manifests name the compressed one:

    CONTENT/tars/ALGORITHM-HEX   symbolic link, by the compressed layer's digest; its text is the
                                 diff id, which the bytes were found to unpack to

In this order, so that no crash loses both: tar and index on disk, blob, note, and then the
compressed one goes (``garbage``). What was not finished, ``finish`` does at the next collection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.content.durable import sync_directory
from knarr.errors import InvalidArchive, NotFound
from knarr.images import mediatypes
from knarr.snapshots.driver import LayerSource

if TYPE_CHECKING:
    from knarr.content.store import ContentStore
    from knarr.images.context import Context
    from knarr.images.descriptor import Descriptor
    from knarr.images.index import ImageRecord

# What link(2) says where there are no links, or none from there; then both are kept.
_NO_LINKS = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP))


def of(store: ContentStore, digest: str) -> str | None:
    """Return the diff id under which a compressed layer's tar is stored, None if it is not."""
    try:
        diff_id = os.readlink(_path(store, digest))
    except FileNotFoundError:
        return None
    return diff_id if digests.is_valid(diff_id) and store.has(diff_id) else None


def held(store: ContentStore, digest: str) -> str:
    """Return the digest under which a layer's bytes are stored: its diff id, or its own."""
    return of(store, digest) or digest


def has(store: ContentStore, digest: str) -> bool:
    """Return whether a layer is stored, compressed or as its tar."""
    return store.has(digest) or of(store, digest) is not None


def of_all(store: ContentStore, layers: Iterable[str]) -> set[str]:
    """Return the diff ids of those layers, by their digests, whose tars are stored."""
    return {diff_id for digest in layers if (diff_id := of(store, digest)) is not None}


def replaces(context: Context, digest: str) -> str | None:
    """Return the diff id of the tar that stands for a layer, None if its own blob does."""
    if context.keep_compressed and context.store.has(digest):
        return None
    return of(context.store, digest)


def is_wanted(context: Context, layer: Descriptor, diff_id: str) -> bool:
    """Return whether of this layer the tar alone is to be kept, if the driver has one.

    Of a foreign layer it is not: what may not be given away must be told from what may.
    """
    return (
        not context.keep_compressed
        and context.driver.keeps_tars
        and layer.digest != diff_id
        and not mediatypes.is_foreign(layer.media_type)
    )


def keep(context: Context, layer: Descriptor, diff_id: str, chain_id: str) -> bool:
    """Have the tar of a layer, which the driver has, as content; return whether it is.

    The caller knows that the layer's bytes unpack to that diff id. Raises OSError.
    """
    if not is_wanted(context, layer, diff_id):
        return False
    path = context.driver.layer_tar(chain_id)
    if path is None:
        return False
    try:
        context.store.link(path, diff_id)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    note(context.store, layer.digest, diff_id)
    return True


def note(store: ContentStore, digest: str, diff_id: str) -> None:
    """Note which tar a compressed layer unpacks to (OSError)."""
    path = _path(store, digest)
    with contextlib.suppress(FileNotFoundError):
        if os.readlink(path) == diff_id:
            return
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    while True:
        temporary = f"{path}.{secrets.token_hex(4)}"
        os.symlink(diff_id, temporary)
        try:
            os.rename(temporary, path)
        except FileNotFoundError:  # dropped as nobody's, by who collects garbage just now
            continue
        break
    sync_directory(folder)


def finish(context: Context) -> None:
    """Do for all images what was not done when they came, or was not wanted then (OSError).

    Bytes are read once more before their other copy goes.
    """
    if not context.driver.keeps_tars:
        return
    for record in context.index.list():
        chain = digests.chain_ids(record.diff_ids)
        for layer, diff_id, chain_id in zip(record.layers, record.diff_ids, chain, strict=True):
            # Where one of the two is damaged or missing the other stays.
            with contextlib.suppress(NotFound, InvalidArchive, FileNotFoundError):
                _finish(context, layer, diff_id, chain_id)
        _measure(context, record)


def _measure(context: Context, record: ImageRecord) -> None:
    """Note how long an image's tars are, which a table may have said nearly (OSError)."""
    known = zip(record.diff_ids, record.layer_sizes, strict=True)
    sizes = tuple(context.store.stat(d) if context.store.has(d) else size for d, size in known)
    if sizes != record.layer_sizes:
        with contextlib.suppress(NotFound):  # removed since it was listed
            now = context.index.get(record.id)
            context.index.add(replace(now, layer_sizes=sizes, size=sum(sizes)))


def to_finish(context: Context) -> set[str]:
    """Return the digests of the compressed layers that ``finish`` would have go, or soon."""
    if not context.driver.keeps_tars:
        return set()
    found = set()
    for record in context.index.list():
        chain = digests.chain_ids(record.diff_ids)
        for layer, diff_id, chain_id in zip(record.layers, record.diff_ids, chain, strict=True):
            with contextlib.suppress(NotFound):
                if is_wanted(context, layer, diff_id) and context.driver.layer_tar(chain_id):
                    found.add(layer.digest)
    return found


def _finish(context: Context, layer: Descriptor, diff_id: str, chain_id: str) -> None:
    store, driver = context.store, context.driver
    path = driver.layer_tar(chain_id)
    if path is None:
        return
    if store.has(diff_id) and not os.path.samefile(path, store.path(diff_id)):
        # The blob came again, or two made the layer at the same time.
        store.verify(diff_id)
        source = LayerSource(
            diff_id,
            lambda: open(store.path(diff_id), "rb"),
            blob_path=store.path(diff_id),
            blob_digest=diff_id,
        )
        driver.mend_layer(chain_id, source)
    wanted = is_wanted(context, layer, diff_id) and store.has(layer.digest)
    if wanted and of(store, layer.digest) is None:
        driver.verify_layer(chain_id)
        keep(context, layer, diff_id, chain_id)


def forget(store: ContentStore, layers: set[str]) -> None:
    """Drop the notes of layers other than these (OSError)."""
    kept = {os.path.basename(_path(store, each)) for each in layers}
    folder = os.path.join(store.root, "tars")
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        if name not in kept:
            with contextlib.suppress(FileNotFoundError):  # it has just got its final name
                os.unlink(os.path.join(folder, name))


def _path(store: ContentStore, digest: str) -> str:
    algorithm, hexdigest = digests.parse(digest)
    return f"{store.root}/tars/{algorithm}-{hexdigest}"
