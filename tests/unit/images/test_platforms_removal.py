"""Images for several platforms go away as one, or one platform at a time."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from knarr.errors import Conflict
from tests.unit.images.helpers import Room, at_once, layer, remove_all, sha256, tar_of
from tests.unit.images.several import load, machine, platforms, saved, several

A, B, C = layer("a"), layer("b"), layer("c")


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "x86_64")


def test_the_last_name_takes_all_platforms(room: Room) -> None:
    load(room, several(arm64=B))
    room.images.tag("app:1", "app:2")
    before = room.blobs()
    arm = room.images.get("app:1", "arm64")
    room.images.unpack(arm)
    assert room.images.remove("app:1") == [("Untagged", "app:1")]
    assert room.blobs() == before
    actions = room.images.remove("app:2")
    assert len([what for action, what in actions if action == "Deleted"]) == len(
        {sha256(A), "B on A", "amd64", "arm64", "s390x"}
    )
    assert room.blobs() == set()
    assert room.index.sets == {}
    assert room.driver.layers == {}


def test_by_id_it_goes_as_a_whole(room: Room) -> None:
    load(room, several(arm64=B))
    room.images.remove(room.images.get("app:1").short_id)
    assert room.blobs() == set()
    assert room.index.sets == {}


def test_platforms_that_another_image_has_too_stay(room: Room) -> None:
    load(room, several("x.io/one:1", arm64=B))
    load(room, several("x.io/two:1", arm64=B, amd64=C))
    room.images.remove("x.io/one:1")
    assert platforms(room, "x.io/two:1") == ["linux/arm64", "linux/amd64", "linux/s390x"]
    assert room.blobs() == room.needed()
    room.images.remove("x.io/two:1")
    assert room.blobs() == set()


def test_a_name_that_moves_leaves_a_whole_image_behind(room: Room) -> None:
    load(room, several(arm64=B))
    first = room.images.get("app:1").id
    result = load(room, several(amd64=C, arm64=B))
    assert result.replaced == (("app:1", first),)
    assert {image.tags for image in room.images.list()} == {("app:1",), ()}
    room.images.prune()
    assert platforms(room, "app:1") == ["linux/arm64", "linux/amd64", "linux/s390x"]
    assert room.blobs() == room.needed()
    assert len(room.index.sets) == 1
    # The same again with an image for this machine that stays the same and keeps another name.
    room.images.tag("app:1", "kept:1")
    load(room, several("docker.io/library/kept:1", amd64=C, s390x=B))
    room.images.remove("app:1")
    assert platforms(room, "kept:1") == ["linux/arm64", "linux/amd64", "linux/s390x"]
    assert room.blobs() == room.needed()
    assert len(room.index.sets) == 1
    assert len(room.images.list()) == 1


def test_an_index_left_without_a_name_is_pruned(room: Room) -> None:
    load(room, several("x.io/a:1", arm64=B))
    room.images.tag("x.io/a:1", "x.io/b:1")
    load(room, several("x.io/a:1", s390x=B))
    load(room, several("x.io/b:1", s390x=B))
    assert len(room.index.sets) == 2
    assert room.images.prune().actions
    assert len(room.index.sets) == 1
    assert room.blobs() == room.needed()
    assert platforms(room, "x.io/b:1") == ["linux/arm64", "linux/amd64", "linux/s390x"]


def test_prune_keeps_what_a_container_of_another_platform_uses(room: Room) -> None:
    load(room, several(arm64=B))
    arm = room.images.get("app:1", "arm64").id
    room.index.containers[arm] = ["c" * 64]
    assert room.images.prune(all=True).actions == ()
    with pytest.raises(Conflict, match="must force"):
        room.images.remove("app:1")
    assert room.images.remove("app:1", force=True) == [("Untagged", "app:1")]
    assert room.images.prune(all=True).actions == ()
    room.index.containers.clear()
    assert room.images.prune().actions
    assert room.blobs() == set()
    assert room.index.sets == {}


def test_one_platform_can_go(room: Room) -> None:
    layout = several(arm64=B)
    load(room, layout)
    arm = room.images.get("app:1", "arm64").id
    room.index.containers[arm] = ["c" * 64]
    with pytest.raises(Conflict, match="cannot be forced"):
        room.images.remove("app:1", platform="linux/arm64")
    room.index.containers.clear()
    assert ("Deleted", arm) in room.images.remove("app:1", platform="linux/arm64")
    assert platforms(room, "app:1") == ["linux/amd64", "linux/s390x"]
    assert room.blobs() == room.needed()
    room.images.remove("app:1", platform="linux/amd64")  # that of the name
    assert str(room.images.get("app:1").platform) == "linux/s390x"
    entry = json.loads(saved(room, "app:1")["index.json"])["manifests"][0]
    assert entry["digest"] == layout.entries[0]["digest"]
    room.images.remove("app:1", platform="linux/s390x")
    assert room.images.list() == []
    assert room.blobs() == set()


def test_a_platform_by_its_own_id(room: Room) -> None:
    load(room, several(arm64=B))
    arm = room.images.get("app:1", "arm64").id
    assert room.images.remove(arm)[0] == ("Deleted", arm)
    assert platforms(room, "app:1") == ["linux/amd64", "linux/s390x"]
    assert room.blobs() == room.needed()


def test_loads_and_removals_at_once_leave_every_image_whole(room: Room) -> None:
    archives = [tar_of(several(arm64=each).done()) for each in (B, C)]
    acts: list[Callable[[], Any]] = [
        lambda data=data: room.images.load(io.BytesIO(data))  # type: ignore[misc]
        for data in archives
    ]
    acts += [lambda: remove_all(room), room.images.prune]
    assert at_once(acts, times=12) == []
    assert room.needed() <= room.blobs()
    room.images.prune(all=True)
    assert room.blobs() == set()
    assert room.index.sets == {}


def test_an_index_whose_images_are_gone_is_pruned(room: Room) -> None:
    load(room, several(arm64=B))
    for image_id in list(room.index.records):
        room.index.remove(image_id)  # as a removal that was killed half way
    assert len(room.index.sets) == 1
    room.images.prune()
    assert room.index.sets == {}
    assert room.blobs() == set()
