"""What tests of layers that are kept as their tars stand on."""

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

from knarr.content import digest as digests
from tests.integration.images.conftest import Place
from tests.support.fakeregistry import digest_of
from tests.unit.images.helpers import layer, sha256

A, B, C = layer("a"), layer("b"), layer("c")


def packed(data: bytes) -> str:
    """The digest of a layer as ``put_image`` packs it."""
    return digest_of(gzip.compress(data, 1, mtime=0))


def is_single(place: Place, *layers: bytes) -> None:
    """Of these layers there is one copy, which is content and what containers see."""
    store = place.store
    record = next(r for r in place.index.list() if r.diff_ids == tuple(map(sha256, layers)))
    for descriptor, diff_id, chain_id in zip(
        record.layers, record.diff_ids, digests.chain_ids(record.diff_ids), strict=True
    ):
        path = place.driver.layer_tar(chain_id)
        assert path is not None
        assert os.path.samefile(path, store.path(diff_id))
        assert store.has(descriptor.digest) == (descriptor.digest == diff_id)
        store.verify(diff_id)
    assert os.listdir(f"{store.root}/ingest") == []


def files_of(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return {m.name: found.extractfile(m).read() for m in found if m.isfile()}  # type: ignore[union-attr]


def saved(place: Place, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    place.images.save([name], out, **options)
    return out.getvalue()


def spoil(path: str) -> None:
    os.chmod(path, 0o600)
    Path(path).write_bytes(b"other")
