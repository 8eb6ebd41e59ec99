"""Images in a registry made by hand."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

from tests.support.chunked import Chunked
from tests.support.fakeregistry import OCI_INDEX, FakeRegistry
from tests.support.stargz import Stargz
from tests.unit.images.helpers import config_of, descriptor

CONFIG = "application/vnd.oci.image.config.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def put_image(
    fake: FakeRegistry, tag: str, layers: list[bytes], *, plain: bool = False, **changes: Any
) -> dict[str, Any]:
    """Put an image of these plain layers there, gzipped; return its manifest with changes in it.

    plain: the layers are not gzipped.
    """
    config = config_of(layers)
    fake.add_blob(config)
    packed = layers if plain else [gzip.compress(each, 1, mtime=0) for each in layers]
    for each in packed:
        fake.add_blob(each)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(each, PLAIN if plain else GZIP) for each in packed],
        **changes,
    }
    fake.add_manifest(tag, manifest)
    return manifest


def put_tabled(fake: FakeRegistry, tag: str, layers: Sequence[Stargz | Chunked]) -> None:
    """Put an image of layers with tables there."""
    config = config_of([each.tar for each in layers])
    fake.add_blob(config)
    for each in layers:
        fake.add_blob(each.blob)
    described = [
        descriptor(each.blob, each.media_type, annotations=each.annotations) for each in layers
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": descriptor(config, CONFIG), "layers": described}  # fmt: skip
    fake.add_manifest(tag, manifest)


def put_index(fake: FakeRegistry, tag: str, entries: list[dict[str, Any]]) -> str:
    """Put an index of manifests there and return its digest."""
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return fake.add_manifest(tag, value, OCI_INDEX)


def entry(
    fake: FakeRegistry, tag: str, os: str = "linux", architecture: str = "amd64", **more: Any
) -> dict[str, Any]:
    """Return the index entry for the manifest of a tag."""
    media_type, body = fake.manifests[tag]
    platform = {"os": os, "architecture": architecture}
    return descriptor(body, media_type, platform=platform, **more)
