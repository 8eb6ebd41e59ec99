import base64
import json
from typing import Any

import pytest

from knarr.errors import InvalidArchive, Unsupported
from knarr.images import mediatypes
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index, Manifest, is_attestation, parse
from tests.unit.images.helpers import descriptor, sha256

CONFIG = descriptor(b"{}", mediatypes.OCI_CONFIG)


def body(**fields: Any) -> bytes:
    document = {"schemaVersion": 2, "config": CONFIG, "layers": []} | fields
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def test_both_families_are_read() -> None:
    for kind in (mediatypes.OCI_MANIFEST, mediatypes.DOCKER_MANIFEST):
        manifest = parse(body(mediaType=kind))
        assert isinstance(manifest, Manifest)
        assert manifest.media_type == kind
    for kind in (mediatypes.OCI_INDEX, mediatypes.DOCKER_INDEX):
        index = parse(body(mediaType=kind, manifests=[CONFIG], config=..., layers=...))
        assert isinstance(index, Index)
        assert index.manifests[0].digest == CONFIG["digest"]


def test_the_media_type_may_be_missing() -> None:
    assert isinstance(parse(body()), Manifest)
    assert isinstance(parse(body(config=..., layers=..., manifests=[])), Index)
    assert isinstance(parse(body(), mediatypes.DOCKER_MANIFEST), Manifest)


@pytest.mark.parametrize(
    ("data", "offered", "error", "reason"),
    [
        (body(schemaVersion=1), "", Unsupported, "schema 1"),
        (
            body(),
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            Unsupported,
            "schema",
        ),
        (body(schemaVersion=3), "", InvalidArchive, "schemaVersion"),
        (body(schemaVersion="2"), "", InvalidArchive, "schemaVersion"),
        (body(manifests=[]), "", InvalidArchive, "at once"),
        (body(mediaType=mediatypes.OCI_INDEX), mediatypes.OCI_MANIFEST, InvalidArchive, "says"),
        (body(mediaType="text/plain"), "", Unsupported, "no image"),
        (body(config=...), mediatypes.OCI_MANIFEST, InvalidArchive, "config"),
        (body(layers={}), "", InvalidArchive, "layers"),
        (body(layers=[{}]), "", InvalidArchive, "layer"),
        (body(config=CONFIG | {"digest": "sha256:../../etc"}), "", InvalidArchive, "digest"),
        (body(config=CONFIG | {"size": -1}), "", InvalidArchive, "size"),
        (b"[]", "", InvalidArchive, "not a JSON object"),
    ],
)
def test_refused(data: bytes, offered: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        parse(data, offered)


def test_artifacts_are_told_from_images() -> None:
    empty = descriptor(b"{}", mediatypes.OCI_EMPTY)
    for data in (body(artifactType="application/x"), body(config=empty)):
        artifact = parse(data)
        assert isinstance(artifact, Manifest)
        assert not artifact.is_image
    image = parse(body(subject=CONFIG))
    assert isinstance(image, Manifest)
    assert image.is_image
    assert image.subject is not None


def test_attestations_are_known_by_annotation_or_platform() -> None:
    marked = CONFIG | {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    unknown = CONFIG | {"platform": {"os": "unknown", "architecture": "unknown"}}
    assert is_attestation(Descriptor.from_dict(marked))
    assert is_attestation(Descriptor.from_dict(unknown))
    assert not is_attestation(Descriptor.from_dict(CONFIG))


def test_a_descriptor_survives_a_round_trip() -> None:
    value = CONFIG | {
        "urls": ["https://example.org/x"],
        "annotations": {"a": "b"},
        "data": base64.b64encode(b"{}").decode(),
        "platform": {"architecture": "arm", "os": "linux", "variant": "v6"},
        "artifactType": "application/x",
    }
    read = Descriptor.from_dict(value)
    assert read.to_dict() == value
    assert Descriptor.from_dict(read.to_dict()) == read
    assert hash(read) == hash(Descriptor.from_dict(value))


@pytest.mark.parametrize("data", ["e30", "e$0=", base64.b64encode(b"other").decode(), 5])
def test_embedded_data_has_to_be_what_the_digest_says(data: object) -> None:
    with pytest.raises(InvalidArchive):
        Descriptor.from_dict(CONFIG | {"data": data})


def test_what_knarr_writes_it_reads_back() -> None:
    config = Descriptor.from_dict(CONFIG)
    manifest = Manifest(mediatypes.OCI_MANIFEST, config, (config,), {"a": "b"})
    assert parse(manifest.to_bytes()) == manifest
    index = Index(mediatypes.OCI_INDEX, (config,), {"a": "b"})
    assert parse(index.to_bytes()) == index
    assert sha256(manifest.to_bytes()) == sha256(manifest.to_bytes())


def test_layer_media_types() -> None:
    for kind in mediatypes.LAYERS:
        assert mediatypes.is_layer(kind)
    assert mediatypes.is_foreign(mediatypes.DOCKER_FOREIGN_GZIP)
    assert not mediatypes.is_foreign(mediatypes.OCI_LAYER)
