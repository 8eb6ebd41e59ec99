import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from typing import Any

import pytest

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, Unsupported
from tests.unit.images.helpers import Room, config_of, docker_archive, layer, sha256, tar_of

A, B = layer("a"), layer("b", "c")


def load(room: Room, files: dict[str, bytes | str | None], **options: Any) -> Any:
    return room.images.load(io.BytesIO(tar_of(files)), **options)


def test_an_image_comes_in_whole(room: Room) -> None:
    result = load(room, docker_archive([A, B], ["app:1", "localhost:5000/app:2"]))
    config = config_of([A, B])
    assert [image.id for image in result.images] == [sha256(config)]
    assert result.images[0].names == ("app:1", "localhost:5000/app:2")
    image = room.images.get("app:1")
    assert image.tags == ("app:1", "localhost:5000/app:2")
    assert image.record.diff_ids == (sha256(A), sha256(B))
    assert image.record.layer_sizes == (len(A), len(B))
    assert image.size == len(A) + len(B)
    assert image.record.chain_id == digests.chain_ids([sha256(A), sha256(B)])[-1]
    assert room.store.read(image.id) == config
    assert room.blobs() == set(image.record.blobs)


def test_legacy_layer_links_as_skopeo_writes_them(room: Room) -> None:
    files = docker_archive([A], ["app"])
    files[f"{'1' * 64}/layer.tar"] = f"../{sha256(A)[7:]}.tar"
    files[f"{'1' * 64}/VERSION"] = b"1.0"
    files[f"{'1' * 64}/json"] = b"{}"
    files["repositories"] = b'{"app":{"latest":"1"}}'
    manifest = json.loads(files["manifest.json"] or b"")
    manifest[0]["Layers"] = [f"{'1' * 64}/layer.tar"]
    files["manifest.json"] = json.dumps(manifest).encode()
    load(room, files)
    assert room.images.get("app").record.diff_ids == (sha256(A),)
    assert room.blobs() == set(room.images.get("app").record.blobs)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_a_compressed_archive_from_a_pipe(room: Room, pack: Callable[[bytes], bytes]) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError("not seekable")

    room.images.load(Pipe(pack(tar_of(docker_archive([A], ["app"])))))
    assert room.images.get("app").size == len(A)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_layers_may_be_compressed(room: Room, pack: Callable[[bytes], bytes]) -> None:
    files = docker_archive([A], ["app"])
    files[f"{sha256(A)[7:]}.tar"] = pack(A)
    load(room, files)
    record = room.images.get("app").record
    assert record.diff_ids == (sha256(A),)
    assert record.layer_sizes == (len(A),)
    kind = record.layers[0].media_type
    assert kind.endswith("tar+gzip") if pack is gzip.compress else kind.endswith(".tar")
    assert room.blobs() == set(record.blobs)


def test_several_images_share_their_layers(room: Room) -> None:
    first, second = docker_archive([A], ["one"]), docker_archive([A, B], ["two"])
    both = json.loads(first["manifest.json"] or b"") + json.loads(second["manifest.json"] or b"")
    load(room, first | second | {"manifest.json": json.dumps(both).encode()})
    assert {image.tags for image in room.images.list()} == {("one:latest",), ("two:latest",)}
    assert len(room.blobs()) == 2 + 2 + 2


def test_an_image_of_no_layers(room: Room) -> None:
    load(room, docker_archive([], ["empty"]))
    assert room.images.get("empty").record.chain_id == ""
    assert room.images.unpack("empty") is None


def test_loading_twice_changes_nothing(room: Room) -> None:
    load(room, docker_archive([A], ["app"]))
    before = room.blobs()
    result = load(room, docker_archive([A], ["app"]))
    assert room.blobs() == before
    assert result.replaced == ()


def test_a_name_moves_and_its_old_image_stays_dangling(room: Room) -> None:
    old = load(room, docker_archive([A], ["app"])).images[0].id
    result = load(room, docker_archive([B], ["app"]))
    assert result.replaced == (("app:latest", old),)
    assert room.images.get(old).tags == ()


def test_a_damaged_image_is_mended_by_loading_it_again(room: Room) -> None:
    load(room, docker_archive([A], ["app"]))
    room.store.delete(sha256(A))
    load(room, docker_archive([A], ["app"]))
    assert room.store.has(sha256(A))


