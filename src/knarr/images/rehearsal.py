"""``Copy``: an index in memory, so that a removal can be done without being done."""

from __future__ import annotations

import builtins

from knarr.errors import NotFound
from knarr.images.index import ImageIndex, ImageRecord, IndexRecord


class Copy:
    """What an index holds now; what is done to it changes nothing else. See ``ImageIndex``."""

    def __init__(self, index: ImageIndex) -> None:
        self._records = {record.id: record for record in index.list()}
        self._names = {
            name: image_id
            for name, image_id in index.all_tags().items()
            if image_id in self._records
        }
        self._indexes = {each.digest: each for each in index.indexes()}
        self._stands_for = index.index_names()
        self._users = {image_id: index.in_use(image_id) for image_id in self._records}

    def add(self, record: ImageRecord) -> None:
        """See ``ImageIndex.add``."""
        self._records[record.id] = record

    def get(self, image_id: str) -> ImageRecord:
        """See ``ImageIndex.get``."""
        if image_id not in self._records:
            raise NotFound(f"No such image: {image_id}")
        return self._records[image_id]

    def find(self, prefix: str) -> builtins.list[ImageRecord]:
        """See ``ImageIndex.find``."""
        full = prefix if ":" in prefix else f"sha256:{prefix}"
        return [record for record in self._records.values() if record.id.startswith(full)]

    def remove(self, image_id: str) -> None:
        """See ``ImageIndex.remove``."""
        self.get(image_id)
        del self._records[image_id]
        for name in self.tags(image_id):
            self.untag(name)

    def list(self) -> builtins.list[ImageRecord]:
        """See ``ImageIndex.list``."""
        return [*self._records.values()]

    def tag(self, ref: str, image_id: str, index_digest: str | None = None) -> None:
        """See ``ImageIndex.tag``."""
        self._names[ref] = self.get(image_id).id
        self._stands_for.pop(ref, None)
        if index_digest is not None:
            self._stands_for[ref] = index_digest

    def untag(self, ref: str) -> str:
        """See ``ImageIndex.untag``."""
        if ref not in self._names:
            raise NotFound(f"No such image: {ref}")
        self._stands_for.pop(ref, None)
        return self._names.pop(ref)

    def resolve(self, ref: str) -> str | None:
        """See ``ImageIndex.resolve``."""
        return self._names.get(ref)

    def tags(self, image_id: str) -> builtins.list[str]:
        """See ``ImageIndex.tags``."""
        return sorted(name for name, each in self._names.items() if each == image_id)

    def all_tags(self) -> dict[str, str]:
        """See ``ImageIndex.all_tags``."""
        return dict(self._names)

    def in_use(self, image_id: str) -> builtins.list[str]:
        """See ``ImageIndex.in_use``."""
        return self._users.get(image_id, [])

    def add_index(self, record: IndexRecord) -> None:
        """See ``ImageIndex.add_index``."""
        self._indexes[record.digest] = record

    def drop_member(self, digest: str, image_id: str) -> None:
        """See ``ImageIndex.drop_member``."""
        if digest in self._indexes:
            self._indexes[digest] = self._indexes[digest].without(image_id)

    def remove_index(self, digest: str) -> None:
        """See ``ImageIndex.remove_index``."""
        self._indexes.pop(digest, None)
        self._stands_for = {n: each for n, each in self._stands_for.items() if each != digest}

    def get_index(self, digest: str) -> IndexRecord | None:
        """See ``ImageIndex.get_index``."""
        return self._indexes.get(digest)

    def indexes(self) -> builtins.list[IndexRecord]:
        """See ``ImageIndex.indexes``."""
        return [*self._indexes.values()]

    def index_names(self) -> dict[str, str]:
        """See ``ImageIndex.index_names``."""
        return dict(self._stands_for)
