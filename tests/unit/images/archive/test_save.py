import errno
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr.content.compression import open_decompressed
from knarr.errors import Conflict, Forbidden, InvalidArgument, NotFound, ResourceExhausted
from tests.unit.images.helpers import Layout, Room, docker_archive, layer, sha256, tar_of
from tests.unit.images.several import several

A, B = layer("a"), layer("b")


@pytest.fixture
def filled(room: Room) -> Room:
    layout = Layout()
    layout.image([A, B], "docker.io/library/app:1")
    room.images.load(io.BytesIO(tar_of(layout.done())))
    room.images.load(io.BytesIO(tar_of(docker_archive([A], ["x.io/other:2"]))))
    room.images.tag("app:1", "app:2")
    return room


def saved(room: Room, *names: str, **options: Any) -> bytes:
    out = io.BytesIO()
    room.images.save(names, out, **options)
    return out.getvalue()


def files_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def test_the_archive_is_both_kinds_at_once(filled: Room) -> None:
    files = files_of(saved(filled, "app:1"))
    record = filled.images.get("app:1").record
    entry = json.loads(files["manifest.json"])[0]
    assert entry["RepoTags"] == ["app:1"]
    assert sha256(files[entry["Config"]]) == record.id
    assert [sha256(files[path]) for path in entry["Layers"]] == [e.digest for e in record.layers]
    index = json.loads(files["index.json"])
    assert index["manifests"][0]["digest"] == record.manifest_digest
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci"])
def test_what_is_saved_is_loaded_as_it_was(
    filled: Room, another: Callable[[], Room], archive_format: str
) -> None:
    data = saved(filled, "app", "x.io/other:2", format=archive_format)
    room = another()
    room.images.load(io.BytesIO(data))
    assert {i.record for i in room.images.list()} == {i.record for i in filled.images.list()}
    assert room.index.names == filled.index.names
    assert saved(room, "app", "x.io/other:2", format=archive_format) == data


def test_the_same_images_are_the_same_bytes(filled: Room, another: Callable[[], Room]) -> None:
    for compress in ({}, {"compress": "gzip"}, {"compress": "zstd"}):
        assert saved(filled, "app:1", **compress) == saved(filled, "app:1", **compress)
    with tarfile.open(fileobj=io.BytesIO(saved(filled, "app:1"))) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_whole_archives_are_compressed(
    filled: Room, another: Callable[[], Room], kind: str
) -> None:
    data = saved(filled, "app:1", compress=kind)
    assert open_decompressed(io.BytesIO(data)).read() == saved(filled, "app:1")
    room = another()
    room.images.load(io.BytesIO(data))
    assert room.images.get("app:1").id == filled.images.get("app:1").id


