"""The blobs of one image on their way out, each by the cheapest way that there is.

    the repository has it --> another of its registry's has it (mount) --> it is here (upload)
      --> only its tar is here: where the layer came from has it as it was (fetch, upload)
      --> nobody has: the tar is compressed anew, and the manifest has to follow

So the digest of a manifest that came from elsewhere changes only where there is no other way, and a
manifest is never there without its blobs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import BinaryIO

from knarr.errors import NotFound, Unavailable
from knarr.images import mediatypes, packednotes, tars
from knarr.images.context import Context, Progress, ProgressEvent
from knarr.images.descriptor import Descriptor
from knarr.images.reference import Reference
from knarr.images.transfer import squeeze
from knarr.images.transfer.origins import OpenRegistry, Origins, repositories
from knarr.images.transfer.threads import helping, raise_first
from knarr.registry.repository import Registry, Repository

# Blobs of one image that go at the same time, as with Docker.
AT_ONCE = 5
# Repositories from which a blob is tried to be mounted.
_CANDIDATES = 3


class Sending:
    """Sends blobs to one repository.

    packed: what layers went out as, by the digests that they had, where that is another one.
    """

    def __init__(
        self,
        context: Context,
        registry: Registry,
        repository: Repository,
        open_registry: OpenRegistry,
        progress: Progress,
    ) -> None:
        self.packed: dict[str, Descriptor] = {}
        self._context = context
        self._registry = registry
        self._repository = repository
        self._progress = progress
        self._telling = threading.Lock()
        self._stop = threading.Event()
        known = repositories(context)
        self._places = _places(context, known, registry.host, repository.path)
        self._origins = Origins(context, known, open_registry)

    def run(self, blobs: dict[str, tuple[Descriptor, str]], *, packs: bool) -> None:
        """Have all blobs in the repository; each comes with the name it is shown by.

        packs: layers are plain ones that were made here. Raises what the registry refuses.
        """
        for _, name in blobs.values():
            self._tell("Preparing", name)
        for _, name in list(blobs.values())[AT_ONCE:]:
            self._tell("Waiting", name)
        with helping(AT_ONCE, self._stop, self._registry.close) as pool:
            raise_first(
                [
                    pool.submit(self._pack if packs and name else self._send, blob, name)
                    for blob, name in blobs.values()
                ]
            )

    def _send(self, blob: Descriptor, name: str) -> None:
        store = self._context.store
        if self._has(blob, name):
            return
        if store.has(blob.digest):
            self._upload(blob, name, self._opener(blob))
            return
        tar = tars.of(store, blob.digest)
        if tar is None:
            raise NotFound(f"blob {blob.digest} is not in the content store")
        fetched = self._origins.fetch(blob, self._reporter(blob, name, "Fetching"))
        if fetched is None:
            plain = Descriptor(mediatypes.OCI_LAYER, tar, store.stat(tar))
            self._pack(plain, name, stands_for=blob.digest)
            return
        with contextlib.closing(fetched):
            self._upload(blob, name, fetched.open)

    def _pack(self, plain: Descriptor, name: str, stands_for: str | None = None) -> None:
        """Send a plain layer compressed, in the place of one that is not here (itself else)."""
        known = packednotes.known(self._context.store, plain.digest)
        packed = known
        if known is None or not self._has(known, name):
            report = self._reporter(plain, name, "Compressing")
            file = squeeze.pack(self._context.store, plain, report)
            packed = file.descriptor
            with contextlib.closing(file):
                if known == packed or not self._has(packed, name):
                    self._upload(packed, name, file.open)
        assert packed is not None
        if packed.digest != stands_for:
            self.packed[stands_for or plain.digest] = packed

    def _has(self, blob: Descriptor, name: str) -> bool:
        """Return whether the repository has a blob, or could take it over from another."""
        if self._repository.has_blob(blob.digest) is not None:
            self._tell("Layer already exists", name)
            return True
        for place in self._places.get(blob.digest, ())[:_CANDIDATES]:
            if self._repository.mount(blob.digest, place):
                self._tell(f"Mounted from {place}", name)
                return True
        return False

    def _upload(self, blob: Descriptor, name: str, opened: Callable[[int], BinaryIO]) -> None:
        report = self._reporter(blob, name, "Pushing")
        self._repository.push_blob(blob.digest, blob.size, opened, report)
        self._tell("Pushed", name)

    def _opener(self, blob: Descriptor) -> Callable[[int], BinaryIO]:
        def opened(offset: int) -> BinaryIO:
            file = self._context.store.open(blob.digest)
            file.seek(offset)
            return file

        return opened

    def _reporter(self, blob: Descriptor, name: str, state: str) -> Callable[[int], None]:
        def report(done: int) -> None:
            if self._stop.is_set():
                raise Unavailable("given up")
            self._tell(state, name, done, blob.size)

        return report

    def _tell(
        self, state: str, name: str, current: int | None = None, total: int | None = None
    ) -> None:
        if name:
            with self._telling:
                self._progress(ProgressEvent(state, name, current, total))


def _places(
    context: Context, known: dict[str, list[Reference]], host: str, path: str
) -> dict[str, list[str]]:
    """Return the other repositories of this registry that are known to have a blob, by digest."""
    found: dict[str, list[str]] = {}
    for digest, places in known.items():
        others = [each.path for each in places if each.domain == host and each.path != path]
        if others:
            found[digest] = others
    for record in context.index.list():
        for layer, diff_id in zip(record.layers, record.diff_ids, strict=True):
            packed = packednotes.known(context.store, diff_id)
            if packed is not None and layer.digest in found:
                found.setdefault(packed.digest, found[layer.digest])
    return found
