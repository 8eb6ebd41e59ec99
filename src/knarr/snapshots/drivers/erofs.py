"""Layers that are not unpacked: their tar as it is, and an EROFS image of metadata over it.

The image is made by ``snapshots.erofs`` and mounted once per host by whoever needs it first
(``runtime.imagemount``); overlayfs stacks such mounts as it stacks directories, so everything
but the way a layer is laid out is the overlay driver's. A layer that no index can hold is
unpacked as there: one data root has both, in one image perhaps.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, Unsupported
from knarr.runtime.imagemount import INDEX, REST, TAR, open_image
from knarr.snapshots.drivers import overlay
from knarr.snapshots.hashing import HashingReader
from knarr.snapshots.kepttars import link_blob
from knarr.snapshots.laidout import Made, Root
from knarr.snapshots.trees import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import RawIOBase

    from knarr.snapshots.driver import LayerSource, Progress
    from knarr.snapshots.erofs.index import Planned
    from knarr.snapshots.layers import HalfMade, Layer

_LINK = "layer.tar~"


class Driver(overlay.Driver):
    """The snapshot driver ``erofs``; see ``knarr.snapshots.driver.Driver``."""

    name = "erofs"
    keeps_tars = True

    def probe(self) -> None:
        """Return when overlayfs works, and an index over a file here can be mounted."""
        super().probe()
        try:
            self._try_image()
        except OSError as error:
            raise Unsupported(
                "the kernel mounts no EROFS images of files here (Linux 6.12; 6.4 with loop"
                f" devices): {error.strerror}"
            ) from None

    def _try_image(self) -> None:
        """Mount an index over a tar of one file, nowhere, and read the file; raises OSError."""
        from knarr.snapshots import tarwriter
        from knarr.snapshots.erofs import index
        from knarr.snapshots.lowers import Lowers
        from knarr.snapshots.tarentry import FILE, Entry
        from knarr.snapshots.tarstream import TarReader

        word = b"knarr"
        tar = b"".join(tarwriter.pack([(Entry(b"probe", FILE, size=len(word)), [word])]))
        with contextlib.ExitStack() as open_files:
            root = overlay.opened(open_files, self._root)
            image = io.BytesIO()
            planned = index.plan(TarReader(io.BytesIO(tar)), Lowers(()), root, REST)
            index.write(planned, bytes(16), len(tar), image)
            paths = []
            for data in (image.getvalue(), tar):
                # Files without names: nothing is left, however this ends.
                fd = os.open(self._root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
                open_files.callback(os.close, fd)
                os.pwrite(fd, data, 0)
                paths.append(f"/proc/self/fd/{fd}")
            mounted = open_image(paths)
            open_files.callback(os.close, mounted)
            fd = os.open("probe", os.O_RDONLY | os.O_CLOEXEC, dir_fd=mounted)
            open_files.callback(os.close, fd)
            if os.read(fd, 16) != word:
                raise OSError(5, "EROFS over a tar shows other bytes than the tar's")

    def _lay_out(
        self,
        half: HalfMade,
        parent: Layer | None,
        chain_id: str,
        source: LayerSource,
        progress: Progress | None,
    ) -> Made:
        """Keep a layer as tar and index; unpack it where that cannot be."""
        from knarr.snapshots.erofs.limits import CannotIndex

        linked = self._link_blob(half, source)
        try:
            planned = (
                self._plan_linked(half, parent, progress)
                if linked
                else self._plan_stream(half, parent, source, progress)
            )
            self._write_index(half, planned, chain_id)
        except CannotIndex:
            return self._unpack_tar(half, parent, source)
        files = (INDEX, TAR, REST) if planned.rest_blocks else (INDEX, TAR)
        node = planned.tree.root
        root = Root(stat.S_IMODE(node.st_mode), *node.owner, node.mtime_ns, node.xattrs or {})
        return Made(planned.applied, root.to_list(), files)

    def _link_blob(self, half: HalfMade, source: LayerSource) -> bool:
        """Have the stored blob as the layer's tar, if it is that; whether it was done."""
        if not link_blob(source, _LINK, half.fd):
            return False
        os.rename(_LINK, TAR, src_dir_fd=half.fd, dst_dir_fd=half.fd)
        return True

    def _plan_linked(
        self, half: HalfMade, parent: Layer | None, progress: Progress | None
    ) -> Planned:
        """Read the entries of a tar that is in place, and was verified when it was stored."""
        from knarr.snapshots.erofs import index
        from knarr.snapshots.tarstream import TarReader

        with contextlib.ExitStack() as open_files:
            fd = os.open(TAR, os.O_RDONLY | os.O_CLOEXEC, dir_fd=half.fd)
            open_files.callback(os.close, fd)
            tar = index.Skipping(fd)
            lowers = self._lowers(open_files, parent)
            planned = index.plan(TarReader(tar, self._limits, tar.skip), lowers, half.fd, REST)
        if progress is not None:
            progress(tar.size)
        return planned

    def _plan_stream(
        self, half: HalfMade, parent: Layer | None, source: LayerSource, progress: Progress | None
    ) -> Planned:
        """Write the tar, verify it and read its entries, all in one pass.

        However that ends but with InvalidArchive or OSError, the tar is whole and verified.
        """
        from knarr.snapshots.erofs import index
        from knarr.snapshots.erofs.limits import CannotIndex
        from knarr.snapshots.tarstream import TarReader

        algorithm, _ = digests.parse(source.diff_id)
        cannot: CannotIndex | None = None
        planned: Planned | None = None
        with contextlib.ExitStack() as open_files:
            stream = open_files.enter_context(contextlib.closing(source.open()))
            output = open_files.enter_context(open(TAR, "xb", buffering=0, opener=_inside(half.fd)))
            hashed = HashingReader(_Copying(stream, output), algorithm, progress)
            reader = TarReader(hashed, self._limits)
            lowers = self._lowers(open_files, parent)
            try:
                planned = index.plan(reader, lowers, half.fd, REST)
            except CannotIndex as error:
                cannot = error
            reader.drain()
            if hashed.digest != source.diff_id:
                raise InvalidArchive(
                    f"layer with diff id {source.diff_id} is corrupt:"
                    f" its bytes have digest {hashed.digest}"
                )
        self._link_blob(half, source)  # which may have arrived with the stream's last byte
        if planned is None:
            assert cannot is not None
            raise cannot
        return planned

    def _write_index(self, half: HalfMade, planned: Planned, chain_id: str) -> None:
        from knarr.snapshots.erofs import index

        size = os.stat(TAR, dir_fd=half.fd).st_size
        # Overlayfs tells file systems apart by their ids.
        uuid = hashlib.sha256(chain_id.encode()).digest()[:16]
        with open(INDEX, "xb", opener=_inside(half.fd)) as output:
            index.write(planned, uuid, size, output)

    def _unpack_tar(self, half: HalfMade, parent: Layer | None, source: LayerSource) -> Made:
        """Unpack the tar that is there, and drop it."""
        for name in (INDEX, REST):
            remove_tree(half.fd, name.encode())

        def opened() -> BinaryIO:
            return open(TAR, "rb", buffering=0, opener=_inside(half.fd))

        applied = self._unpack(half, parent, replace(source, open=opened), None)
        os.unlink(TAR, dir_fd=half.fd)
        return Made(applied)


class _Copying:
    """Reads of a stream that are also written to a file."""

    def __init__(self, stream: BinaryIO, output: RawIOBase) -> None:
        self._stream = stream
        self._output = output

    def read(self, size: int) -> bytes:
        """Return up to size bytes, b"" at the end; raises OSError, also of the file."""
        data = self._stream.read(size) or b""
        left = memoryview(data)
        while left:
            left = left[self._output.write(left) or 0 :]
        return data


def _inside(directory: int) -> Callable[[str, int], int]:
    """Return an ``opener`` for new files of ours in a directory."""
    return lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=directory)
