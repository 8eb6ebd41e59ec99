import io
import threading
from typing import Any

import pytest

from knarr.content import digest as digests
from knarr.errors import Conflict, InvalidArgument
from knarr.images import garbage
from knarr.images.service import Images
from tests.unit.images.helpers import (
    Room,
    at_once,
    docker_archive,
    layer,
    load,
    remove_all,
    sha256,
    tar_of,
)

A, B, C = layer("a"), layer("b"), layer("c")


def test_removing_the_last_name_deletes_the_image(room: Room) -> None:
    image_id = load(room, [A, B], "app")
    room.images.unpack("app")
    chain = digests.chain_ids([sha256(A), sha256(B)])
    assert room.images.remove("app") == [
        ("Untagged", "app:latest"),
        ("Deleted", image_id),
        ("Deleted", chain[1]),
        ("Deleted", chain[0]),
    ]
    assert room.blobs() == set()
    assert room.driver.layers == {}


def test_removing_one_of_several_names_only_untags(room: Room) -> None:
    load(room, [A], "app:1", "app:2")
    assert room.images.remove("app:1") == [("Untagged", "app:1")]
    assert room.images.get("app:2").tags == ("app:2",)


def test_removing_by_id_with_several_names_needs_force(room: Room) -> None:
    image_id = load(room, [A], "app:1", "app:2")
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple"):
        room.images.remove(image_id[7:19])
    actions = room.images.remove(image_id[7:19], force=True)
    assert actions[:3] == [("Untagged", "app:1"), ("Untagged", "app:2"), ("Deleted", image_id)]


def test_a_dangling_image_goes_by_id(room: Room) -> None:
    image_id = load(room, [A])
    assert room.images.remove(image_id)[0] == ("Deleted", image_id)


def test_shared_layers_stay(room: Room) -> None:
    load(room, [A], "base")
    load(room, [A, B], "app")
    room.images.unpack("app")
    actions = room.images.remove("app")
    chain = digests.chain_ids([sha256(A), sha256(B)])
    assert ("Deleted", chain[1]) in actions
    assert ("Deleted", chain[0]) not in actions
    assert set(room.driver.layers) == {chain[0]}
    assert room.blobs() == set(room.images.get("base").record.blobs)


def test_a_stopped_container_wants_force(room: Room) -> None:
    image_id = load(room, [A], "app")
    room.images.unpack("app")
    room.index.containers[image_id] = ["c" * 64]
    room.driver.held.add(sha256(A))
    with pytest.raises(Conflict, match=r"must force.*container cccccccccccc is using"):
        room.images.remove("app")
    with pytest.raises(Conflict, match=r"must be forced.*stopped container cccccccccccc"):
        room.images.remove(image_id)
    assert room.images.remove("app", force=True) == [("Untagged", "app:latest")]
    assert room.images.prune().actions == ()
    assert set(room.driver.layers) == {sha256(A)}  # the container can still be started
    room.images.tag(image_id, "again")
    assert room.images.remove(image_id, force=True) == [("Untagged", "again:latest")]
    room.index.containers.clear()
    room.driver.held.clear()
    assert room.images.prune().actions[0] == ("Deleted", image_id)
    assert room.driver.layers == {}
    assert room.blobs() == set()


def test_a_container_made_meanwhile_keeps_its_image(room: Room, monkeypatch: Any) -> None:
    image_id = load(room, [A], "app")

    def refuse(_: str) -> None:
        raise Conflict("a container uses it")

    monkeypatch.setattr(room.index, "remove", refuse)
    with pytest.raises(Conflict):
        room.images.remove("app")
    assert room.images.get("app").id == image_id
    assert room.images.prune(all=True).actions == ()
    assert room.store.has(sha256(A))


def test_a_running_container_keeps_its_image(room: Room) -> None:
    image_id = load(room, [A], "app")
    room.index.containers[image_id] = ["c" * 64]
    room.running.add("c" * 64)
    with pytest.raises(Conflict, match=r"cannot be forced.*running container"):
        room.images.remove(image_id, force=True)
    assert room.images.remove("app", force=True) == [("Untagged", "app:latest")]
    assert room.images.get(image_id).tags == ()