def test_another_platform_is_loaded_with_a_warning_or_skipped_on_request(room: Room) -> None:
    files = docker_archive([A], ["app"], config=config_of([A], architecture="s390x"))
    with pytest.raises(InvalidArchive, match="linux/s390x"):
        load(room, files, platform="linux/arm64")
    result = load(room, files)
    assert "s390x" in result.warnings[0]
    load(room, files, platform="linux/s390x")


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {}


def hostile(reason: str) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    def register(change: Callable[[dict[str, Any]], Any]) -> None:
        HOSTILE[change.__name__] = (change, reason)

    return register


def _edit(files: dict[str, Any], **fields: Any) -> None:
    manifest = json.loads(files["manifest.json"])
    manifest[0] |= fields
    files["manifest.json"] = json.dumps(manifest).encode()


@hostile("has no file")
def missing_layer(files: dict[str, Any]) -> None:
    del files[f"{sha256(A)[7:]}.tar"]


@hostile("has no file")
def missing_config(files: dict[str, Any]) -> None:
    _edit(files, Config="nothing.json")


@hostile("but its image says")
def wrong_layer(files: dict[str, Any]) -> None:
    files[f"{sha256(A)[7:]}.tar"] = B


@hostile("has digest")
def lying_config_name(files: dict[str, Any]) -> None:
    files[f"{'0' * 64}.json"] = config_of([A])
    _edit(files, Config=f"{'0' * 64}.json")


@hostile("2 layers but 1 diff ids")
def too_many_layers(files: dict[str, Any]) -> None:
    _edit(files, Layers=[f"{sha256(A)[7:]}.tar"] * 2)


@hostile("0 layers but 1 diff ids")
def too_few_layers(files: dict[str, Any]) -> None:
    _edit(files, Layers=[])


@hostile("outside")
def escaping_config(files: dict[str, Any]) -> None:
    _edit(files, Config="../../etc/passwd")


@hostile("outside")
def absolute_layer(files: dict[str, Any]) -> None:
    _edit(files, Layers=["/etc/passwd"])


@hostile("outside")
def escaping_member(files: dict[str, Any]) -> None:
    files["../evil"] = b"x"


@hostile("outside")
def absolute_member(files: dict[str, Any]) -> None:
    files["/evil"] = b"x"


@hostile("outside")
def link_out_of_the_archive(files: dict[str, Any]) -> None:
    files["x/layer.tar"] = "../../../etc/passwd"


@hostile("circles")
def link_loop(files: dict[str, Any]) -> None:
    files["a/layer.tar"], files["b/layer.tar"] = "../b/layer.tar", "../a/layer.tar"
    _edit(files, Layers=["a/layer.tar"])


@hostile("has no file")
def dangling_link(files: dict[str, Any]) -> None:
    files["a/layer.tar"] = "../nowhere"
    _edit(files, Layers=["a/layer.tar"])


@hostile("larger than")
def huge_manifest(files: dict[str, Any]) -> None:
    files["manifest.json"] += b" " * (5 * 1024 * 1024)


@hostile("larger than")
def huge_manifest_json(files: dict[str, Any]) -> None:
    files["config"] = b" " * (5 * 1024 * 1024)
    _edit(files, Config="config")


@hostile("not valid JSON")
def garbage(files: dict[str, Any]) -> None:
    files["manifest.json"] = b"\x00\x01"


@hostile("nests too deep")
def deep(files: dict[str, Any]) -> None:
    files["manifest.json"] = b"[" * 200_000


@hostile("not a list of images")
def not_a_list(files: dict[str, Any]) -> None:
    files["manifest.json"] = b"{}"


@hostile("RepoTags")
def bad_name(files: dict[str, Any]) -> None:
    _edit(files, RepoTags=["Not A Name"])


@hostile("RepoTags")
def name_with_digest(files: dict[str, Any]) -> None:
    _edit(files, RepoTags=["a@sha256:" + "0" * 64])


@hostile("not a list of strings")
def layers_of_numbers(files: dict[str, Any]) -> None:
    _edit(files, Layers=[1])


