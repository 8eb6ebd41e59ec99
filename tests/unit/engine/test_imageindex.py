"""Image records and names in the database."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from knarr import errors
from knarr.engine import schema
from knarr.engine.ids import RangePlan
from knarr.engine.imageindex import StoredImageIndex
from knarr.engine.model import ContainerConfig
from knarr.engine.records import ContainerTable
from knarr.engine.store import Store
from knarr.images.descriptor import Descriptor
from knarr.images.index import ImageRecord, IndexRecord, Member
from knarr.images.platform import Platform


def record(letter: str) -> ImageRecord:
    digest = "sha256:" + letter * 64
    return ImageRecord(
        id=digest,
        manifest_digest=digest,
        manifest_media_type="application/vnd.oci.image.manifest.v1+json",
        config_digest=digest,
        chain_id=digest,
        diff_ids=(digest,),
        layers=(Descriptor("application/vnd.oci.image.layer.v1.tar", digest, 5),),
        layer_sizes=(5,),
        size=5,
        created="2026-01-01T00:00:00Z",
        platform=Platform("linux", "amd64"),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def index(store: Store) -> StoredImageIndex:
    return StoredImageIndex(store)


def test_records_come_back_as_they_went_in(index: StoredImageIndex) -> None:
    index.add(record("a"))
    assert index.get(record("a").id) == record("a")
    assert index.list() == [record("a")]


def test_adding_again_replaces_and_keeps_names(index: StoredImageIndex) -> None:
    index.add(record("a"))
    index.tag("docker.io/library/x:latest", record("a").id)
    index.add(replace(record("a"), size=6))
    assert index.get(record("a").id).size == 6
    assert index.resolve("docker.io/library/x:latest") == record("a").id


def test_find_by_start_of_the_id(index: StoredImageIndex) -> None:
    for letter in "ab":
        index.add(record(letter))
    assert index.find("aa") == [record("a")]
    assert index.find("sha256:bb") == [record("b")]
    assert index.find("%") == []


def test_names_move_and_go(index: StoredImageIndex) -> None:
    for letter in "ab":
        index.add(record(letter))
    index.tag("x", record("a").id)
    index.tag("x", record("b").id)
    index.tag("w", record("b").id)
    assert index.tags(record("b").id) == ["w", "x"]
    assert index.all_tags() == {"w": record("b").id, "x": record("b").id}
    assert index.untag("x") == record("b").id
    assert index.resolve("x") is None
    with pytest.raises(errors.NotFound):
        index.untag("x")


def test_what_is_missing_is_not_found(index: StoredImageIndex) -> None:
    for call in (index.get, index.remove, lambda name: index.tag("x", name)):
        with pytest.raises(errors.NotFound):
            call("sha256:absent")


def test_an_image_of_a_container_cannot_be_removed(index: StoredImageIndex, store: Store) -> None:
    index.add(record("a"))
    table = ContainerTable(store, RangePlan("/x", ()))
    row = table.insert(ContainerConfig("x"), record("a").id, with_range=True)
    assert index.in_use(record("a").id) == [row.id]
    with pytest.raises(errors.Conflict):
        index.remove(record("a").id)
    table.delete(row.id, durable=False)
    index.remove(record("a").id)
    assert index.list() == []


def test_removing_takes_the_names_along(index: StoredImageIndex) -> None:
    index.add(record("a"))
    index.tag("x", record("a").id)
    index.remove(record("a").id)
    assert index.all_tags() == {}


def an_index(*letters: str, extras: tuple[str, ...] = ()) -> IndexRecord:
    members = []
    for letter in letters:
        digest = record(letter).id
        platform = Platform("linux", "amd64", letter)
        manifest = Descriptor("application/vnd.oci.image.manifest.v1+json", digest, 5,
                              platform=platform)  # fmt: skip
        members.append(Member(ord(letter), digest, manifest, (digest, digest)))
    kind = "application/vnd.oci.image.index.v1+json"
    return IndexRecord("sha256:" + "f" * 64, kind, 9, tuple(members), extras)


def test_an_index_gathers_what_comes_of_it(index: StoredImageIndex) -> None:
    whole = an_index("a", "b", extras=("x", "y"))
    index.add_index(an_index("b", extras=("x",)))
    index.add_index(an_index("a", extras=("y",)))
    assert index.get_index(whole.digest) == whole
    assert index.indexes() == [whole]
    index.drop_member(whole.digest, record("a").id)
    index.drop_member("sha256:absent", record("a").id)
    assert index.indexes() == [an_index("b", extras=("x", "y"))]
    assert index.get_index("sha256:absent") is None


def test_names_stand_for_an_index_or_not(index: StoredImageIndex) -> None:
    index.add(record("a"))
    with pytest.raises(errors.NotFound):
        index.tag("x", record("a").id, an_index("a").digest)
    index.add_index(an_index("a"))
    for name in "xyz":
        index.tag(name, record("a").id, an_index("a").digest)
    index.tag("y", record("a").id)
    index.untag("z")
    assert index.index_names() == {"x": an_index("a").digest}
    index.remove_index(an_index("a").digest)
    assert index.index_names() == {}
    assert index.resolve("x") == record("a").id


def test_an_older_file_gains_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        patch.setattr(schema, "VERSION", 2)
        old = Store(str(tmp_path))
        with old.write() as db:
            text = json.dumps(record("a").to_dict() | {"index_digest": "sha256:" + "f" * 64})
            db.execute("INSERT INTO images VALUES (?, ?)", (record("a").id, text))
            db.execute("INSERT INTO tags VALUES ('x', ?)", (record("a").id,))
        old.close()
    index = StoredImageIndex(Store(str(tmp_path)))
    assert index.list() == [record("a")]
    assert index.all_tags() == {"x": record("a").id}
    assert index.index_names() == {}
