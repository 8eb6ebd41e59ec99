"""Layers that are not unpacked: their tar as it is, and an EROFS image of metadata over it.

The image is made by ``snapshots.erofs`` and mounted once per host by whoever needs it first
(``runtime.imagemount``); overlayfs stacks such mounts as it stacks directories, so everything
but the way a layer is laid out is the overlay driver's. A layer that no index can hold is
unpacked as there: one data root has both, in one image perhaps.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, Unsupported
from knarr.runtime.imagemount import COMING, INDEX, REST, TAR, open_image, release
from knarr.runtime.removal import remove_tree
from knarr.snapshots.drivers import overlay
from knarr.snapshots.hashing import HashingReader
from knarr.snapshots.kepttars import link_blob
from knarr.snapshots.laidout import Made, Root
from knarr.snapshots.layers import HalfMade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from io import RawIOBase

    from knarr.snapshots.coming import Coming
    from knarr.snapshots.driver import Afar, LayerSource, Progress
    from knarr.snapshots.erofs.index import Planned
    from knarr.snapshots.layers import Layer
    from knarr.snapshots.tarentry import Entry

_LINK = "layer.tar~"
_WORD = b"knarr"


class Driver(overlay.Driver):
    """The snapshot driver ``erofs``; see ``knarr.snapshots.driver.Driver``."""

    name = "erofs"
    keeps_tars = True

    def probe(self) -> None:
        """Return when overlayfs works, and an index over a file here can be mounted."""
        super().probe()
        try:
            if self._try_image() != _WORD:
                raise OSError(5, "EROFS over a tar shows other bytes than the tar's")
        except OSError as error:
            raise Unsupported(
                "the kernel mounts no EROFS images of files here (Linux 6.12; 6.4 with loop"
                f" devices): {error.strerror}"
            ) from None

    def probe_afar(self) -> None:
        """Return when layers can be used here before they have come; else raise Unsupported."""
        from knarr.snapshots import coming

        coming.check_machine(self._root)
        needs = coming.NEEDS
        try:
            self._try_image(came=False)
        except OSError as error:
            if error.errno == errno.EIO:
                return
            raise Unsupported(f"{needs} EROFS images of files: {error.strerror}") from None
        raise Unsupported(
            f"{needs} a kernel whose EROFS gives an error, and no zeros, for what a file does not"
            f" have; that of {os.uname().release} is older"
        )

    def _try_image(self, *, came: bool = True) -> bytes:
        """Mount an index over a tar of one file, nowhere; return what is read of the file.

        came: whether the tar is there. Raises OSError.
        """
        from knarr.snapshots import tarwriter
        from knarr.snapshots.erofs import index
        from knarr.snapshots.lowers import Lowers
        from knarr.snapshots.tarentry import FILE, Entry
        from knarr.snapshots.tarstream import TarReader

        tar = b"".join(tarwriter.pack([(Entry(b"probe", FILE, size=len(_WORD)), [_WORD])]))
        with contextlib.ExitStack() as open_files:
            root = overlay.opened(open_files, self._root)
            image = io.BytesIO()
            planned = index.plan(TarReader(io.BytesIO(tar)), Lowers(()), root, REST)
            index.write(planned, bytes(16), len(tar), image)
            paths = []
            for data in (image.getvalue(), tar if came else b""):
                # Files without names: nothing is left, however this ends.
                fd = os.open(self._root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
                open_files.callback(os.close, fd)
                os.pwrite(fd, data, 0)
                paths.append(f"/proc/self/fd/{fd}")
            mounted = open_image(paths)
            open_files.callback(os.close, mounted)
            fd = os.open("probe", os.O_RDONLY | os.O_CLOEXEC, dir_fd=mounted)
            open_files.callback(os.close, fd)
            return os.read(fd, 16)

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

        if source.afar is not None:
            return self._expect(half, parent, chain_id, source.diff_id, source.afar)
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
        with open(INDEX, "xb", opener=_inside(half.fd)) as output:
            index.write(planned, _uuid(chain_id), size, output)

    def _expect(
        self, half: HalfMade, parent: Layer | None, chain_id: str, diff_id: str, afar: Afar
    ) -> Made:
        """Make a layer of which only the entries are here. Raises Unsupported."""
        from knarr.snapshots import coming
        from knarr.snapshots.erofs import index
        from knarr.snapshots.erofs.limits import CannotIndex
        from knarr.snapshots.erofs.walk import WORTH, Walk
        from knarr.snapshots.tablereader import TableReader
        from knarr.snapshots.tarstream import TarReader

        note = {"chain_id": chain_id, "diff_id": diff_id, "size": afar.size, "origin": afar.origin}
        with contextlib.ExitStack() as open_files:
            # What is fetched on the way; without a name, so that nothing is left of it.
            scratch = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=half.fd)
            open_files.callback(os.close, scratch)
            table, walk = afar.table(), None
            if table is None:
                walk = Walk(afar, scratch)
                reader = TarReader(walk, self._limits, walk.skip, WORTH)
            else:
                reader = TableReader(table)
            try:
                planned = index.plan(reader, self._lowers(open_files, parent), half.fd, REST)
                if planned.rest_blocks:
                    raise CannotIndex("sparse files, or links to files of other layers")
                coming.lay_out(half.fd, planned, walk, scratch, _uuid(chain_id), note)
            except CannotIndex as error:
                raise Unsupported(f"it has {error}") from None
        coming.note(self._root, half.number)
        node = planned.tree.root
        root = Root(stat.S_IMODE(node.st_mode), *node.owner, node.mtime_ns, node.xattrs or {})
        return Made(planned.applied, root.to_list(), (COMING,))

    def layer_tar(self, chain_id: str) -> str | None:
        """Return the path of the tar that a layer is kept as, None for one that is on its way."""
        path = super().layer_tar(chain_id)
        is_coming = path is not None and os.path.isdir(f"{os.path.dirname(path)}/{COMING}")
        return None if is_coming else path

    def layer_disk(self, chain_id: str) -> int:
        """Return the bytes on disk that only that layer has; raises NotFound."""
        size = super().layer_disk(chain_id)
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(f"{self.place_of(chain_id)[0]}/{COMING}"):
                size += entry.stat().st_blocks * 512
        return size

    def coming(self) -> list[Coming]:
        """Return the layers that are still on their way; those that were removed are forgotten."""
        from knarr.snapshots import coming

        found = []
        for number in coming.numbers(self._root):
            path = f"{self._root}/l/{number}/{COMING}"
            if os.path.isdir(path):
                found.append(coming.read(path))
            elif not os.path.isdir(f"{self._root}/l/{number}~"):
                coming.forget(self._root, number)
        return found

    def place_of(self, chain_id: str) -> tuple[str, str]:
        """Return the directory of a layer that is an image, and where it is mounted. NotFound."""
        layer = self._layers.get(chain_id)
        name = layer.image(layer.number)
        return f"{self._root}/l/{layer.number}", f"{self._places}/{name}"

    def settle(
        self,
        arrived: Coming,
        keep: Callable[[str], None],
        tar: BinaryIO | None = None,
        table: Iterable[tuple[Entry, int]] | None = None,
    ) -> None:
        """Give a layer whose pieces have all come the form of others.

        keep: called with the path of its tar when that was found right. tar: where that comes
        from, if it is not what the pieces make, and the table which they were made by. Whoever has
        it mounted goes on with the pieces; the next one mounts it anew. Raises InvalidArchive when
        it is not the layer that it should be, NotFound when it was removed.
        """
        from knarr.snapshots import coming
        from knarr.snapshots.erofs.limits import CannotIndex

        layer = self._layers.get(arrived.chain_id)
        parent = self._layers.find(layer.meta["parent"]) if layer.meta["parent"] else None
        directory, place = self.place_of(arrived.chain_id)
        with contextlib.ExitStack() as open_files:
            fd = overlay.opened(open_files, directory)
            half = HalfMade(layer.number, fd)
            coming.join(arrived, fd, TAR, tar)
            keep(f"{directory}/{TAR}")
            for name in (INDEX, REST):
                remove_tree(fd, name.encode())
            try:
                planned = self._plan_linked(half, parent, None)
                if table is not None:
                    self._check_table(half, parent, arrived, table, planned)
                self._write_index(half, planned, arrived.chain_id)
            except CannotIndex as error:
                raise InvalidArchive(
                    f"layer {arrived.chain_id[:19]} has {error}, which its table did not say:"
                    " remove its image and pull it as a whole"
                ) from None
            self._layers.shed(half, (INDEX, "."), COMING)
        coming.forget(self._root, layer.number)
        release(os.path.dirname(place), [os.path.basename(place)])

    def _check_table(
        self,
        half: HalfMade,
        parent: Layer | None,
        arrived: Coming,
        table: Iterable[tuple[Entry, int]],
        found: Planned,
    ) -> None:
        """Raise InvalidArchive when a table has said what the tar does not."""
        from knarr.snapshots.erofs import agreeing, index
        from knarr.snapshots.tablereader import TableReader

        path: bytes | None = b"sparse files"
        with contextlib.ExitStack() as open_files:
            lowers = self._lowers(open_files, parent)
            said = index.plan(TableReader(table), lowers, half.fd, REST)
            fd = os.open(TAR, os.O_RDONLY | os.O_CLOEXEC, dir_fd=half.fd)
            open_files.callback(os.close, fd)
            if not found.rest_blocks:
                path = agreeing.difference(arrived, said.tree.root, found.tree.root, fd)
        if path is not None:
            raise InvalidArchive(
                f"layer {arrived.chain_id[:19]} has {os.fsdecode(path)} otherwise than its table"
                " said: remove its image, and do not trust whoever made it"
            )

    def condemn(self, arrived: Coming, reason: str) -> None:
        """Note why a layer is not what it should be; nobody mounts it any more (OSError)."""
        from knarr.snapshots import coming

        coming.condemn(arrived, reason)
        directory, place = self.place_of(arrived.chain_id)
        coming.forget(self._root, os.path.basename(directory))
        release(os.path.dirname(place), [os.path.basename(place)])

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


def _uuid(chain_id: str) -> bytes:
    """Return an image's id: overlayfs tells file systems apart by theirs."""
    return hashlib.sha256(chain_id.encode()).digest()[:16]


def _inside(directory: int) -> Callable[[str, int], int]:
    """Return an ``opener`` for new files of ours in a directory."""
    return lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=directory)
