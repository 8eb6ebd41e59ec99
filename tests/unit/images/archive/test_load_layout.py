import base64
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from knarr.errors import InvalidArchive, NotFound, Unsupported
from knarr.images import mediatypes
from tests.unit.images.helpers import (
    Layout,
    Room,
    config_of,
    descriptor,
    docker_archive,
    layer,
    sha256,
    tar_of,
)

A, B = layer("a"), layer("b")
HOST = {"os": "linux", "architecture": "amd64"}


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname_result(("Linux", "host", "6", "1", "x86_64"))
    monkeypatch.setattr("knarr.images.platform.os.uname", lambda: uname)


def load(room: Room, layout: Layout, **options: Any) -> Any:
    return room.images.load(io.BytesIO(tar_of(layout.done())), **options)


def write(layout: Layout, folder: Path) -> Path:
    for name, value in layout.done().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            target.write_bytes(value)
    return folder


def platform_image(layout: Layout, architecture: str, **fields: Any) -> dict[str, Any]:
    config = config_of([A], architecture=architecture)
    platform = {"os": "linux", "architecture": architecture} | fields
    return layout.image([A], config=config, top=False, platform=platform)


def test_an_image_comes_in_with_its_manifest_byte_for_byte(room: Room) -> None:
    layout = Layout()
    entry = layout.image([A, B], "docker.io/library/app:1")
    load(room, layout)
    record = room.images.get("app:1").record
    assert record.manifest_digest == entry["digest"]
    assert record.diff_ids == (sha256(A), sha256(B))
    assert record.layers[0].digest == sha256(gzip.compress(A, mtime=0))
    assert record.layer_sizes == (len(A), len(B))
    assert room.blobs() == set(record.blobs)


def test_a_directory_is_read_as_a_tar_is(room: Room, tmp_path: Path) -> None:
    layout = Layout()
    layout.image([A], "docker.io/library/app:1")
    room.images.load(write(layout, tmp_path / "layout"))
    assert room.images.get("app:1").record.diff_ids == (sha256(A),)
    assert room.blobs() == set(room.images.get("app:1").record.blobs)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_directory_cannot_lead_elsewhere(room: Room, tmp_path: Path, kind: str) -> None:
    layout = Layout()
    layout.image([A], "docker.io/library/app:1")
    folder = write(layout, tmp_path / "layout")
    blob = folder / "blobs" / "sha256" / sha256(config_of([A]))[7:]
    outside = tmp_path / "outside"
    blob.rename(outside)
    if kind == "link":
        blob.symlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(blob)
    else:
        blob.mkdir()
    with pytest.raises(InvalidArchive, match=r"leads out|not a regular file"):
        room.images.load(folder)
    assert room.blobs() == set()


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({"org.opencontainers.image.ref.name": "docker.io/library/app:2"}, ("app:2",)),
        ({"org.opencontainers.image.ref.name": "app:2"}, ("app:2",)),
        ({"org.opencontainers.image.ref.name": "latest"}, ()),
        ({"org.opencontainers.image.ref.name": "Not/A Name"}, ()),
        (
            {"io.containerd.image.name": "x.io/app", "org.opencontainers.image.ref.name": "2"},
            ("x.io/app:latest",),
        ),
        ({"io.containerd.image.name": "x.io/app@sha256:" + "0" * 64}, ()),
        ({}, ()),
    ],
)
def test_names(room: Room, annotations: dict[str, str], names: tuple[str, ...]) -> None:
    layout = Layout()
    layout.image([A])["annotations"] = annotations
    assert load(room, layout).images[0].names == names


