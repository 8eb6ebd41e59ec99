"""Pushes to Debian's docker-registry, looked at by skopeo and podman."""

import io
import json
import os
from pathlib import Path

import pytest

from knarr.errors import NotFound
from knarr.images.context import ProgressEvent
from tests.integration.images.conftest import Place
from tests.support.dockerregistry import skopeo
from tests.unit.images.helpers import Layout, layer, tar_of
from tests.unit.images.several import several

pytestmark = pytest.mark.peer


@pytest.fixture
def loaded(place: Place, busybox_archive: Path) -> Place:
    place.images.load(str(busybox_archive))
    return place


@pytest.fixture
def foreign(place: Place) -> Place:
    """With an image that has a manifest of its own, app:1."""
    layout = Layout()
    layout.image([layer("a"), layer("b")], "docker.io/library/app:1")
    place.images.load(io.BytesIO(tar_of(layout.done())))
    return place


def test_what_is_pushed_is_what_we_have(foreign: Place, server: str) -> None:
    name = f"{server}/team/app:1"
    foreign.images.tag("app:1", name)
    (pushed,) = foreign.images.push(name)
    raw = skopeo("inspect", "--raw", f"docker://{name}").encode()
    assert raw == foreign.store.read(pushed.digest)
    assert len(raw) == pushed.size
    assert foreign.images.inspect(name)["RepoDigests"] == [f"{server}/team/app@{pushed.digest}"]


def test_skopeo_reads_every_byte_of_it(foreign: Place, server: str, tmp_path: Path) -> None:
    name = f"{server}/app:1"
    foreign.images.tag("app:1", name)
    foreign.images.push(name)
    skopeo("copy", f"docker://{name}", f"dir:{tmp_path / 'copy'}")
    record = foreign.images.get(name).record
    for blob in (record.config_digest, *(each.digest for each in record.layers)):
        copied = tmp_path / "copy" / blob.removeprefix("sha256:")
        assert copied.read_bytes() == Path(foreign.store.path(blob)).read_bytes()


def test_nothing_is_sent_twice(loaded: Place, server: str) -> None:
    for name in ("team/one:1", "team/one:2", "other:1"):
        loaded.images.tag("busybox", f"{server}/{name}")
    said: list[str] = []

    def note(event: ProgressEvent) -> None:
        if event.current is None and event.action:
            said.append(event.action)

    loaded.images.push(f"{server}/team/one", all_tags=True, progress=note)
    assert said == ["Preparing", "Pushed", "Preparing", "Layer already exists"]
    said.clear()
    loaded.images.push(f"{server}/other:1", progress=note)
    assert said == ["Preparing", "Mounted from team/one"]


def test_all_platforms_go_and_come_back(place: Place, elsewhere: Place, server: str) -> None:
    place.images.load(io.BytesIO(tar_of(several().done())))
    name = f"{server}/many:1"
    place.images.tag("app:1", name)
    (pushed,) = place.images.push(name)
    raw = skopeo("inspect", "--raw", f"docker://{name}").encode()
    assert len(json.loads(raw)["manifests"]) == 4
    (pulled,) = elsewhere.images.pull(name, platform="linux/arm64")
    assert pulled.digest == pushed.digest
    assert pulled.record.platform.architecture == "arm64"


def test_what_is_not_here(loaded: Place, server: str) -> None:
    with pytest.raises(NotFound, match="An image does not exist locally with the tag: "):
        loaded.images.push(f"{server}/nothing")
    loaded.images.tag("busybox", f"{server}/busybox:1")
    with pytest.raises(NotFound, match="tag does not exist: "):
        loaded.images.push(f"{server}/busybox:2")


def test_layers_of_our_own_go_out_packed(place: Place, elsewhere: Place, server: str) -> None:
    tar = tar_of({"file": b"x" * 100_000})
    name = f"{server}/made:1"
    image = place.images.import_(io.BytesIO(tar), name)
    (pushed,) = place.images.push(name)
    manifest = json.loads(skopeo("inspect", "--raw", f"docker://{name}"))
    (packed,) = manifest["layers"]
    assert packed["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert packed["size"] < 10_000
    assert manifest["config"]["digest"] == image.id
    (pulled,) = elsewhere.images.pull(name)
    assert pulled.record.id == image.id
    assert pulled.digest == pushed.digest
    # Again, to another repository: it is known what the layer is there.
    said: list[str] = []
    place.images.tag(name, f"{server}/again:1")
    (again,) = place.images.push(
        f"{server}/again:1", progress=lambda event: said.append(event.action)
    )
    assert again.digest == pushed.digest
    assert "Compressing" not in said
    assert "Mounted from made" in said
    # What comes back is what is here already, packed otherwise.
    said.clear()
    (back,) = place.images.pull(name, progress=lambda event: said.append(event.action))
    assert back.record.id == image.id
    assert said == [""]
    assert os.listdir(f"{place.store.root}/ingest") == []


def test_an_image_with_a_manifest_of_its_own_goes_as_it_came(
    place: Place, elsewhere: Place, server: str
) -> None:
    layout = Layout()
    layout.image([layer("a")], "docker.io/library/app:1", compress=False)
    place.images.load(io.BytesIO(tar_of(layout.done())))
    record = place.images.get("app:1").record
    place.images.tag("app:1", f"{server}/app:1")
    (pushed,) = place.images.push(f"{server}/app:1")
    assert pushed.digest == record.manifest_digest