def test_without_word_from_the_engine_every_container_counts_as_running(room: Room) -> None:
    image_id = load(room, [A], "app")
    room.index.containers[image_id] = ["c" * 64]
    images = Images(room.store, room.driver, room.index)
    with pytest.raises(Conflict, match="running container"):
        images.remove(image_id, force=True)


def test_no_prune_keeps_the_bytes_until_the_next_prune(room: Room) -> None:
    load(room, [A], "app")
    before = room.blobs()
    room.images.remove("app", no_prune=True)
    assert room.blobs() == before
    assert room.images.prune().reclaimed > len(A)
    assert room.blobs() == set()


def test_prune_takes_dangling_images_or_all_unused(room: Room) -> None:
    dangling, used, tagged = load(room, [A]), load(room, [B], "used"), load(room, [C], "tagged")
    room.index.containers[used] = ["c" * 64]
    result = room.images.prune()
    assert ("Deleted", dangling) in result.actions
    assert result.reclaimed > len(A)
    assert {image.id for image in room.images.list()} == {used, tagged}
    result = room.images.prune(all=True)
    assert result.actions[:2] == (("Untagged", "tagged:latest"), ("Deleted", tagged))
    assert [image.id for image in room.images.list()] == [used]


def test_a_prune_that_was_interrupted_is_finished_by_the_next(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_context: object) -> int:
        raise KeyboardInterrupt

    load(room, [A, B])
    load(room, [A, C], "app")
    with monkeypatch.context() as patch:
        patch.setattr(garbage, "sweep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            room.images.prune(all=True)
    assert room.images.list() == []
    assert room.images.prune().reclaimed > len(A) + len(B) + len(C)
    assert room.blobs() == set()


def test_prune_filters(room: Room) -> None:
    load(room, [A], created="2020-01-01T00:00:00Z", config={"Labels": {"keep": "1"}})
    load(room, [B], created="2024-01-01T00:00:00Z")
    load(room, [C], "tagged", created="2020-01-01T00:00:00Z")
    assert room.images.prune(filters={"until": ["2019-01-01T00:00:00Z"]}).actions == ()
    assert room.images.prune(filters={"label": ["none"]}).actions == ()
    room.images.prune(filters={"label!": ["keep"]})
    assert len(room.images.list()) == 2
    room.images.prune(filters={"dangling": ["false"], "until": ["2021-01-01T00:00:00Z"]})
    assert room.images.list() == []
    with pytest.raises(InvalidArgument, match="before"):
        room.images.prune(filters={"before": ["x"]})


def test_nothing_is_deleted_while_something_is_being_stored(room: Room) -> None:
    load(room, [A], "app")
    before = room.blobs()
    with room.images._context.lock.shared():
        room.images.remove("app")
        assert room.blobs() == before
        assert room.images.sweep() == 0
    room.images.sweep()
    assert room.blobs() == set()


def test_load_waits_for_a_deletion_that_is_under_way(room: Room) -> None:
    done = threading.Event()

    def run() -> None:
        load(room, [A], "app")
        done.set()

    thread = threading.Thread(target=run)
    with room.images._context.lock.exclusive() as free:
        assert free
        thread.start()
        assert not done.wait(0.2)
    thread.join(10)
    assert done.is_set()


def test_loads_and_removals_at_once_leave_every_image_whole(room: Room) -> None:
    archives = [
        io.BytesIO(tar_of(docker_archive([A, each], ["app"]))).getvalue() for each in (B, C)
    ]
    acts: list[Any] = [lambda data=data: room.images.load(io.BytesIO(data)) for data in archives]
    acts += [lambda: remove_all(room), lambda: remove_all(room), room.images.prune]
    assert at_once(acts, times=15) == []
    for image in room.images.list():
        assert set(image.record.blobs) <= room.blobs()
    room.images.prune(all=True)
    assert room.blobs() == set()
