"""Where the bytes of a layer on its way are: in a registry, or since then in the content store."""

import os
from typing import TYPE_CHECKING

from knarr.registry import ranges
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry, Repository

if TYPE_CHECKING:
    from typing import Any

    from knarr.content.store import ContentStore
    from knarr.snapshots.coming import Coming


class RemoteTar:
    """A blob that is a plain tar, for ``snapshots.driver.Afar``."""

    def __init__(
        self,
        repository: Repository,
        digest: str,
        size: int,
        origin: "dict[str, Any]",
        store: "ContentStore | None" = None,
        attempts: "int | None" = None,
    ) -> None:
        self.size = size
        self.origin = origin
        self._repository = repository
        self._digest = digest
        self._store = store
        self._attempts = attempts

    @classmethod
    def of(cls, coming: "Coming", store: "ContentStore", patience: Patience) -> "RemoteTar":
        """Return the source of a layer on its way, as its origin says."""
        said = coming.origin
        registry = Registry(said["host"], Hosts.from_environment(os.environ), patience=patience)
        repository = registry.repository(said["repository"])
        return cls(repository, said["digest"], coming.size, said, store)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return these bytes. Raises what ``ranges.fetch`` raises."""
        if self._store is not None and self._store.has(self._digest):
            with self._store.open(self._digest) as file:
                return os.pread(file.fileno(), length, offset)
        return ranges.fetch(
            self._repository, self._digest, offset, length, size=self.size, attempts=self._attempts
        )


def keep(store: "ContentStore", tar: str, coming: "Coming") -> None:
    """Have a layer's tar, which was found to be right, as the blob that it is (OSError)."""
    if coming.origin["digest"] == coming.diff_id:
        store.link(tar, coming.diff_id)
