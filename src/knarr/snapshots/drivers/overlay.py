"""Layers unpacked into directories and stacked by overlayfs; works on every Linux since 5.10."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, InvalidArgument, NotFound, Unsupported
from knarr.kernel.files import fstatfs_type
from knarr.kernel.mounts import fsopen
from knarr.snapshots import diff, nodes, whiteouts
from knarr.snapshots.apply import Applied, apply_layer
from knarr.snapshots.hashing import HashingReader
from knarr.snapshots.layers import HalfMade, Layer, LayerDirectory
from knarr.snapshots.lowers import Below, Lowers
from knarr.snapshots.tarentry import Limits
from knarr.snapshots.tarstream import TarReader
from knarr.snapshots.treecopy import copy_tree
from knarr.snapshots.trees import OPEN_DIRECTORY, remove_tree
from knarr.spec.mount import Mount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from knarr.snapshots.driver import Change, DiskUsage, LayerSource, Progress

MAX_LAYERS = 500  # OVL_MAX_STACK in fs/overlayfs/params.h
# File systems that cannot hold a writable layer (no trusted.* attributes or no
# whiteouts), by statfs(2) magic.
_UNFIT = {
    0x794C7630: "overlayfs",
    0x6969: "NFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x65735546: "FUSE",
    0xE0F5E1E2: "EROFS",
    0x73717368: "squashfs",
}


class Driver:
    """The snapshot driver ``overlay``; see ``knarr.snapshots.driver.Driver``."""

    name = "overlay"

    def __init__(self, root: str, limits: Limits | None = None) -> None:
        """Open the driver's directory, making it where it is missing (OSError).

        limits: how much one layer may hold.
        """
        self._layers = LayerDirectory(root)
        self._limits = limits or Limits()
        self._root = self._layers.root
        # The roots of layers, which do not change: by number, for the very layer beside.
        self._roots: dict[str, tuple[Layer, os.stat_result, dict[bytes, bytes]]] = {}

    def probe(self) -> None:
        """Return when overlayfs and the file system of the root can do it; else Unsupported."""
        try:
            os.close(fsopen("overlay"))  # has the kernel load its module, unlike a look at /proc
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            raise Unsupported("the kernel has no overlayfs: modprobe overlay") from error
        fd = os.open(self._root, OPEN_DIRECTORY)
        try:
            unfit = _UNFIT.get(fstatfs_type(fd) & 0xFFFFFFFF)
            if unfit:
                raise Unsupported(f"{self._root} is on {unfit}, which overlayfs cannot write to")
            self._try_marks(fd)
        finally:
            os.close(fd)

    def _try_marks(self, fd: int) -> None:
        """Make and remove a whiteout and an opaque directory; raises Unsupported."""
        name = b"probe-%d" % os.getpid()
        try:
            remove_tree(fd, name)
            os.mkdir(name, 0o700, dir_fd=fd)
            whiteouts.make_opaque(fd, name)
            os.rmdir(name, dir_fd=fd)
            whiteouts.make_whiteout(fd, name)
        except OSError as error:
            raise Unsupported(
                f"{self._root} cannot hold overlayfs layers: {error.strerror}"
            ) from None
        finally:
            remove_tree(fd, name)

    # Layers

    def has(self, chain_id: str) -> bool:
        """Return whether that layer is present and complete (InvalidArgument if malformed)."""
        return self._layers.find(chain_id) is not None

    def commit_layer(
        self,
        chain_id: str,
        parent_chain_id: str | None,
        source: LayerSource,
        progress: Progress | None = None,
    ) -> None:
        """Unpack a layer; see the protocol for the rules and errors."""
        if digests.chain_id(parent_chain_id, source.diff_id) != chain_id:
            raise InvalidArgument(
                f"layer {chain_id} is not diff id {source.diff_id} on top of {parent_chain_id}"
            )
        if self.has(chain_id):
            return
        parent = self._layers.get(parent_chain_id) if parent_chain_id is not None else None
        stack = parent.stack if parent else ()
        if len(stack) >= MAX_LAYERS:
            raise Unsupported(
                f"layer {chain_id} is number {len(stack) + 1} of its image;"
                f" overlayfs stacks {MAX_LAYERS} at most: squash the image"
            )
        with self._layers.making(chain_id, parent_chain_id) as half:
            if half is None:
                return
            applied = self._unpack(half, stack, source, progress)
            self._layers.commit(
                half,
                {
                    "chain_id": chain_id,
                    "parent": parent_chain_id,
                    "diff_id": source.diff_id,
                    "size": applied.size,
                    "entries": applied.entries,
                    "lowers": stack,
                },
            )

    def _unpack(
        self,
        half: HalfMade,
        stack: tuple[str, ...],
        source: LayerSource,
        progress: Progress | None,
    ) -> Applied:
        """Apply the stream in the half-made layer and verify its diff id."""
        algorithm, _ = digests.parse(source.diff_id)
        with contextlib.ExitStack() as open_files:
            stream = open_files.enter_context(contextlib.closing(source.open()))
            tree = _opened(open_files, "fs", half.fd)
            lowers = self._lowers(open_files, stack)
            hashed = HashingReader(stream, algorithm, progress)
            reader = TarReader(hashed, self._limits)
            applied = apply_layer(tree, reader, lowers)
            reader.drain()
            if hashed.digest != source.diff_id:
                raise InvalidArchive(
                    f"layer with diff id {source.diff_id} is corrupt:"
                    f" its bytes have digest {hashed.digest}"
                )
        return applied

    def _lowers(self, open_files: contextlib.ExitStack, stack: tuple[str, ...]) -> Lowers:
        base = _opened(open_files, self._root)
        return Lowers([Below(base, b"l/%s/fs" % number.encode()) for number in stack])

    def layer_size(self, chain_id: str) -> int:
        """Return the bytes in files that the layer brought; raises NotFound."""
        return int(self._layers.get(chain_id).meta["size"])

    def remove_layer(self, chain_id: str) -> None:
        """Put a layer into the trash; raises NotFound, Conflict while something uses it."""
        self._layers.remove_layer(chain_id)

    def list_layers(self) -> list[str]:
        """Return the chain ids of all present layers, sorted."""
        return self._layers.chain_ids()

    # Writable directories

    def prepare(self, key: str, chain_id: str | None, size: int | None = None) -> list[Mount]:
        """Make the writable directory of a container; see the protocol."""
        if size is not None:
            raise Unsupported(
                "the overlay driver cannot limit a container's disk space:"
                " leave the size away, or put the data root on a file system of its own"
            )
        layer = self._layers.prepare(key, chain_id)
        if layer is not None:
            self._copy_root_attributes(key, layer)
        return self._writable(key, layer)

    def _copy_root_attributes(self, key: str, layer: Layer) -> None:
        """Give the writable root the owner, mode and attributes of the image's root."""
        known = self._roots.get(layer.number)
        if known is None or known[0] is not layer:
            path = f"{self._root}/l/{layer.number}/fs"
            known = (layer, os.stat(path), nodes.read_xattrs(os.fsencode(path)))
            self._roots[layer.number] = known
        _, status, attributes = known
        target = self._layers.key_path(key) + "/fs"
        if status.st_uid or status.st_gid:
            os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, stat.S_IMODE(status.st_mode))
        for name, value in attributes.items():
            os.setxattr(target, name, value)
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def copy(self, source: str, key: str) -> list[Mount]:
        """Make a writable directory with all that is in another; see the protocol."""
        layer = self._layers.standing_on(source)
        self._layers.prepare(key, layer.meta["chain_id"] if layer else None)
        with contextlib.ExitStack() as open_files:
            origin = _opened(open_files, self._layers.key_path(source) + "/fs")
            copy_tree(origin, _opened(open_files, self._layers.key_path(key) + "/fs"))
        return self._writable(key, layer)

    def is_untouched(self, key: str) -> bool:
        """Return whether nothing was written above the image; raises NotFound."""
        try:
            return not os.listdir(self._layers.key_path(key) + "/fs")
        except FileNotFoundError:
            raise NotFound(f"container {key} has no file system here") from None

    def mounts(self, key: str) -> list[Mount]:
        """Return the mounts of a prepared container; raises NotFound."""
        return self._writable(key, self._layers.standing_on(key))

    def _writable(self, key: str, layer: Layer | None) -> list[Mount]:
        if layer is None:
            return [Mount("bind", self._layers.key_path(key) + "/fs")]
        options = [f"lower=l/{number}/fs" for number in layer.stack]
        options += [f"upper=c/{key}/fs", f"work=c/{key}/work"]
        return [Mount("overlay", self._root, tuple(options))]

    def view(self, chain_id: str) -> list[Mount]:
        """Return read-only mounts of an image; raises NotFound."""
        layer = self._layers.get(chain_id)
        if len(layer.stack) == 1:
            # Overlayfs wants two layers at least, and one alone holds no whiteouts.
            return [Mount("bind", f"{self._root}/l/{layer.number}/fs", ("ro",))]
        options = tuple(f"lower=l/{number}/fs" for number in layer.stack)
        return [Mount("overlay", self._root, options)]

    def diff(self, key: str, apart: Collection[str] = ()) -> Iterator[Change]:
        """Yield what the container changed, sorted by path; raises NotFound."""
        layer = self._layers.standing_on(key)
        return self._diff(key, layer.stack if layer else (), apart)

    def _diff(self, key: str, stack: tuple[str, ...], apart: Collection[str]) -> Iterator[Change]:
        with contextlib.ExitStack() as open_files:
            upper = _opened(open_files, self._layers.key_path(key) + "/fs")
            yield from diff.changes(upper, self._lowers(open_files, stack), apart)

    def export_diff(self, key: str, apart: Collection[str] = ()) -> Iterator[bytes]:
        """Yield the writable directory as an OCI layer; raises NotFound."""
        self._layers.standing_on(key)
        return self._export_diff(key, apart)

    def _export_diff(self, key: str, apart: Collection[str]) -> Iterator[bytes]:
        with contextlib.ExitStack() as open_files:
            upper = _opened(open_files, self._layers.key_path(key) + "/fs")
            yield from diff.pack_changes(upper, apart)

    def usage(self, key: str) -> DiskUsage:
        """Return the disk use of the writable directory; raises NotFound."""
        self._layers.standing_on(key)
        with contextlib.ExitStack() as open_files:
            return diff.usage(_opened(open_files, self._layers.key_path(key) + "/fs"))

    def remove(self, key: str) -> None:
        """Put a container's directory into the trash; absent ones are fine."""
        self._layers.remove(key)

    def list_keys(self) -> list[str]:
        """Return the keys of all prepared containers, sorted."""
        return self._layers.keys()

    def purge_trash(self) -> None:
        """Delete the trash; raises the first OSError after having tried everything."""
        self._layers.purge_trash()

    def cleanup(self) -> None:
        """Drop what dead processes left; raises OSError."""
        self._layers.cleanup()


def _opened(open_files: contextlib.ExitStack, path: str, parent: int | None = None) -> int:
    """Return a directory descriptor that closes with open_files."""
    fd = os.open(path, OPEN_DIRECTORY, dir_fd=parent)
    open_files.callback(os.close, fd)
    return fd
