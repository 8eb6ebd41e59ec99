"""Layers that are kept as their tar with an image over it: what can be asked and mended of them.

The part of our drivers that knows such layers from unpacked ones; which of them it makes is a
driver's own matter.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.content.durable import sync_directory
from knarr.errors import InvalidArchive, NotFound, Unsupported
from knarr.runtime.imagemount import INDEX, REST, TAR, release
from knarr.snapshots.hashing import HashingReader

if TYPE_CHECKING:
    from knarr.snapshots.driver import LayerSource
    from knarr.snapshots.layers import Layer, LayerDirectory

_FRESH = f"{TAR}~"
_STEP = 1 << 20


class KeptTars:
    """See ``knarr.snapshots.driver.Driver`` for the methods."""

    _layers: LayerDirectory
    _root: str
    _places: str

    def layer_tar(self, chain_id: str) -> str | None:
        """Return the path of the tar that a layer is kept as; raises NotFound for the layer."""
        layer = self._layers.get(chain_id)
        return None if layer.image(layer.number) is None else f"{self._directory(layer)}/{TAR}"

    def layer_disk(self, chain_id: str) -> int:
        """Return the bytes on disk that only that layer has; raises NotFound."""
        layer = self._layers.get(chain_id)
        if layer.image(layer.number) is None:
            return int(layer.meta["size"])
        size = 0
        for name in (INDEX, TAR, REST):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(f"{self._directory(layer)}/{name}")
                if status.st_nlink == 1:  # else it is the stored blob itself
                    size += min(status.st_size, status.st_blocks * 512)
        return size

    def verify_layer(self, chain_id: str) -> None:
        """Return when the tar of a layer that is an image is right; raises InvalidArchive.

        Of an unpacked layer nothing is left to compare. Raises NotFound.
        """
        path = self.layer_tar(chain_id)
        if path is None:
            return
        expected = str(self._layers.get(chain_id).meta["diff_id"])
        hasher = digests.hasher(expected.partition(":")[0])
        try:
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(_STEP):
                    hasher.update(chunk)
        except FileNotFoundError:
            raise NotFound(f"layer {chain_id}: its tar is not there") from None
        found = f"{expected.partition(':')[0]}:{hasher.hexdigest()}"
        if found != expected:
            raise InvalidArchive(f"layer {chain_id} is damaged on disk: its tar has digest {found}")

    def mend_layer(self, chain_id: str, source: LayerSource) -> None:
        """Put a new tar in the place of the one that is there; see the protocol."""
        layer = self._layers.get(chain_id)
        name = layer.image(layer.number)
        if name is None:
            raise Unsupported(f"layer {chain_id} is unpacked: it has no tar that could be replaced")
        if source.diff_id != layer.meta["diff_id"]:
            raise InvalidArchive(f"layer {chain_id} is not of the diff id {source.diff_id}")
        directory = self._directory(layer)
        fresh = f"{directory}/{_FRESH}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)  # of somebody who was killed
        if not link_blob(source, fresh):
            _write(source, directory, fresh)
        os.rename(fresh, f"{directory}/{TAR}")
        sync_directory(directory)
        # Whoever starts from now on sees the new one.
        release(self._places, [name])

    def _directory(self, layer: Layer) -> str:
        return f"{self._root}/l/{layer.number}"


def link_blob(source: LayerSource, path: str, directory: int | None = None) -> bool:
    """Have the stored blob as a layer's tar as well, if it is that; return whether it was done.

    A link, so that either may be removed without the other.
    """
    if source.blob_path is None or source.blob_digest != source.diff_id:
        return False
    try:
        os.link(source.blob_path, path, dst_dir_fd=directory)
    except OSError:
        return False  # not there yet, on another file system, or on one without links
    return True


def _write(source: LayerSource, directory: str, path: str) -> None:
    """Write a layer's tar, verified and on disk; raises InvalidArchive, OSError."""
    algorithm, _ = digests.parse(source.diff_id)
    # Without a name until it is right: nothing is left, however this ends.
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with open(fd, "wb", buffering=0) as output, contextlib.closing(source.open()) as stream:
        hashed = HashingReader(stream, algorithm)
        while data := hashed.read(_STEP):
            left = memoryview(data)
            while left:
                left = left[output.write(left) or 0 :]
        if hashed.digest != source.diff_id:
            raise InvalidArchive(
                f"layer with diff id {source.diff_id} is corrupt:"
                f" its bytes have digest {hashed.digest}"
            )
        os.fsync(fd)
        # With a descriptor beside it the link in /proc is followed (linkat(2), AT_SYMLINK_FOLLOW).
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
