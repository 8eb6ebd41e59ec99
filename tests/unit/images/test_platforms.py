"""Images for several platforms: what comes in goes out again, and goes away as one."""

import contextlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from typing import Any

import pytest

from knarr.errors import Conflict, InvalidArchive, NotFound
from tests.unit.images.helpers import Layout, Room, config_of, layer, sha256, tar_of

A, B, C = layer("a"), layer("b"), layer("c")


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "x86_64")


def machine(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    uname = os.uname_result(("Linux", "host", "6", "1", name))
    monkeypatch.setattr("knarr.images.platform.os.uname", lambda: uname)


def load(room: Room, layout: Layout, **options: Any) -> Any:
    return room.images.load(io.BytesIO(tar_of(layout.done())), **options)


def image(layout: Layout, architecture: str, *own: bytes, **fields: Any) -> dict[str, Any]:
    layers = [A, *own]
    platform = {"os": "linux", "architecture": architecture} | fields
    config = config_of(layers, architecture=architecture)
    return layout.image(layers, config=config, top=False, platform=platform)


def several(name: str = "docker.io/library/app:1", **own: bytes) -> Layout:
    """A layout with an image of three platforms that share a layer, and an attestation."""
    layout = Layout()
    images = [
        image(layout, each, *([own[each]] if each in own else []))
        for each in ("arm64", "amd64", "s390x")
    ]
    layout.index([*images, layout.attestation(images[1])], name)
    return layout


def saved(room: Room, *names: str, **options: Any) -> dict[str, bytes]:
    out = io.BytesIO()
    room.images.save(names, out, **options)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def blobs_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("blobs/")}


def platforms(room: Room, name: str) -> list[str]:
    return [str(each.platform) for each in room.images.platforms(name)]


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
    problems: list[BaseException] = []

    def run(act: Callable[[], Any]) -> None:
        try:
            for _ in range(12):
                act()
        except BaseException as error:
            problems.append(error)

    def remove() -> None:
        for image in room.images.list():
            with contextlib.suppress(NotFound):  # the other one was quicker
                room.images.remove(image.id, force=True)

    acts: list[Callable[[], Any]] = [
        lambda data=data: room.images.load(io.BytesIO(data))  # type: ignore[misc]
        for data in archives
    ]
    acts += [remove, room.images.prune]
    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert room.needed() <= room.blobs()
    room.images.prune(all=True)
    assert room.blobs() == set()
    assert room.index.sets == {}


@pytest.mark.parametrize("field", ["os", "architecture", "variant", "os.version"])
def test_platforms_are_words(room: Room, field: str) -> None:
    layout = Layout()
    entry = image(layout, "amd64")
    entry["platform"][field] = "\x1b]0;x\x07"
    layout.index([entry], "x.io/app:1")
    with pytest.raises(InvalidArchive, match="platform has a malformed name"):
        load(room, layout)
    assert room.blobs() == set()


def test_an_index_whose_images_are_gone_is_pruned(room: Room) -> None:
    load(room, several(arm64=B))
    for image_id in list(room.index.records):
        room.index.remove(image_id)  # as a removal that was killed half way
    assert len(room.index.sets) == 1
    room.images.prune()
    assert room.index.sets == {}
    assert room.blobs() == set()
