"""Layers that are kept as their tars, loaded, saved and built upon."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.content import compression
from knarr.content import digest as digests
from tests.integration.images.conftest import Place
from tests.integration.images.test_peers import Podman
from tests.integration.tars.helpers import A, B, files_of, is_single, packed, saved
from tests.support.dockerregistry import skopeo
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry, digest_of
from tests.unit.images.helpers import Layout, sha256, tar_of
from tests.unit.images.several import several


def test_a_loaded_layer_is_decompressed_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    layout.image([A, B], "docker.io/library/app:1")
    archive = io.BytesIO(tar_of(layout.done()))
    decoders: list[compression._Gzip] = []

    def decoder() -> compression._Gzip:
        decoders.append(compression._Gzip())
        return decoders[-1]

    monkeypatch.setitem(compression._DECODERS, "gzip", decoder)
    place.images.load(archive)
    place.images.unpack("app:1")
    assert len(decoders) == 2
    is_single(place, A, B)
    archive.seek(0)
    place.images.load(archive)
    assert len(decoders) == 2
    is_single(place, A, B)


def test_a_bad_layer_leaves_nothing_of_a_load(place: Place) -> None:
    layout = Layout()
    layout.image([A, b"no tar at all"], "docker.io/library/app:1")
    with pytest.raises(Exception, match="tar"):
        place.images.load(io.BytesIO(tar_of(layout.done())))
    assert place.blobs() == set()
    assert place.driver.list_layers() == []


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci"])
def test_saved_and_loaded(
    make: Callable[..., Place], fake: FakeRegistry, archive_format: str
) -> None:
    put_image(fake, "1", [A, B])
    here, there = make(), make("there")
    (pulled,) = here.images.pull(f"{fake.host}/app:1")
    archive = saved(here, f"{fake.host}/app:1", format=archive_format)
    assert archive == saved(here, f"{fake.host}/app:1", format=archive_format)
    files = files_of(archive)
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name.endswith(sha256(data)[7:])
    entry = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'][7:]}"])
    assert [each["digest"] for each in manifest["layers"]] == [sha256(A), sha256(B)]
    assert [len(files[f"blobs/sha256/{each['digest'][7:]}"]) == each["size"]
            for each in manifest["layers"]] == [True, True]  # fmt: skip
    (loaded,) = there.images.load(io.BytesIO(archive)).images
    assert loaded.id == pulled.record.id
    there.images.unpack(loaded.id)
    is_single(there, A, B)
    assert saved(there, f"{fake.host}/app:1", format=archive_format) == archive


@pytest.mark.peer
def test_saved_for_others(place: Place, fake: FakeRegistry, podman: Podman, tmp_path: Path) -> None:
    put_image(fake, "1", [A, B])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    for archive_format, transport in (("docker-archive", "docker-archive"), ("oci", "oci-archive")):
        path = tmp_path / f"{archive_format}.tar"
        place.images.save([f"{fake.host}/app:1"], path, format=archive_format)
        target = tmp_path / f"copy-{archive_format}"
        skopeo("copy", f"{transport}:{path}", f"dir:{target}")
        config = target / pulled.record.config_digest[7:]
        assert digest_of(config.read_bytes()) == pulled.record.id
        skopeo("copy", f"{transport}:{path}", f"oci:{target}-oci:app")
        podman("load", "-i", path)
        assert pulled.record.id[7:] in podman("images", "-q", "--no-trunc")
        podman("rmi", "-a")
    place.images.save([f"{fake.host}/app:1"], tmp_path / "layout", format="oci-dir")
    skopeo("copy", f"oci:{tmp_path / 'layout'}:1", f"dir:{tmp_path / 'copy-dir'}")


def test_an_index_with_what_is_kept_of_it(make: Callable[..., Place]) -> None:
    here, there = make(), make("there")
    here.images.load(io.BytesIO(tar_of(several(amd64=B).done())))
    archive = saved(here, "app:1")
    there.images.load(io.BytesIO(archive))
    platforms = [str(each.platform) for each in there.images.platforms("app:1")]
    assert platforms == ["linux/arm64", "linux/amd64", "linux/s390x"]
    assert there.images.get("app:1").id == here.images.get("app:1").id
    there.images.inspect("app:1")
    index = json.loads(there.store.read(there.index.indexes()[0].digest))
    assert len(index["manifests"]) == 3, "an attestation is about a manifest and its digest"


def test_since_in_whatever_form_the_base_is_there(
    make: Callable[..., Place], fake: FakeRegistry
) -> None:
    put_image(fake, "1", [A])
    put_image(fake, "2", [A, B])
    here = make()
    for tag in ("1", "2"):
        here.images.pull(f"{fake.host}/app:{tag}")
    archive = saved(here, f"{fake.host}/app:2", since=[f"{fake.host}/app:1"])
    assert f"blobs/sha256/{sha256(A)[7:]}" not in files_of(archive)
    for number, keep_compressed in enumerate((False, True)):
        there = make(f"there-{number}", keep_compressed=keep_compressed)
        there.images.pull(f"{fake.host}/app:1")
        (loaded,) = there.images.load(io.BytesIO(archive)).images
        assert there.images.unpack(loaded.id) == digests.chain_ids([sha256(A), sha256(B)])[-1]


def test_images_above_and_comparisons(place: Place, fake: FakeRegistry) -> None:
    from knarr.images.committing import HistoryNote

    put_image(fake, "1", [A])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    note = HistoryNote("sh", "me", "")
    child = place.images.commit(pulled.record.id, [B], {}, "child:1", note=note)
    assert [each.digest for each in child.record.layers] == [packed(A), sha256(B)]
    place.images.unpack("child:1")
    assert [each.path for each in place.images.diff(pulled.record.id, "child:1").files] == ["/b"]
    assert place.images.verify(files=True).is_well
    place.images.remove(f"{fake.host}/app:1")
    assert place.images.verify(files=True).is_well
    saved(place, "child:1")
