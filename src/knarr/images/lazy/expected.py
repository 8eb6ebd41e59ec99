"""The layers of one pull that are left to come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from knarr.errors import InvalidArchive, KnarrError, Unsupported
from knarr.images import mediatypes
from knarr.images.descriptor import Descriptor
from knarr.images.lazy import chunked
from knarr.images.lazy.origin import RemoteTable, RemoteTar, packing_of, remote
from knarr.registry.repository import Repository
from knarr.snapshots.driver import Driver, LayerSource
from knarr.snapshots.drivers import erofs

Watch = Callable[[], None]
"""Returns when all layers that are to come are watched over and mounted."""

_PLAIN = frozenset({mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER})
# Bytes: what is smaller comes as quickly as its entries alone.
_SMALL = 1024 * 1024


def check(driver: Driver) -> None:
    """Return when this machine can use layers that are to come; else Unsupported says why not."""
    if not isinstance(driver, erofs.Driver):
        raise Unsupported(
            f"layers that are still to come need the storage driver erofs; this is {driver.name}"
        )
    driver.probe_afar()


class Expected:
    """origin: where layers come from, as far as that is the same for all of them."""

    def __init__(self, origin: dict[str, Any], watch: Watch) -> None:
        self._origin = origin
        self._watch = watch
        self._sources: dict[str, RemoteTar | None] = {}  # None: it has been on its way before

    def has(self, layer: Descriptor) -> bool:
        """Return whether a layer is one of those."""
        return layer.digest in self._sources

    @staticmethod
    def is_worth(layer: Descriptor) -> bool:
        """Return whether a layer is so large that leaving it to come can gain anything."""
        return layer.size >= _SMALL

    def takes(self, layer: Descriptor) -> bool:
        """Take in a layer that the driver has, and return whether it may be one on its way."""
        if layer.media_type in _PLAIN or packing_of(layer) is not None:
            self._sources[layer.digest] = None
        return self.has(layer)

    def tar_size(self, driver: Driver, layer: Descriptor, chain_id: str) -> int | None:
        """Return the bytes of a layer's tar, or nearly; None for one that has come by now."""
        source = self._sources[layer.digest]
        if source is not None:
            return source.tar_size
        for coming in driver.coming() if isinstance(driver, erofs.Driver) else []:
            if coming.chain_id == chain_id:
                return int(coming.origin.get("tar_size") or layer.size)
        return None

    def refuses(self, repository: Repository, layer: Descriptor) -> str:
        """Take a layer in, or return why it cannot be left to come."""
        if mediatypes.is_foreign(layer.media_type):
            return "it is not the registry's"
        try:
            source = self._source(repository, layer)
        except KnarrError as error:
            return str(error)
        self._sources[layer.digest] = source
        return ""

    def _source(self, repository: Repository, layer: Descriptor) -> RemoteTar:
        """Return where a layer can be read in pieces; raises Unsupported where it cannot."""
        source = remote(repository, layer, self._origin)
        if isinstance(source, RemoteTable):
            source.load()
            return source
        if layer.media_type not in _PLAIN:
            if layer.media_type == mediatypes.OCI_LAYER_ZSTD and chunked.lost(
                layer, source.read_at
            ):
                raise Unsupported("it is a zstd:chunked whose manifest has no digest of its table")
            kind = layer.media_type.rpartition("+")[2].rpartition(".")[2]
            raise Unsupported(f"it is packed ({kind}), so it is read from front to back")
        if source.read_at(0, 512)[257:262] != b"ustar":
            raise Unsupported("it is no plain tar, whatever its media type says")
        return source

    def expect(self, driver: Driver, layer: Descriptor, diff_id: str, chain: Sequence[str]) -> str:
        """Make a layer that is to come and have it watched over; return why that cannot be, or "".

        chain: up to the layer. Raises InvalidArchive for one that is none of its image's, and what
        the registry says.
        """
        same = layer.digest.partition(":")[0] == diff_id.partition(":")[0]
        if same and layer.digest != diff_id and packing_of(layer) is None:
            raise InvalidArchive(f"it is a plain tar and no {diff_id}, as its image says")
        source = self._sources[layer.digest]
        if source is not None:
            made = LayerSource(diff_id=diff_id, open=_never, afar=source)
            parent = chain[-2] if len(chain) > 1 else None
            try:
                driver.commit_layer(chain[-1], parent, made)
            except (Unsupported, InvalidArchive) as error:  # what is wrong with it is told later
                del self._sources[layer.digest]
                return str(error)
        self._watch()
        return ""


def _never() -> Any:
    raise KnarrError("a layer that is to come is not read from front to back")
