"""Which images a prune takes, beside Docker's rules (``test_remove``), and what it says before."""

import os
import time
from collections.abc import Iterable

import pytest

from knarr.errors import InvalidArgument
from knarr.images import interrupted, lastuse, times
from tests.unit.images.helpers import Room, layer, leave_part, load, sha256

DAY = 86400.0


def made(room: Room, name: str, day: int) -> str:
    return load(room, [layer(name)], name, created=f"2024-01-{day:02}T00:00:00Z")


def names(room: Room) -> set[str]:
    return {tag for image in room.images.list() for tag in image.tags}


def unused_since(room: Room, image_id: str, days: float) -> None:
    """Have an image come in, and used last, so many days ago."""
    record = room.index.get(image_id)
    moment = time.time() - days * DAY
    for path in (room.store.path(record.config_digest), f"{room.path}/used/{image_id[7:]}"):
        os.utime(path, (moment, moment))


# --- the newest of each repository -------------------------------------------


def test_the_newest_of_each_repository_stay(room: Room) -> None:
    for day in range(1, 6):
        made(room, f"app:{day}", day)
    made(room, "tool:1", 1)
    load(room, [layer("dangling")])
    room.images.prune(keep_last=2)
    assert names(room) == {"app:4", "app:5", "tool:1"}
    assert len(room.images.list()) == 3


def test_one_that_is_new_in_any_repository_stays(room: Room) -> None:
    old = made(room, "app:1", 1)
    made(room, "app:2", 2)
    room.images.tag(old, "release:1")
    room.images.prune(keep_last=1)
    assert names(room) == {"app:1", "app:2", "release:1"}


def test_images_of_one_date_are_in_the_order_they_came(room: Room) -> None:
    for number, days in (("1", 3), ("2", 1), ("3", 2)):
        unused_since(room, load(room, [layer(number)], f"app:{number}", author=number), days)
    room.images.prune(keep_last=1)
    assert names(room) == {"app:2"}


def test_what_a_container_uses_stays_and_counts(room: Room) -> None:
    room.index.containers[made(room, "app:1", 1)] = ["one"]
    room.index.containers[made(room, "app:3", 3)] = ["two"]
    made(room, "app:2", 2)
    room.images.prune(keep_last=1)
    assert names(room) == {"app:1", "app:3"}


def test_none_kept_is_as_all(room: Room) -> None:
    made(room, "app:1", 1)
    room.images.prune(keep_last=0)
    assert room.blobs() == set()
    with pytest.raises(InvalidArgument):
        room.images.prune(keep_last=-1)


# --- the last use ---------------------------------------------------------------


def test_what_was_used_of_late_stays(room: Room) -> None:
    for name, days in (("old:1", 9.0), ("young:1", 5.0)):
        unused_since(room, load(room, [layer(name)], name), days)
    room.images.prune(unused_for=7 * DAY)
    assert names(room) == {"young:1"}


@pytest.mark.parametrize("use", ["tag", "load", "container"])
def test_what_counts_as_use(room: Room, use: str) -> None:
    image_id = load(room, [layer("a")], "app:1")
    unused_since(room, image_id, 9)
    if use == "tag":
        room.images.tag("app:1", "app:2")
    elif use == "load":
        load(room, [layer("a")], "app:1")
    else:
        lastuse.note(room.path, image_id)
    assert room.images.prune(unused_for=7 * DAY).actions == ()
    assert room.images.get("app:1").id == image_id


def test_an_image_of_before_this_was_noted_has_the_time_it_came(room: Room) -> None:
    image_id = load(room, [layer("a")], "app:1")
    unused_since(room, image_id, 9)
    os.unlink(f"{room.path}/used/{image_id[7:]}")
    assert room.images.prune(unused_for=10 * DAY).actions == ()
    assert room.images.prune(unused_for=8 * DAY).actions != ()
    assert os.listdir(f"{room.path}/used") == []


def test_each_condition_keeps(room: Room) -> None:
    for day in (1, 2, 3):
        unused_since(room, made(room, f"app:{day}", day), 10 - day)
    room.images.prune(
        keep_last=1, unused_for=7.5 * DAY, filters={"until": ["2024-01-01T12:00:00Z"]}
    )
    assert names(room) == {"app:2", "app:3"}
    room.images.prune(keep_last=1, unused_for=7.5 * DAY, filters={"dangling": ["true"]})
    assert names(room) == {"app:2", "app:3"}


def test_ages() -> None:
    assert times.age("7d") == 7 * DAY
    assert times.age("1h30m") == 5400
    for text in ("", "7", "d", "2024-01-01", "-1d", "7d "):
        with pytest.raises(InvalidArgument, match="invalid age"):
            times.age(text)


# --- what would be done -----------------------------------------------------------


def everything(room: Room) -> tuple[object, ...]:
    return room.index.records, room.index.names, room.blobs(), room.driver.list_layers()


def test_a_rehearsal_says_what_is_then_done(room: Room) -> None:
    common = layer("common")
    for day in range(1, 5):
        load(
            room,
            [common, layer(f"{day}" * 1000)],
            f"app:{day}",
            created=f"2024-01-0{day}T00:00:00Z",
        )
        room.images.unpack(f"app:{day}")
    room.images.remove("app:1", no_prune=True)  # its bytes wait for a prune
    leave_part(room.store, sha256(b"x"))
    before = everything(room)
    said = room.images.prune(keep_last=1, dry_run=True)
    assert everything(room) == before
    assert {what for verb, what in said.actions if verb == "Untagged"} == {"app:2", "app:3"}
    assert said.reclaimed > 4
    assert room.images.prune(keep_last=1) == said


def test_a_rehearsal_spares_what_a_pull_wants(room: Room) -> None:
    leave_part(room.store, sha256(b"x"))
    blob = room.store.add(b"verified")
    wanted: Iterable[str] = (blob.digest, sha256(b"x"))
    with interrupted.noted(room.store, sha256(b"m"), wanted, []):
        assert room.images.prune(dry_run=True).reclaimed == 0
        assert room.images.prune().reclaimed == 0
    assert room.images.prune(dry_run=True).reclaimed == len(b"verified") + len(b"some")
    assert room.images.prune().reclaimed == len(b"verified") + len(b"some")