def test_all_platforms_are_loaded_and_the_hosts_has_the_name(room: Room) -> None:
    layout = Layout()
    entries = [platform_image(layout, each) for each in ("arm64", "amd64", "s390x")]
    attestation = layout.image(
        [B], top=False, platform={"os": "unknown", "architecture": "unknown"}
    )
    index = layout.index([attestation, *entries], "docker.io/library/app:latest")
    result = load(room, layout)
    record = room.images.get("app").record
    assert str(record.platform) == "linux/amd64"
    assert room.images.get(f"app@{index['digest']}").id == record.id
    assert len(result.images) == 1
    assert result.images[0].platforms == ("linux/arm64", "linux/amd64", "linux/s390x")
    assert result.warnings == ()
    assert room.blobs() == room.needed() == {*layout.digests()}


def test_a_platform_can_be_asked_for(room: Room) -> None:
    layout = Layout()
    layout.index(
        [platform_image(layout, "amd64"), platform_image(layout, "arm", variant="v6")], "x.io/app:1"
    )
    result = load(room, layout, platform="linux/arm/v7")
    assert str(room.images.get("x.io/app:1").record.platform) == "linux/arm"
    assert "this machine is linux/amd64" in result.warnings[0]
    with pytest.raises(
        NotFound, match="has no image for linux/s390x; it has: linux/amd64, linux/arm/v6"
    ):
        load(room, layout, platform="linux/s390x")


def test_an_index_in_an_index(room: Room) -> None:
    layout = Layout()
    inner = layout.index([platform_image(layout, "amd64")], top=False)
    middle = layout.index([inner, platform_image(layout, "arm64")], top=False)
    layout.index([middle], "docker.io/library/app:latest")
    load(room, layout)
    assert str(room.images.get("app").record.platform) == "linux/amd64"


def test_indexes_nested_without_end_are_refused(room: Room) -> None:
    layout = Layout()
    entry = platform_image(layout, "amd64")
    for _ in range(8):
        entry = layout.index([entry], top=False)
    layout.index([entry], "x.io/a:1")
    with pytest.raises(InvalidArchive, match="nested too deep"):
        load(room, layout)
    assert room.blobs() == set()


def test_entries_of_one_name_are_platforms_of_one_image(room: Room) -> None:
    layout = Layout()
    for architecture in ("s390x", "amd64"):
        entry = platform_image(layout, architecture)
        entry["annotations"] = {"io.containerd.image.name": "x.io/app:1"}
        layout.entries.append(entry)
    assert len(load(room, layout).images) == 1
    assert str(room.images.get("x.io/app:1").platform) == "linux/amd64"


def test_what_is_no_image_is_skipped(room: Room) -> None:
    layout = Layout()
    layout.image([A], "x.io/app:1")
    layout.entries.append(layout.blob(b"hello", "application/vnd.example+text"))
    layout.entry(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "artifactType": "application/vnd.example.sbom",
            "config": layout.blob(b"{}", mediatypes.OCI_EMPTY),
            "layers": [],
        }
    )
    result = load(room, layout)
    assert len(result.images) == 1
    assert any("vnd.example+text" in line for line in result.warnings)
    assert any("artifact of type application/vnd.example.sbom" in line for line in result.warnings)
    assert room.blobs() == set(room.images.get("x.io/app:1").record.blobs)


def test_docker_manifests_and_sha512_and_embedded_data(room: Room) -> None:
    layout = Layout()
    config = config_of([A])
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.DOCKER_MANIFEST,
        "config": descriptor(config, mediatypes.DOCKER_CONFIG)
        | {"data": base64.b64encode(config).decode()},
        "layers": [layout.blob(gzip.compress(A), mediatypes.DOCKER_LAYER_GZIP)],
    }
    layout.entry(document, "x.io/app:1")
    load(room, layout)
    record = room.images.get("x.io/app:1").record
    assert record.manifest_media_type == mediatypes.DOCKER_MANIFEST
    assert record.id == sha256(config)


