"""What images take on disk: shared bytes, unique bytes, and what would come free."""

from __future__ import annotations

from knarr.images import interrupted
from knarr.images.usage import ImagesUsage
from tests.unit.images.helpers import Room, layer, leave_part, load, sha256

A, B, C = layer("a"), layer("b" * 3000), layer("c" * 9000)


def usage(room: Room) -> ImagesUsage:
    return room.images.usage([image.id for image in room.images.list()])


def on_disk(room: Room) -> int:
    blobs = sum(room.store.stat(digest) for digest in room.blobs())
    return blobs + sum(map(room.driver.layer_size, room.driver.list_layers()))


def test_nothing_takes_nothing(room: Room) -> None:
    assert usage(room) == ImagesUsage((), 0, 0)


def test_an_image_alone_shares_nothing(room: Room) -> None:
    load(room, [A, B], "app")
    (only,) = usage(room).images
    assert (only.shared, only.containers) == (0, 0)
    assert only.size == only.unique == on_disk(room) == usage(room).total


def test_a_layer_of_two_images_is_shared_once(room: Room) -> None:
    base = load(room, [A, B], "base")
    app = load(room, [A, B, C], "app")
    room.images.unpack("app")
    found = usage(room)
    by_id = {each.image_id: each for each in found.images}
    stored = len(A) + len(B)
    unpacked = sum(map(room.driver.layer_size, room.driver.list_layers()[:2]))
    assert by_id[base].shared == by_id[app].shared
    assert by_id[base].shared >= stored + unpacked
    assert by_id[app].unique >= len(C)
    assert found.total == on_disk(room)
    assert found.total == by_id[base].unique + by_id[app].unique + by_id[app].shared
    assert found.reclaimable == found.total


def test_what_a_container_needs_is_not_reclaimable(room: Room) -> None:
    base = load(room, [A, B], "base")
    load(room, [A, B, C], "app")
    room.index.containers[base] = ["one", "two"]
    found = usage(room)
    by_id = {each.image_id: each for each in found.images}
    assert by_id[base].containers == 2
    assert found.reclaimable == found.total - by_id[base].size
    assert room.images.prune(all=True).reclaimed == found.reclaimable


def test_what_nothing_refers_to_is_reclaimable(room: Room) -> None:
    load(room, [A, B], "app")
    room.images.remove("app", no_prune=True)
    found = usage(room)
    assert found.images == ()
    assert found.reclaimable == found.total == on_disk(room) > 0
    assert room.images.prune().reclaimed == found.total


def test_an_image_that_is_gone_meanwhile_is_left_out(room: Room) -> None:
    image_id = load(room, [A], "app")
    room.images.remove("app")
    assert room.images.usage([image_id]).images == ()


def test_what_has_come_of_a_layer_counts(room: Room) -> None:
    base = load(room, [A], "base")
    room.index.containers[base] = ["one"]
    before = usage(room)
    leave_part(room.store, sha256(b"x"))
    found = usage(room)
    assert (before.partial, found.partial) == (0, 4)
    assert found.total == before.total + 4
    assert found.reclaimable == before.reclaimable + 4
    with interrupted.noted(room.store, sha256(b"image"), [sha256(b"x")], []):
        assert usage(room).reclaimable == before.reclaimable
    assert room.images.prune(all=True).reclaimed == found.reclaimable
