"""Damage is found, named after the images that have it, and mended from a registry."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knarr.errors import NotFound
from knarr.images.verifying import UNPACKED, Verified
from tests.support import registries
from tests.unit.images.helpers import Layout, Room, layer, load, tar_of
from tests.unit.images.several import several

A, B, C = layer("a"), layer("b"), layer("c")


def spoil(room: Room, digest: str) -> None:
    """Turn a bit of a stored blob."""
    path = room.store.path(digest)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))


def found(result: Verified) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {each.digest: (each.kind, each.images) for each in result.damages}


def test_all_is_well(room: Room) -> None:
    load(room, [A, B], "app:1")
    room.images.unpack("app:1")
    result = room.images.verify()
    assert (result.damages, result.is_well) == ((), True)
    assert result.checked == len(room.blobs()) + 2
    assert result.size == sum(room.store.stat(digest) for digest in room.blobs())
    assert room.images.verify(["app:1"]) == result


def test_each_kind_is_named_with_its_images(room: Room) -> None:
    load(room, [A, B], "app:1")
    load(room, [A, C], "web:2")
    app, web = room.images.get("app:1").record, room.images.get("web:2").record
    spoil(room, app.layers[0].digest)
    spoil(room, app.manifest_digest)
    room.store.delete(app.layers[1].digest)
    spoil(room, web.config_digest)
    result = room.images.verify()
    assert not result.is_well
    assert found(result) == {
        app.layers[0].digest: ("layer", ("app:1", "web:2")),
        app.manifest_digest: ("manifest", ("app:1",)),
        app.layers[1].digest: ("layer", ("app:1",)),
        web.config_digest: ("config", ("web:2",)),
    }
    reasons = {each.digest: each.reason for each in result.damages}
    assert reasons[app.layers[1].digest] == "missing"
    assert reasons[app.layers[0].digest].startswith("its bytes have digest sha256:")
    only = room.images.verify(["web:2"])
    assert set(found(only)) == {app.layers[0].digest, web.config_digest}
    with pytest.raises(NotFound):
        room.images.verify(["none"])


def test_what_containers_see_is_checked_too(room: Room) -> None:
    load(room, [A, B], "app:1")
    room.images.unpack("app:1")
    chain_id = room.images.get("app:1").record.chain_id
    room.driver.damaged.add(chain_id)
    result = room.images.verify()
    assert found(result) == {chain_id: (UNPACKED, ("app:1",))}
    assert "'knarr image verify --repair' makes it anew" in result.damages[0].trouble


def test_an_index_with_all_its_platforms(room: Room) -> None:
    room.images.load(io.BytesIO(tar_of(several().done())))
    whole = room.index.indexes()[0]
    result = room.images.verify()
    assert result.checked == len(room.blobs()) + len(room.driver.layers)
    spoil(room, whole.digest)
    spoil(room, whole.members[0].blobs[0])
    spoil(room, whole.extras[-1])
    kinds = sorted(kind for kind, _ in found(room.images.verify(["app:1"])).values())
    assert kinds == ["attestation", "config", "index"]


def test_nothing_to_repair_from(room: Room) -> None:
    load(room, [A], "app:1")
    digest = room.images.get("app:1").record.layers[0].digest
    spoil(room, digest)
    (damage,) = room.images.verify(repair=True).damages
    assert not damage.repaired
    assert damage.trouble == "no registry is known to have it: load the image's archive again"


# --- repairs ---------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path, another: Callable[[], Room]) -> Iterator[str]:
    """A registry that has an image under team/app:1."""
    with registries.serving(str(tmp_path / "registry")) as serving:
        name = f"localhost:{serving.port}"
        layout = Layout()
        layout.image([A, B], f"{name}/team/app:1")
        room = another()
        room.images.load(io.BytesIO(tar_of(layout.done())))
        room.images.push(f"{name}/team/app:1")
        yield name


def test_everything_comes_again_from_where_it_came(room: Room, host: str) -> None:
    (pulled,) = room.images.pull(f"{host}/team/app:1")
    for digest in pulled.record.blobs[:-1]:
        spoil(room, digest)
    room.store.delete(pulled.record.blobs[-1])
    result = room.images.verify(repair=True)
    assert len(result.damages) == len(pulled.record.blobs)
    assert [each.trouble for each in result.damages] == [""] * len(result.damages)
    assert result.is_well
    assert room.images.verify().damages == ()
    assert room.store.cleanup() == 0


def test_a_registry_without_it_leaves_what_there_is(room: Room, host: str) -> None:
    load(room, [C], f"{host}/team/other:1")
    digest = room.images.get(f"{host}/team/other:1").record.layers[0].digest
    spoil(room, digest)
    (damage,) = room.images.verify(repair=True).damages
    assert not damage.repaired
    assert damage.trouble
    assert room.store.has(digest)
    assert room.store.cleanup() == 0
