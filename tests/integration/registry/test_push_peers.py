"""Pushes to Debian's docker-registry, looked at by skopeo and podman."""

import io
import json
from pathlib import Path

import pytest

from knarr.errors import NotFound
from knarr.images.context import ProgressEvent
from tests.integration.images.conftest import Place
from tests.support.dockerregistry import skopeo
from tests.unit.images.helpers import tar_of
from tests.unit.images.several import several

pytestmark = pytest.mark.peer


@pytest.fixture
def loaded(place: Place, busybox_archive: Path) -> Place:
    place.images.load(str(busybox_archive))
    return place


def test_what_is_pushed_is_what_we_have(loaded: Place, server: str) -> None:
    name = f"{server}/team/busybox:1"
    loaded.images.tag("busybox", name)
    (pushed,) = loaded.images.push(name)
    raw = skopeo("inspect", "--raw", f"docker://{name}").encode()
    assert raw == loaded.store.read(pushed.digest)
    assert len(raw) == pushed.size
    assert loaded.images.inspect(name)["RepoDigests"] == [f"{server}/team/busybox@{pushed.digest}"]


def test_skopeo_reads_every_byte_of_it(loaded: Place, server: str, tmp_path: Path) -> None:
    name = f"{server}/busybox:1"
    loaded.images.tag("busybox", name)
    loaded.images.push(name)
    skopeo("copy", f"docker://{name}", f"dir:{tmp_path / 'copy'}")
    record = loaded.images.get(name).record
    for blob in (record.config_digest, *(layer.digest for layer in record.layers)):
        copied = tmp_path / "copy" / blob.removeprefix("sha256:")
        assert copied.read_bytes() == Path(loaded.store.path(blob)).read_bytes()


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
