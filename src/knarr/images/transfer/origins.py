"""Blobs that are no longer here, had again from the registries that images came from."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr.content import digest as digests
from knarr.errors import KnarrError, Timeout, Unavailable
from knarr.images.context import Context
from knarr.images.descriptor import Descriptor
from knarr.images.reference import Reference
from knarr.images.transfer.squeeze import Packed

if TYPE_CHECKING:
    from knarr.registry.repository import Registry, Repository

OpenRegistry = Callable[[str], "Registry"]
_STEP = 1024 * 1024


def repositories(context: Context) -> dict[str, list[Reference]]:
    """Return the repositories that are known to have had a layer, by its digest."""
    found: dict[str, dict[Reference, None]] = {}
    held: dict[str, set[str]] = {}
    for index in context.index.indexes():
        for member in index.members:
            held.setdefault(member.image_id, set()).update(member.blobs[1:])
    for record in context.index.list():
        named = (Reference.parse(each) for each in record.repo_digests)
        places = dict.fromkeys(replace(each, tag=None, digest=None) for each in named)
        layers = {layer.digest for layer in record.layers} | held.get(record.id, set())
        for digest in layers if places else ():
            found.setdefault(digest, {}).update(places)
    return {digest: list(places) for digest, places in found.items()}


class Origins:
    """Where the layers of images here came from. Safe for several threads.

    known: repositories by the digest of what they have.
    """

    def __init__(
        self,
        context: Context,
        known: dict[str, list[Reference]],
        open_registry: OpenRegistry,
    ) -> None:
        self._folder = os.path.join(context.store.root, "ingest")
        self._known = known
        self._open = open_registry
        self._lock = threading.Lock()
        self._silent: set[str] = set()

    def fetch(self, blob: Descriptor, report: Callable[[int], None]) -> Packed | None:
        """Return a blob in a file without a name, verified; None where nobody gives it.

        report: is told how many bytes have come. A registry that does not answer is asked once.
        Raises OSError of the disk, and what ``report`` raises.
        """
        for place in self._known.get(blob.digest, ()):
            with self._lock:
                if place.domain in self._silent:
                    continue
            try:
                registry = self._open(place.domain)
            except KnarrError:
                continue  # its settings on this machine are wrong; whoever pulls is told
            with registry:
                found = self._from(registry.repository(place.path), place.domain, blob, report)
            if found is not None:
                return found
        return None

    def _from(
        self, repository: Repository, host: str, blob: Descriptor, report: Callable[[int], None]
    ) -> Packed | None:
        file = tempfile.TemporaryFile(dir=self._folder)
        try:
            stream = repository.blob(blob.digest)
            with contextlib.closing(stream):
                hasher, size = digests.hasher(blob.digest.partition(":")[0]), 0
                buffer = memoryview(bytearray(_STEP))
                while size <= blob.size and (count := stream.readinto(buffer)):
                    file.write(buffer[:count])
                    hasher.update(buffer[:count])
                    size += count
                    report(min(size, blob.size))
            file.flush()
            if f"{blob.digest.partition(':')[0]}:{hasher.hexdigest()}" == blob.digest:
                return Packed(file, blob)
        except (Unavailable, Timeout):
            with self._lock:
                self._silent.add(host)
        except KnarrError:
            pass  # it does not have it any more, or gives it to others only
        except BaseException:
            file.close()
            raise
        file.close()
        return None
