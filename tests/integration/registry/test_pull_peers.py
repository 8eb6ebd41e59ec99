"""Pulls from Debian's docker-registry of what skopeo put there."""

import json
from pathlib import Path

import pytest

from knarr.errors import NotFound, Unavailable
from knarr.images.context import ProgressEvent
from tests.integration.images.conftest import Place
from tests.support.dockerregistry import skopeo

pytestmark = pytest.mark.peer


def put(archive: Path, host: str, name: str, *flags: str) -> None:
    skopeo("copy", *flags, f"docker-archive:{archive}", f"docker://{host}/{name}")


@pytest.fixture
def image(busybox_archive: Path, server: str) -> str:
    put(busybox_archive, server, "team/busybox:1")
    return f"{server}/team/busybox:1"


def test_a_pulled_image_is_that_of_the_registry(place: Place, image: str, server: str) -> None:
    (pulled,) = place.images.pull(image)
    raw = json.loads(skopeo("inspect", "--raw", f"docker://{image}"))
    assert pulled.record.id == raw["config"]["digest"]
    assert [layer.digest for layer in pulled.record.layers] == [
        layer["digest"] for layer in raw["layers"]
    ]
    digest = skopeo("inspect", "--format", "{{.Digest}}", f"docker://{image}").strip()
    assert (pulled.digest, pulled.is_new) == (digest, True)
    shown = place.images.inspect(image)
    assert shown["RepoTags"] == [image]
    assert shown["RepoDigests"] == [f"{server}/team/busybox@{digest}"]
    assert place.driver.has(pulled.record.chain_id)
    assert (place.tree(pulled.record.chain_id) / "bin/busybox").exists()


def test_the_second_pull_brings_nothing(place: Place, image: str) -> None:
    place.images.pull(image)
    events: list[ProgressEvent] = []
    (again,) = place.images.pull(image, progress=events.append)
    assert not again.is_new
    assert [event.subject for event in events] == ["1: Pulling from team/busybox"]


def test_steps_of_a_layer_are_told_in_order(place: Place, image: str) -> None:
    events: list[ProgressEvent] = []
    place.images.pull(image, progress=events.append)
    steps = list(dict.fromkeys(event.action for event in events if event.action))
    last = steps.pop()
    assert last == "Pull complete"
    steps.remove("Extracting")  # it goes on beside the rest
    assert steps == ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete"]


def test_by_digest(place: Place, image: str, server: str) -> None:
    digest = skopeo("inspect", "--format", "{{.Digest}}", f"docker://{image}").strip()
    name = f"{server}/team/busybox@{digest}"
    (pulled,) = place.images.pull(name)
    assert place.images.get(name).id == pulled.record.id
    assert place.images.get(name).tags == ()


def test_every_tag(place: Place, image: str, busybox_archive: Path, server: str) -> None:
    put(busybox_archive, server, "team/busybox:2")
    pulled = place.images.pull(f"{server}/team/busybox", all_tags=True)
    assert {each.reference.tag for each in pulled} == {"1", "2"}
    assert place.images.get(image).tags == (
        f"{server}/team/busybox:1", f"{server}/team/busybox:2"
    )  # fmt: skip


def test_what_is_not_there(place: Place, image: str, server: str) -> None:
    with pytest.raises(NotFound, match=r"manifest for localhost:\d+/team/busybox:9 not found"):
        place.images.pull(f"{server}/team/busybox:9")
    with pytest.raises(NotFound, match="manifest unknown: manifest unknown"):
        place.images.pull(f"{server}/nothing")
    assert place.images.list() == []


def test_nobody_listens(place: Place) -> None:
    with pytest.raises(Unavailable, match="localhost:1: Connection refused"):
        place.images.pull("localhost:1/x")