def test_a_layout_directory(filled: Room, another: Callable[[], Room], tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    filled.images.save(["app:1"], folder, format="oci-dir")
    assert sorted(os.listdir(folder)) == ["blobs", "index.json", "oci-layout"]
    room = another()
    room.images.load(folder)
    assert room.images.get("app:1").record == filled.images.get("app:1").record
    with pytest.raises(Conflict, match="not empty"):
        filled.images.save(["app:1"], folder, format="oci-dir")


def test_an_id_saves_no_name_and_a_bare_name_all_tags(filled: Room) -> None:
    image = filled.images.get("app:1")
    by_id = json.loads(files_of(saved(filled, image.short_id))["manifest.json"])
    assert by_id[0]["RepoTags"] is None
    by_name = json.loads(files_of(saved(filled, "app"))["manifest.json"])
    assert by_name[0]["RepoTags"] == ["app:1", "app:2"]
    together = json.loads(files_of(saved(filled, "app:1", image.id, "app:2"))["manifest.json"])
    assert together == by_name


def test_shared_layers_are_saved_once(filled: Room) -> None:
    files = docker_archive([A, layer("z")], ["both"])
    filled.images.load(io.BytesIO(tar_of(files)))
    names = [name for name in files_of(saved(filled, "both", "x.io/other:2")) if "blobs" in name]
    assert len(names) == len(set(names)) == 2 + 2 + 2


def test_a_path_appears_whole_or_not_at_all(filled: Room, tmp_path: Path) -> None:
    target = tmp_path / "out.tar"
    filled.images.save(["app:1"], target)
    assert target.read_bytes() == saved(filled, "app:1")
    digest = filled.images.get("app:1").record.layers[1].digest
    filled.store.delete(digest)
    before = target.read_bytes()
    with pytest.raises(NotFound, match=digest):
        filled.images.save(["app:1"], target)
    assert target.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["content", "out.tar"]


def test_refused(filled: Room, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="unknown format"):
        saved(filled, "app:1", format="zip")
    with pytest.raises(InvalidArgument, match="unknown compression"):
        saved(filled, "app:1", compress="lzw")
    with pytest.raises(InvalidArgument, match="at least one"):
        saved(filled)
    with pytest.raises(NotFound, match="No such image: nothing:latest"):
        saved(filled, "nothing")
    with pytest.raises(InvalidArgument, match="directory"):
        saved(filled, "app:1", format="oci-dir")
    with pytest.raises((NotFound, Forbidden), match="save: "):
        filled.images.save(["app:1"], tmp_path / "no" / "such" / "folder.tar")


def test_gzip_has_neither_name_nor_time(filled: Room) -> None:
    data = saved(filled, "app:1", compress="gzip")
    assert data[3:8] == bytes(5)
    assert gzip.decompress(data) == saved(filled, "app:1")


@pytest.mark.parametrize("existing", [True, False])
def test_a_layout_directory_is_whole_or_not_there(
    filled: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    folder = tmp_path / "layout"
    if existing:
        folder.mkdir()

    def full(*_: Any) -> Any:
        yield b"some bytes"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("knarr.images.archive.save._pieces", full)
    with pytest.raises(ResourceExhausted, match="No space left"):
        filled.images.save(["app:1"], folder, format="oci-dir")
    assert folder.exists() == existing
    assert not existing or os.listdir(folder) == []


# --- the same bytes anywhere ---------------------------------------------------


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci"])
def test_two_stores_save_the_same_images_as_the_same_bytes(
    another: Callable[[], Room], archive_format: str
) -> None:
    """Whatever else is there, and in whatever order images came, were named and are asked for."""
    one, other = another(), another()
    layout = Layout()
    layout.image([A, B], "docker.io/library/app:1")
    archives = [
        tar_of(layout.done()),
        tar_of(docker_archive([A], ["x.io/other:2"])),
        tar_of(docker_archive([layer("c")], ["else:1"])),
    ]
    for data in archives[:2]:
        one.images.load(io.BytesIO(data))
    for data in reversed(archives):
        other.images.load(io.BytesIO(data))
    for room, names in ((one, ("app:a", "app:b")), (other, ("app:b", "app:a"))):
        for name in names:
            room.images.tag("app:1", name)
        room.images.unpack("app:1")
    first = saved(one, "app", "x.io/other:2", format=archive_format)
    assert saved(other, "x.io/other:2", "app", format=archive_format) == first
    assert saved(other, "app:b", "app:1", "x.io/other:2", "app:a", format=archive_format) == first
    for compress in ("gzip", "zstd"):
        packed = [saved(room, "app:1", compress=compress) for room in (one, other)]
        assert packed[0] == packed[1]


# --- only what the other side lacks ----------------------------------------------

C = layer("c" * 100)


def pair(room: Room) -> Room:
    """Load an image of two layers and one of a layer more."""
    layout = Layout()
    layout.image([A, B], "docker.io/library/app:1")
    layout.image([A, B, C], "docker.io/library/app:2")
    room.images.load(io.BytesIO(tar_of(layout.done())))
    return room


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci", "oci-dir"])
def test_layers_of_a_base_are_left_out_and_found_where_it_is(
    room: Room, another: Callable[[], Room], archive_format: str, tmp_path: Path
) -> None:
    pair(room)
    target = tmp_path / "delta"
    told = room.images.save(["app:2"], str(target), format=archive_format, since=["app:1"])
    left_out = room.images.get("app:1").record.layers
    assert told == (2, sum(each.size for each in left_out))
    there = another()
    there.images.load(io.BytesIO(saved(room, "app:1")))
    (loaded,) = there.images.load(str(target)).images
    assert loaded.id == room.images.get("app:2").id
    assert saved(there, "app:2") == saved(room, "app:2")
    for digest in there.needed():
        there.store.verify(digest)


def test_what_is_missing_is_named_where_the_base_is_not(
    room: Room, another: Callable[[], Room]
) -> None:
    delta = saved(pair(room), "app:2", since=["app:1"])
    base = room.images.get("app:1").record
    there = another()
    with pytest.raises(NotFound) as refused:
        there.images.load(io.BytesIO(delta))
    text = str(refused.value)
    assert f"saved with --since app:1@{base.id} and lacks layer {base.layers[0].digest}" in text
    assert text.endswith("pull or load that image first")
    assert (there.blobs(), there.index.records) == (set(), {})


def test_several_bases_and_none_in_common(room: Room) -> None:
    pair(room)
    room.images.load(io.BytesIO(tar_of(docker_archive([layer("d")], ["else:1"]))))
    out = io.BytesIO()
    assert room.images.save(["app:2", "else:1"], out, since=["app:1", "else:1"]).left_out == 3
    assert room.images.save(["app:2"], io.BytesIO(), since=["else:1"]) == (0, 0)
    with pytest.raises(NotFound):
        room.images.save(["app:2"], io.BytesIO(), since=["none:1"])


def test_all_platforms_of_a_base_are_there(room: Room, another: Callable[[], Room]) -> None:
    first, second = several(), several("docker.io/library/app:2", arm64=layer("new"))
    for layout in (first, second):
        room.images.load(io.BytesIO(tar_of(layout.done())))
    delta = saved(room, "app:2", since=["app:1"])
    assert len(delta) < len(saved(room, "app:2"))
    there = another()
    with pytest.raises(NotFound, match="--since app:1@sha256"):
        there.images.load(io.BytesIO(delta))
    there.images.load(io.BytesIO(tar_of(first.done())))
    there.images.load(io.BytesIO(delta))
    assert saved(there, "app:2") == saved(room, "app:2")
