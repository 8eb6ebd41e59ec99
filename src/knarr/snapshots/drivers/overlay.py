"""Layers unpacked into directories and stacked by overlayfs; works on every Linux since 5.10.

Layers that the driver ``erofs`` left here as images are used like any other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, InvalidArgument, NotFound, Unsupported
from knarr.kernel.files import fstatfs_type
from knarr.kernel.mounts import fsopen
from knarr.runtime.imagemount import names, release
from knarr.runtime.removal import remove_tree
from knarr.runtime.rootfs import open_image
from knarr.runtime.treecopy import copy_tree
from knarr.runtime.trees import OPEN_DIRECTORY
from knarr.snapshots import diff, nodes, whiteouts
from knarr.snapshots.apply import Applied, apply_layer
from knarr.snapshots.hashing import HashingReader
from knarr.snapshots.kepttars import KeptTars
from knarr.snapshots.laidout import Made, Root
from knarr.snapshots.layers import HalfMade, Layer, LayerDirectory, image_name
from knarr.snapshots.lowers import Below, Lowers
from knarr.snapshots.tarentry import Limits
from knarr.snapshots.tarstream import TarReader
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


class Driver(KeptTars):
    """The snapshot driver ``overlay``; see ``knarr.snapshots.driver.Driver``."""

    name = "overlay"
    keeps_tars = False

    def __init__(self, root: str, run: str | None = None, limits: Limits | None = None) -> None:
        """Open the driver's directory, making it where it is missing (OSError).

        run: where images are mounted, below the first by default. limits: how much one layer
        may hold.
        """
        self._layers = LayerDirectory(root)
        self._limits = limits or Limits()
        self._root = self._layers.root
        self._places = f"{run or self._root}/layers"
        # The roots of layers, which do not change: by number, for the very layer beside.
        self._roots: dict[str, tuple[Layer, Root]] = {}

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
            made = self._lay_out(half, parent, chain_id, source, progress)
            meta: dict[str, Any] = {
                "chain_id": chain_id,
                "parent": parent_chain_id,
                "diff_id": source.diff_id,
                "size": made.applied.size,
                "entries": made.applied.entries,
                "lowers": stack,
            }
            images = dict(parent.meta.get("images", {})) if parent else {}
            if made.root is not None:
                images[half.number] = image_name(half.number, chain_id)
                meta["root"] = made.root
            if images:
                meta["images"] = images
            self._layers.commit(half, meta, made.files)

    def _lay_out(
        self,
        half: HalfMade,
        parent: Layer | None,
        chain_id: str,
        source: LayerSource,
        progress: Progress | None,
    ) -> Made:
        """Fill a half-made layer; here it is always unpacked."""
        del chain_id
        return Made(self._unpack(half, parent, source, progress))

    def _unpack(
        self,
        half: HalfMade,
        parent: Layer | None,
        source: LayerSource,
        progress: Progress | None,
    ) -> Applied:
        """Apply the stream in the half-made layer and verify its diff id."""
        algorithm, _ = digests.parse(source.diff_id)
        with contextlib.ExitStack() as open_files:
            stream = open_files.enter_context(contextlib.closing(source.open()))
            tree = opened(open_files, "fs", half.fd)
            lowers = self._lowers(open_files, parent)
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

    def _lowers(self, open_files: contextlib.ExitStack, layer: Layer | None) -> Lowers:
        """Return a layer and all below it, to look into; images are mounted for that."""
        base = opened(open_files, self._root)
        found: list[Below] = []
        for number in layer.stack if layer else ():
            name = layer.image(number) if layer else None
            if name is None:
                found.append(Below(base, b"l/%s/fs" % number.encode()))
                continue
            try:
                fd = open_image(f"{self._root}/l/{number}", f"{self._places}/{name}")
            except OSError as error:
                raise Unsupported(
                    f"layer {number} in {self._root} is kept as an EROFS image, which cannot be"
                    f" mounted: {error.strerror}; remove its image and load or pull it again"
                ) from error
            open_files.callback(os.close, fd)
            found.append(Below(fd, b"."))
        return Lowers(found)

    def layer_size(self, chain_id: str) -> int:
        """Return the bytes in files that the layer brought; raises NotFound."""
        return int(self._layers.get(chain_id).meta["size"])

    def remove_layer(self, chain_id: str) -> None:
        """Put a layer into the trash; raises NotFound, Conflict while something uses it."""
        layer = self._layers.get(chain_id)
        self._layers.remove_layer(chain_id)
        name = layer.image(layer.number)
        if name is not None:
            release(self._places, [name])

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
            known = (layer, self._root_of(layer))
            self._roots[layer.number] = known
        root = known[1]
        target = self._layers.key_path(key) + "/fs"
        if root.uid or root.gid:
            os.chown(target, root.uid, root.gid)
        os.chmod(target, root.mode)
        for name, value in root.xattrs.items():
            os.setxattr(target, name, value)
        os.utime(target, ns=(root.mtime_ns, root.mtime_ns))

    def _root_of(self, layer: Layer) -> Root:
        """Return what the root directory of a layer is; no image has to be mounted for it."""
        if layer.image(layer.number) is not None:
            return Root.from_list(layer.meta["root"])
        path = f"{self._root}/l/{layer.number}/fs"
        status = os.stat(path)
        return Root(
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            nodes.read_xattrs(os.fsencode(path)),
        )

    def copy(self, source: str, key: str) -> list[Mount]:
        """Make a writable directory with all that is in another; see the protocol."""
        layer = self._layers.standing_on(source)
        self._layers.prepare(key, layer.meta["chain_id"] if layer else None)
        with contextlib.ExitStack() as open_files:
            origin = opened(open_files, self._layers.key_path(source) + "/fs")
            copy_tree(origin, opened(open_files, self._layers.key_path(key) + "/fs"))
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
        options = self._stacked(layer)
        options += [f"upper=c/{key}/fs", f"work=c/{key}/work"]
        return [Mount("overlay", self._root, tuple(options))]

    def view(self, chain_id: str) -> list[Mount]:
        """Return read-only mounts of an image; raises NotFound."""
        layer = self._layers.get(chain_id)
        if len(layer.stack) > 1:
            return [Mount("overlay", self._root, tuple(self._stacked(layer)))]
        # Overlayfs wants two layers at least, and one alone holds no whiteouts.
        directory, name = f"{self._root}/l/{layer.number}", layer.image(layer.number)
        if name is None:
            return [Mount("bind", f"{directory}/fs", ("ro",))]
        return [Mount("erofs", directory, (f"at={self._places}/{name}",))]

    def _stacked(self, layer: Layer) -> list[str]:
        """Return the options of an overlay for a layer and all below it, topmost first."""
        if "images" not in layer.meta:
            return [f"lower=l/{number}/fs" for number in layer.stack]
        options: list[str] = []
        for number in layer.stack:
            name = layer.image(number)
            rest = "/fs" if name is None else f":{self._places}/{name}"
            options.append(f"lower=l/{number}{rest}")
        return options

    def diff(self, key: str, apart: Collection[str] = ()) -> Iterator[Change]:
        """Yield what the container changed, sorted by path; raises NotFound."""
        layer = self._layers.standing_on(key)
        return self._diff(key, layer, apart)

    def _diff(self, key: str, layer: Layer | None, apart: Collection[str]) -> Iterator[Change]:
        with contextlib.ExitStack() as open_files:
            upper = opened(open_files, self._layers.key_path(key) + "/fs")
            yield from diff.changes(upper, self._lowers(open_files, layer), apart)

    def export_diff(self, key: str, apart: Collection[str] = ()) -> Iterator[bytes]:
        """Yield the writable directory as an OCI layer; raises NotFound."""
        self._layers.standing_on(key)
        return self._export_diff(key, apart)

    def _export_diff(self, key: str, apart: Collection[str]) -> Iterator[bytes]:
        with contextlib.ExitStack() as open_files:
            upper = opened(open_files, self._layers.key_path(key) + "/fs")
            yield from diff.pack_changes(upper, apart)

    def usage(self, key: str) -> DiskUsage:
        """Return the disk use of the writable directory; raises NotFound."""
        self._layers.standing_on(key)
        with contextlib.ExitStack() as open_files:
            return diff.usage(opened(open_files, self._layers.key_path(key) + "/fs"))

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
        """Drop what dead processes left, and unmount images that nobody stands on."""
        self._layers.cleanup()
        self._release_idle()

    def _release_idle(self) -> None:
        mounted = names(self._places)
        if mounted:
            used = self._layers.used_images()
            release(self._places, [name for name in mounted if name not in used])


def opened(open_files: contextlib.ExitStack, path: str, parent: int | None = None) -> int:
    """Return a directory descriptor that closes with open_files."""
    fd = os.open(path, OPEN_DIRECTORY, dir_fd=parent)
    open_files.callback(os.close, fd)
    return fd