def test_a_tar_that_is_both_gains_the_names_of_both(room: Room) -> None:
    layout = Layout()
    layout.image([A], "docker.io/library/app:1", compress=False)
    config = f"blobs/sha256/{sha256(config_of([A]))[7:]}"
    entry = {
        "Config": config,
        "RepoTags": ["app:1", "app:2"],
        "Layers": [f"blobs/sha256/{sha256(A)[7:]}"],
    }
    files = layout.done() | {"manifest.json": json.dumps([entry]).encode()}
    result = room.images.load(io.BytesIO(tar_of(files)))
    assert result.images[0].names == ("app:1", "app:2")
    assert room.images.get("app:2").record.manifest_digest == layout.entries[0]["digest"]


def test_a_tar_that_is_both_may_hold_different_images(room: Room) -> None:
    layout = Layout()
    layout.image([A], "docker.io/library/app:1")
    room.images.load(io.BytesIO(tar_of(layout.done() | docker_archive([B], ["other"]))))
    assert room.images.get("other").id != room.images.get("app:1").id


def test_foreign_layers_are_only_at_their_urls(room: Room) -> None:
    layout = Layout()
    foreign = descriptor(B, mediatypes.DOCKER_FOREIGN_GZIP, urls=["https://example.org/b"])
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": layout.blob(config_of([B]), mediatypes.OCI_CONFIG),
        "layers": [foreign],
    }
    layout.entry(document, "x.io/app:1")
    with pytest.raises(Unsupported, match=r"https://example\.org/b"):
        load(room, layout)
    assert room.blobs() == set()


def _layout_without(role: str) -> Layout:
    layout = Layout()
    layout.image([A], "x.io/app:1")
    manifest = layout.files[f"blobs/sha256/{layout.entries[0]['digest'][7:]}"]
    assert isinstance(manifest, bytes)
    document = json.loads(manifest)
    digest = {
        "manifest": layout.entries[0]["digest"],
        "image config": document["config"]["digest"],
        "layer": document["layers"][0]["digest"],
    }[role]
    del layout.files[f"blobs/sha256/{digest[7:]}"]
    return layout


@pytest.mark.parametrize("role", ["manifest", "image config", "layer"])
def test_missing_blobs_are_named(room: Room, role: str) -> None:
    with pytest.raises(InvalidArchive, match=f"lacks {role} sha256:"):
        load(room, _layout_without(role))
    assert room.blobs() == set()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 5}, "bytes, not 5"),
        ({"digest": "sha256:" + "0" * 64}, "lacks manifest"),
        ({"digest": "md5:" + "0" * 32}, "malformed"),
        ({"mediaType": mediatypes.DOCKER_MANIFEST}, "says it is"),
        ({"size": 2**40}, "too large"),
        ({"data": "AAAA"}, "embedded data"),
    ],
)
def test_lying_entries_are_refused(room: Room, change: dict[str, Any], reason: str) -> None:
    layout = Layout()
    layout.image([A], "x.io/app:1").update(change)
    with pytest.raises(InvalidArchive, match=reason):
        load(room, layout)
    assert room.blobs() == set()


def test_layers_that_unpack_to_something_else_are_refused(room: Room) -> None:
    layout = Layout()
    layout.image([A], "x.io/app:1", config=config_of([B]))
    with pytest.raises(InvalidArchive, match="is corrupt"):
        load(room, layout)
    assert room.blobs() == set()


def test_another_version_of_the_layout_is_refused(room: Room) -> None:
    layout = Layout()
    layout.image([A], "x.io/app:1")
    layout.files["oci-layout"] = b'{"imageLayoutVersion":"2.0.0"}'
    with pytest.raises(InvalidArchive, match="version"):
        load(room, layout)


def test_schema_1_is_refused_by_name(room: Room) -> None:
    layout = Layout()
    kind = mediatypes.OCI_MANIFEST
    layout.entries.append(layout.blob(b'{"schemaVersion":1,"fsLayers":[]}', kind))
    with pytest.raises(Unsupported, match="schema 1"):
        load(room, layout)
    assert room.blobs() == set()