@hostile("have digest")
def lying_blob(files: dict[str, Any]) -> None:
    files[f"blobs/sha256/{'0' * 64}"] = b"not zeros"


@hostile("not named by a digest")
def malformed_blob_name(files: dict[str, Any]) -> None:
    files["blobs/sha256/0123"] = b"x"


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_archives_leave_nothing(room: Room, name: str) -> None:
    change, reason = HOSTILE[name]
    files: dict[str, Any] = docker_archive([A], ["app"])
    change(files)
    with pytest.raises(InvalidArchive, match=reason):
        load(room, files)
    assert room.blobs() == set()
    assert not room.index.records
    assert not room.index.names


def test_a_bad_image_takes_the_good_ones_of_its_archive_with_it(room: Room) -> None:
    kept = load(room, docker_archive([B], ["kept"])).images[0].id
    before = room.blobs()
    first, second = docker_archive([A], ["one"]), docker_archive([A, B], ["kept"])
    entries = json.loads(first["manifest.json"] or b"") + json.loads(second["manifest.json"] or b"")
    entries[1]["Layers"].reverse()
    with pytest.raises(InvalidArchive, match="its image says"):
        load(room, first | second | {"manifest.json": json.dumps(entries).encode()})
    assert room.blobs() == before
    assert room.images.get("kept").id == kept


def test_two_manifests_are_one_too_many(room: Room) -> None:
    plain = tar_of(docker_archive([A], ["app"]))
    data = plain.rstrip(b"\0") + b"\0" * (-len(plain.rstrip(b"\0")) % 512)
    with pytest.raises(InvalidArchive, match="two files"):
        room.images.load(io.BytesIO(data + tar_of({"./manifest.json": b"[]"})))
    assert room.blobs() == set()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither manifest.json nor index.json"),
        (tar_of({"hello": b"world"}), "neither manifest.json nor index.json"),
        (b"not a tar" * 100, "checksum|truncated"),
        (tar_of(docker_archive([A], ["app"]))[:3000], "truncated"),
        (gzip.compress(tar_of(docker_archive([A], ["app"])))[:-20], "truncated"),
        (lzma.compress(tar_of({}), format=lzma.FORMAT_ALONE), "truncated|checksum"),
        (tar_of(docker_archive([A], ["app"]) | {"manifest.json": b"[]"}), "no image to load"),
    ],
)
def test_what_is_no_archive_is_refused(room: Room, data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArchive, match=reason):
        room.images.load(io.BytesIO(data))
    assert room.blobs() == set()


def test_an_error_names_the_file(room: Room, tmp_path: Any) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no archive at all\n" * 100)
    for take in (room.images.load, room.images.import_):
        with pytest.raises(InvalidArchive, match=rf"^{text}: this is no tar archive: "):
            take(str(text))
    with pytest.raises(InvalidArchive, match=rf"^{tmp_path}: this is no image archive"):
        room.images.load(tmp_path)
    assert room.blobs() == set()


def test_archives_from_before_image_ids_are_named(room: Room) -> None:
    with pytest.raises(Unsupported, match=r"older than 1\.10"):
        load(room, {"repositories": b"{}", "x/json": b"{}"})


def test_a_bomb_of_an_archive_ends_at_the_limit(
    room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("knarr.images.layers._FLOOR", 1024 * 1024)
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(tar_of({"x.tar": bytes(64 * 1024 * 1024)})))
    with pytest.raises(InvalidArchive, match="unpacks to more than"):
        room.images.load(bomb)
    assert room.blobs() == set()


def test_a_bomb_of_a_layer_ends_at_the_limit(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.images.layers._FLOOR", 1024 * 1024)
    files = docker_archive([A], ["app"])
    files[f"{sha256(A)[7:]}.tar"] = gzip.compress(bytes(64 * 1024 * 1024))
    with pytest.raises(InvalidArchive, match="unpacks to more than"):
        load(room, files)
    assert room.blobs() == set()


def test_progress_is_told(room: Room) -> None:
    big = tar_of({"big": bytes(6 * 1024 * 1024)})
    events: list[Any] = []
    load(room, docker_archive([big], ["app"]), progress=events.append)
    loading = [event for event in events if event.action == "Loading"]
    assert loading[-1].current == loading[-1].total == len(big)
