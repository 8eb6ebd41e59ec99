"""What a snapshot driver is: image layers below, one writable layer per container above.

Life of a layer (named by its chain id, shared by every image that has it):

    absent --commit_layer--> present --remove_layer--> absent
             (atomic: a crash in between leaves nothing that ``has`` can see)

Life of a container's file system (named by its key, the container id):

    absent --prepare, copy--> prepared --remove--> in the trash --purge_trash--> gone
                                 |  mounts(): as often as wanted, also after a reboot
                                 |  diff(), export_diff(), usage(): at any time

The order that callers keep: a layer's parent is committed before it and
removed after it; ``prepare`` needs its layers present. The driver refuses
anything else (NotFound, Conflict). It never mounts a container's file system: it
returns ``Mount`` values, and whoever needs it carries them out. A driver is made with the
path of its directory and with one below which it may have what is gone with the machine.

All methods may be called from several threads and processes at once. Errors
are of ``knarr.errors``; the disk's own (ENOSPC, EIO, ...) come as OSError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from knarr.snapshots.tarentry import Entry
    from knarr.spec.mount import Mount

    Progress = Callable[[int], None]
    """Called with the bytes of the uncompressed layer read so far."""


class Afar(Protocol):
    """An uncompressed tar that is elsewhere and can be read from any place on.

    size: its bytes. origin: whatever tells, as JSON, where it can be read again.
    """

    size: int
    origin: dict[str, Any]

    def read_at(self, offset: int, length: int) -> bytes:
        """Return just these bytes; raises KnarrError when they do not come."""
        ...

    def table(self) -> Iterable[tuple[Entry, int]] | None:
        """Return the entries with the place of their contents, None if they are in the tar alone.

        With a table it is no tar, but the contents of all files, each from the start of a block.
        """
        ...


@dataclass(frozen=True, slots=True)
class LayerSource:
    """Where the bytes of one layer come from.

    diff_id: digest of the uncompressed tar; the driver verifies it.
    open: returns a new stream of the *uncompressed* tar from its start. It is
    only called when the layer is really needed; the driver closes the stream.
    size: length of the uncompressed tar in bytes, None when unknown.
    blob_path: where a blob is stored that drivers can use as it is, or comes to be while the
    stream is read. blob_digest: that of its bytes, which were verified when it was stored; where
    it is the diff id, the blob is the tar.
    afar: the same tar where it can be read in pieces. A driver that can do so then makes a layer
    whose bytes are still to come, and never calls ``open``; others take no notice.
    """

    diff_id: str
    open: Callable[[], BinaryIO]
    size: int | None = None
    blob_path: str | None = None
    blob_digest: str | None = None
    afar: Afar | None = None


class Change(NamedTuple):
    """One difference between a container and its image, as ``docker diff`` shows it.

    kind: ``A`` added, ``C`` changed, ``D`` deleted. path: absolute, file
    names that are not UTF-8 are decoded with surrogateescape.
    """

    kind: str
    path: str


class DiskUsage(NamedTuple):
    """Disk use of a writable layer: bytes in files (hard links once) and inodes."""

    size: int
    inodes: int


@runtime_checkable
class Driver(Protocol):
    """What each module in ``snapshots/drivers`` gives as its class ``Driver``.

    keeps_tars: whether layers are not unpacked where that can be, see ``layer_tar``.
    """

    name: str
    keeps_tars: bool

    def probe(self) -> None:
        """Return when this machine can use the driver; raises Unsupported with the reason."""
        ...

    def has(self, chain_id: str) -> bool:
        """Return whether that layer is present and complete."""
        ...

    def commit_layer(
        self,
        chain_id: str,
        parent_chain_id: str | None,
        source: LayerSource,
        progress: Progress | None = None,
    ) -> None:
        """Make the layer present; returns at once when it already is.

        Several callers with the same layer do the work once. Raises
        InvalidArgument when chain_id is not the chain id of parent and diff id,
        NotFound when the parent is absent, InvalidArchive for a corrupt or
        hostile tar or a wrong diff id, Unsupported for too many layers.
        Nothing is left behind after an error.
        """
        ...

    def prepare(self, key: str, chain_id: str | None, size: int | None = None) -> list[Mount]:
        """Make a writable file system on top of a layer (None: empty) and return its mounts.

        size limits it, in bytes. Raises Conflict when the key exists,
        NotFound when the layer does not, Unsupported for a size the driver
        cannot enforce.
        """
        ...

    def copy(self, source: str, key: str) -> list[Mount]:
        """Make a writable file system with all that is in that of ``source``; return its mounts.

        What is written to either later is not seen in the other. Nobody should write to the
        source meanwhile. Raises NotFound for it, Conflict when the key exists.
        """
        ...

    def mounts(self, key: str) -> list[Mount]:
        """Return the mounts of a prepared file system; raises NotFound."""
        ...

    def view(self, chain_id: str) -> list[Mount]:
        """Return read-only mounts of an image's layers; raises NotFound.

        A view does not hold its layers: the caller keeps the image.
        """
        ...

    def is_untouched(self, key: str) -> bool:
        """Return whether nothing was written above the image; raises NotFound."""
        ...

    def diff(self, key: str, apart: Collection[str] = ()) -> Iterator[Change]:
        """Yield what the container changed, sorted by path; raises NotFound.

        apart: absolute paths that were made to mount something there; they do not count
        while there is nothing in them.
        """
        ...

    def export_diff(self, key: str, apart: Collection[str] = ()) -> Iterator[bytes]:
        """Yield the writable layer as an OCI layer tar, deterministic; raises NotFound.

        apart: as for :meth:`diff`.
        """
        ...

    def usage(self, key: str) -> DiskUsage:
        """Return the disk use of the writable layer; raises NotFound."""
        ...

    def layer_size(self, chain_id: str) -> int:
        """Return the bytes in files of that one layer; raises NotFound."""
        ...

    def layer_disk(self, chain_id: str) -> int:
        """Return the bytes on disk that only that layer has, its blob aside; raises NotFound."""
        ...

    def layer_tar(self, chain_id: str) -> str | None:
        """Return the path of a layer's tar, where that is kept byte for byte; raises NotFound.

        The file is never written again, so a link makes it something else's as well.
        """
        ...

    def verify_layer(self, chain_id: str) -> None:
        """Return when what is kept of a layer's bytes has their digest, or nothing is.

        Raises NotFound for the layer or a file of it, InvalidArchive for other bytes.
        """
        ...

    def mend_layer(self, chain_id: str, source: LayerSource) -> None:
        """Put a new tar, or a link to the stored one, in the place of a layer's tar.

        Containers that run go on with the old one. Raises NotFound for the layer, Unsupported
        where it has no tar, InvalidArchive for other bytes; what was there stays then.
        """
        ...

    def remove(self, key: str) -> None:
        """Take the container's file system away (into the trash); absent keys are fine."""
        ...

    def remove_layer(self, chain_id: str) -> None:
        """Take a layer away; raises NotFound, Conflict while a layer or key uses it."""
        ...

    def list_layers(self) -> list[str]:
        """Return the chain ids of all present layers."""
        ...

    def list_keys(self) -> list[str]:
        """Return the keys of all prepared file systems."""
        ...

    def purge_trash(self) -> None:
        """Delete what ``remove`` and ``remove_layer`` put aside; may take long."""
        ...

    def cleanup(self) -> None:
        """Finish what dead processes left (half-made layers, trash); keeps all else.

        What a driver holds on the machine for layers that no container stands on, such as
        mounts, is given back.
        """
        ...
