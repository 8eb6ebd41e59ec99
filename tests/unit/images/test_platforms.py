"""Images for several platforms: what comes in goes out again, and goes away as one."""

import io
import json
from collections.abc import Callable

import pytest

from knarr.errors import Conflict, InvalidArchive, NotFound
from tests.unit.images.helpers import Layout, Room, config_of, layer, sha256, tar_of
from tests.unit.images.several import blobs_of, image, load, machine, platforms, saved, several

A, B, C = layer("a"), layer("b"), layer("c")


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "x86_64")


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci"])
def test_what_comes_in_goes_out_byte_for_byte(room: Room, archive_format: str) -> None:
    layout = several(arm64=B)
    load(room, layout)
    files = saved(room, "app:1", format=archive_format)
    assert blobs_of(files) == blobs_of(layout.done())  # type: ignore[arg-type]
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["digest"] == layout.entries[0]["digest"]
    assert entry["mediaType"] == "application/vnd.oci.image.index.v1+json"
    if archive_format == "docker-archive":
        old = json.loads(files["manifest.json"])
        assert [each["RepoTags"] for each in old] == [["app:1"]]
        config = json.loads(files[old[0]["Config"]])
        assert config["architecture"] == "amd64"


def test_saved_and_loaded_elsewhere_it_is_the_same(
    room: Room, another: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(room, several(arm64=B))
    room.images.tag("app:1", "x.io/app:2")
    out, again = io.BytesIO(), io.BytesIO()
    room.images.save(["app:1", "x.io/app:2"], out)
    machine(monkeypatch, "aarch64")
    there = another()
    there.images.load(io.BytesIO(out.getvalue()))
    assert str(there.images.get("app:1").platform) == "linux/arm64"
    assert there.index.sets == room.index.sets
    machine(monkeypatch, "x86_64")
    assert [each.tags for each in there.images.list()] == [("app:1", "x.io/app:2")]
    there.images.save(["app:1", "x.io/app:2"], again, format="oci")
    room.images.save(["app:1", "x.io/app:2"], out := io.BytesIO(), format="oci")
    assert out.getvalue() == again.getvalue()


def test_one_platform_is_saved_by_its_own_manifest(room: Room, another: Callable[[], Room]) -> None:
    layout = several(arm64=B)
    load(room, layout)
    files = saved(room, "app:1", platform="linux/arm64")
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["platform"]["architecture"] == "arm64"
    assert len(blobs_of(files)) == 4  # manifest, config and two layers
    there = another()
    there.images.load(io.BytesIO(tar_of(dict(files))))
    assert there.images.get("app:1").record == room.images.get("app:1", "linux/arm64").record
    assert there.index.sets == {}
    with pytest.raises(NotFound, match=r"does not provide the specified platform \(linux/mips\)"):
        saved(room, "app:1", platform="linux/mips")


def test_one_platform_can_be_loaded_and_others_follow(room: Room) -> None:
    layout = several(arm64=B)
    load(room, layout, platform="linux/arm64")
    assert platforms(room, "app:1") == ["linux/arm64"]
    assert str(room.images.get("app:1").platform) == "linux/arm64"
    assert room.blobs() == room.needed()
    index = json.loads(saved(room, "app:1")["index.json"])["manifests"][0]
    assert index["digest"] == layout.entries[0]["digest"]
    load(room, layout, platform="linux/amd64")
    assert platforms(room, "app:1") == ["linux/arm64", "linux/amd64"]
    assert str(room.images.get("app:1").platform) == "linux/amd64"
    assert [each.tags for each in room.images.list()] == [("app:1",)]
    load(room, layout)
    assert blobs_of(saved(room, "app:1")) == blobs_of(layout.done())  # type: ignore[arg-type]


def test_what_an_archive_leaves_out_is_not_missed(room: Room, another: Callable[[], Room]) -> None:
    layout = several(arm64=B)
    for name in list(layout.files):
        data = layout.files[name]
        if isinstance(data, bytes) and b"s390x" in data and b"manifests" not in data:
            del layout.files[name]
    result = load(room, layout)
    assert platforms(room, "app:1") == ["linux/arm64", "linux/amd64"]
    assert any("linux/s390x of docker.io/library/app:1: the archive lacks" in each
               for each in result.warnings)  # fmt: skip
    there = another()
    there.images.load(io.BytesIO(tar_of(dict(saved(room, "app:1")))))
    assert there.index.sets == room.index.sets


def test_an_index_with_nothing_of_it_is_refused(room: Room) -> None:
    layout = several()
    for name in list(layout.files):
        if name.startswith("blobs/") and layout.entries[0]["digest"][7:] not in name:
            del layout.files[name]
    with pytest.raises(InvalidArchive, match="lacks manifest"):
        load(room, layout)
    assert room.blobs() == set()
    broken = several()
    shared = f"blobs/sha256/{json.loads(_manifest(broken, 0))['layers'][0]['digest'][7:]}"
    del broken.files[shared]
    with pytest.raises(InvalidArchive, match="lacks layer"):
        load(room, broken)
    assert room.blobs() == set()


def _manifest(layout: Layout, position: int) -> bytes:
    index = layout.files[f"blobs/sha256/{layout.entries[0]['digest'][7:]}"]
    assert isinstance(index, bytes)
    digest = json.loads(index)["manifests"][position]["digest"]
    data = layout.files[f"blobs/sha256/{digest[7:]}"]
    assert isinstance(data, bytes)
    return data


def test_a_platform_that_lies_spoils_the_whole(room: Room) -> None:
    layout = Layout()
    good = image(layout, "amd64")
    bad = layout.image([A], config=config_of([B], architecture="arm64"), top=False,
                       platform={"os": "linux", "architecture": "arm64"})  # fmt: skip
    layout.index([good, bad], "x.io/app:1")
    with pytest.raises(InvalidArchive, match="but its image says"):
        load(room, layout)
    assert room.blobs() == set()
    assert room.images.list() == []


def test_indexes_that_multiply_are_walked_once(room: Room) -> None:
    layout = Layout()
    entry = layout.index([layout.attestation({"digest": "x"})], top=False)
    for _ in range(3):
        entry = layout.index(
            [entry | {"annotations": {"n": str(n)}} for n in range(900)], top=False
        )
    layout.index([image(layout, "amd64"), entry], "x.io/app:1")
    load(room, layout)
    assert platforms(room, "x.io/app:1") == ["linux/amd64"]
    assert room.blobs() == layout.digests()


def test_entries_of_one_name_get_an_index(room: Room, another: Callable[[], Room]) -> None:
    layout = Layout()
    for architecture in ("arm64", "amd64"):
        entry = image(layout, architecture)
        entry["annotations"] = {"io.containerd.image.name": "x.io/app:1"}
        layout.entries.append(entry)
    load(room, layout)
    assert platforms(room, "x.io/app:1") == ["linux/arm64", "linux/amd64"]
    there = another()
    there.images.load(io.BytesIO(tar_of(dict(saved(room, "x.io/app:1")))))
    assert there.index.sets == room.index.sets


def test_looking_at_one_platform(room: Room) -> None:
    layout = several(arm64=B)
    load(room, layout)
    whole = room.images.inspect("app:1")
    assert whole["Architecture"] == "amd64"
    assert whole["Descriptor"]["digest"] == layout.entries[0]["digest"]
    assert [each["ImageData"]["Platform"]["architecture"] for each in whole["Manifests"]] == [
        "arm64", "amd64", "s390x",
    ]  # fmt: skip
    one = room.images.inspect("app:1", platform="linux/arm64")
    assert one["Architecture"] == "arm64"
    assert one["RepoTags"] == ["app:1"]
    assert one["Id"] != whole["Id"]
    assert one["Descriptor"]["digest"] == whole["Manifests"][0]["ID"]
    assert "Manifests" not in one
    assert [line.layer for line in room.images.history("app:1", "arm64")] == [
        sha256(B),
        sha256(A),
    ]
    assert room.images.get("app:1", "arm64").tags == ("app:1",)
    with pytest.raises(NotFound, match="it is for linux/amd64, linux/arm64, linux/s390x"):
        room.images.get("app:1", "linux/riscv64")
    with pytest.raises(NotFound, match=r"does not provide .* it is for linux/arm64"):
        room.images.get(one["Id"], "linux/amd64")


def test_an_image_is_found_by_the_digest_of_its_index(room: Room) -> None:
    layout = several()
    load(room, layout)
    digest = layout.entries[0]["digest"]
    for name in (f"app@{digest}", digest, digest[7:]):
        assert room.images.get(name).tags == ("app:1",)
        assert len(room.images.platforms(name)) == 3
    with pytest.raises(NotFound):
        room.images.get(f"other@{digest}")
    assert len(saved(room, digest)) == len(saved(room, "app:1"))
    room.images.tag(digest, "x.io/app:2")
    assert len(room.images.platforms("x.io/app:2")) == 3
    with pytest.raises(Conflict, match="must be forced"):
        room.images.remove(digest)
    room.images.remove(digest, force=True)
    assert room.blobs() == set()


@pytest.mark.parametrize("field", ["os", "architecture", "variant", "os.version"])
def test_platforms_are_words(room: Room, field: str) -> None:
    layout = Layout()
    entry = image(layout, "amd64")
    entry["platform"][field] = "\x1b]0;x\x07"
    layout.index([entry], "x.io/app:1")
    with pytest.raises(InvalidArchive, match="platform has a malformed name"):
        load(room, layout)
    assert room.blobs() == set()
