import io
from typing import Any

import pytest

from knarr.content import digest as digests
from knarr.errors import Conflict, InvalidArchive, InvalidArgument, NotFound
from tests.unit.images.helpers import (
    Room,
    layer,
    load,
    sha256,
)

A, B, C = layer("a"), layer("b"), layer("c")


# --- finding ---------------------------------------------------------------


def test_an_image_is_found_by_every_name_it_has(room: Room) -> None:
    image_id = load(room, [A], "app:1")
    bare = image_id.removeprefix("sha256:")
    manifest = room.images.get(image_id).record.manifest_digest
    for name in ("app:1", "library/app:1", "docker.io/library/app:1", image_id, bare, bare[:12],
                 bare[:4], f"sha256:{bare[:6]}", f"app@{manifest}"):  # fmt: skip
        assert room.images.get(name).id == image_id


def test_a_name_goes_before_the_start_of_an_id(room: Room) -> None:
    first = load(room, [A], "app:1")
    second = load(room, [B], "other:1")
    short = first[7:11]
    room.images.tag(second, short)
    assert room.images.get(short).id == second
    assert room.images.get(first[7:13]).id == first


def test_an_ambiguous_start_is_refused(room: Room) -> None:
    for number in range(40):
        load(room, [A], author=str(number))
    with pytest.raises(Conflict, match="ambiguous"):
        for digit in "0123456789abcdef":
            room.images.get(digit)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("busybox", "No such image: busybox:latest: get it with `knarr pull busybox:latest` or"),
        ("debian:bookworm-slim", "`knarr bootstrap debian:bookworm-slim`"),
        ("nginx", "No such image: nginx:latest: get it with `knarr pull nginx:latest`"),
        ("debian:potato", "`knarr pull debian:potato`"),
        ("0123", "No such image: 0123"),
        ("f" * 64, "`knarr images` lists"),
        (f"app@sha256:{'0' * 64}", "No such image: app@sha256"),
    ],
)
def test_a_missing_image_says_how_to_get_it(room: Room, name: str, hint: str) -> None:
    with pytest.raises(NotFound, match=hint):
        room.images.get(name)


def test_a_name_that_cannot_be_is_told_so(room: Room) -> None:
    with pytest.raises(InvalidArgument, match="lower case"):
        room.images.get("Busybox")


# --- tags ------------------------------------------------------------------


def test_tag_adds_and_moves_names(room: Room) -> None:
    first, second = load(room, [A], "a"), load(room, [B], "b")
    room.images.tag("a", "x.io/new:1")
    assert room.images.get("x.io/new:1").id == first
    room.images.tag(second, "x.io/new:1")
    assert room.images.get("x.io/new:1").id == second
    with pytest.raises(InvalidArgument, match="digest reference"):
        room.images.tag("a", f"b@sha256:{'0' * 64}")
    with pytest.raises(InvalidArgument, match="reads like a digest"):
        room.images.tag("a", f"sha256:{'0' * 64}")
    with pytest.raises(NotFound):
        room.images.tag("nothing", "c")


# --- list, history, inspect ------------------------------------------------


def test_list_is_newest_first_and_filtered(room: Room) -> None:
    old = load(room, [A], "old:1", created="2020-01-01T00:00:00Z", config={"Labels": {"k": "v"}})
    new = load(room, [B], "x.io/dir/new:1", created="2024-01-01T00:00:00Z")
    dangling = load(room, [C], created="2022-01-01T00:00:00Z", config={"Labels": {"k": "w"}})

    def ids(**filters: list[str]) -> list[str]:
        return [image.id for image in room.images.list(filters)]

    assert ids() == [new, dangling, old]
    assert ids(dangling=["true"]) == [dangling]
    assert ids(dangling=["0"]) == [new, old]
    assert ids(label=["k"]) == [dangling, old]
    assert ids(label=["k=v"]) == [old]
    assert ids(label=["k", "k=w"]) == [dangling]
    assert ids(before=["x.io/dir/new:1"]) == [dangling, old]
    assert ids(since=["old:1"]) == [new, dangling]
    assert ids(until=["2022-06-01T00:00:00Z"]) == [dangling, old]
    assert ids(reference=["old"]) == ids(reference=["ol*:1"]) == ids(reference=["*:1"]) == [old]
    assert ids(reference=["x.io/*/new", "old"]) == [new, old]
    for wrong in (
        {"colour": ["x"]},
        {"dangling": ["maybe"]},
        {"until": ["soon"]},
        {"until": ["1h", "2h"]},
    ):
        with pytest.raises(InvalidArgument):
            room.images.list(wrong)
    with pytest.raises(NotFound):
        room.images.list({"before": ["nothing"]})


def test_history_lays_layers_beside_their_steps(room: Room) -> None:
    steps = [
        {"created_by": "ADD a", "created": "2020-01-01T00:00:00Z"},
        {"created_by": "ENV x", "empty_layer": True, "comment": "c"},
        {"created_by": "ADD b"},
    ]
    image_id = load(room, [A, B], "app", history=steps)
    lines = room.images.history("app")
    assert [(e.id, e.created_by, e.size, e.tags, e.layer) for e in lines] == [
        (image_id, "ADD b", len(B), ("app:latest",), sha256(B)),
        ("<missing>", "ENV x", 0, (), None),
        ("<missing>", "ADD a", len(A), (), sha256(A)),
    ]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], [(None, "b"), (None, "a")]),
        ([{"created_by": "1"}], [(None, "b"), ("1", "a")]),
        ([{"created_by": str(n)} for n in range(3)], [("2", None), ("1", "b"), ("0", "a")]),
    ],
)
def test_history_of_the_wrong_length(
    room: Room, history: list[Any], expected: list[tuple[str | None, str | None]]
) -> None:
    load(room, [A, B], "app", history=history)
    names = {sha256(A): "a", sha256(B): "b", None: None}
    found = [(line.created_by or None, names[line.layer]) for line in room.images.history("app")]
    assert found == expected
    assert room.images.history("app")[0].id == room.images.get("app").id


def test_history_of_nothing_at_all(room: Room) -> None:
    load(room, [], "empty", history=[])
    assert len(room.images.history("empty")) == 1


def test_inspect_is_dockers_json(room: Room) -> None:
    config = {
        "Cmd": ["sh"],
        "Env": ["A=b"],
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {"k": "v"},
        "StopSignal": "SIGQUIT",
        "Volumes": {"/data": {}},
    }
    image_id = load(
        room, [A], "app", config=config, author="me", architecture="arm64", variant="v8"
    )
    value = room.images.inspect("app")
    manifest = room.images.get("app").record.manifest_digest
    assert set(value) == {
        "Id", "RepoTags", "RepoDigests", "Parent", "Comment", "Created", "DockerVersion", "Author",
        "Config", "Architecture", "Variant", "Os", "Size", "VirtualSize", "GraphDriver", "RootFS",
        "Metadata", "Descriptor",
    }  # fmt: skip
    assert value["Id"] == image_id
    assert value["RepoTags"] == ["app:latest"]
    assert value["Author"] == "me"
    assert value["Created"] == "2024-01-02T03:04:05Z"
    assert (value["Os"], value["Architecture"], value["Variant"]) == ("linux", "arm64", "v8")
    assert value["Size"] == len(A)
    assert value["RootFS"] == {"Type": "layers", "Layers": [sha256(A)]}
    assert value["GraphDriver"]["Name"] == "memory"
    assert value["Descriptor"]["digest"] == manifest
    for key, expected in config.items():
        assert value["Config"][key] == expected
    assert value["Config"]["Tty"] is False
    assert value["Config"]["Entrypoint"] is None
    assert value["Config"]["WorkingDir"] == ""


def test_config_is_the_images_own_document(room: Room) -> None:
    load(room, [A], "app", moby={"x": 1})
    assert room.images.config("app")["moby"] == {"x": 1}
    assert room.images.config(room.images.get("app"))["config"]["Cmd"] == ["sh"]


# --- unpack ----------------------------------------------------------------


def test_unpack_commits_each_layer_once(room: Room) -> None:
    load(room, [A, B], "app")
    events: list[Any] = []
    chain = digests.chain_ids([sha256(A), sha256(B)])
    assert room.images.unpack("app", events.append) == chain[-1]
    assert set(room.driver.layers) == set(chain)
    assert [event.action for event in events] == ["Unpacking"] * 2
    load(room, [A, C], "other")
    room.images.unpack(room.images.get("other"))
    room.images.unpack("app")
    assert room.driver.commits == 3


def test_a_layer_that_cannot_be_unpacked_is_named(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = load(room, [A], "app")

    def refuse(*_: Any) -> None:
        raise InvalidArchive("layer: 'x' leads outside the root")

    monkeypatch.setattr(room.driver, "commit_layer", refuse)
    words = f"image {image_id[:19]}: layer {sha256(A)[:19]}: layer: 'x' leads outside the root"
    with pytest.raises(InvalidArchive, match=f"^{words}$"):
        room.images.unpack("app")


# --- import ----------------------------------------------------------------


def test_import_keeps_the_tar_and_takes_changes(room: Room, monkeypatch: Any) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    image = room.images.import_(
        io.BytesIO(A), "app:1", changes=['CMD ["x"]', "ENV A=b"], message="hello"
    )
    assert image.tags == ("app:1",)
    assert image.record.diff_ids == (sha256(A),)
    assert image.created == "2023-11-14T22:13:20Z"
    config = room.images.config(image)
    assert config["config"] == {"Cmd": ["x"], "Env": ["A=b"]}
    assert room.images.history("app:1")[0].comment == "hello"
    again = room.images.import_(
        io.BytesIO(A), None, changes=['CMD ["x"]', "ENV A=b"], message="hello"
    )
    assert again.id == image.id
    assert room.blobs() == set(image.record.blobs)


def test_import_of_a_compressed_file_stores_the_plain_tar(room: Room, tmp_path: Any) -> None:
    import gzip

    path = tmp_path / "root.tar.gz"
    path.write_bytes(gzip.compress(A))
    image = room.images.import_(path, platform="linux/arm64")
    assert image.record.diff_ids == (sha256(A),)
    assert str(image.platform) == "linux/arm64"
    assert room.images.history(image.id)[0].comment == "Imported from root.tar.gz"


@pytest.mark.parametrize("data", [b"no tar" * 200, A[:700], A[:512] + b"x" * 1024])
def test_import_of_what_is_no_tar_leaves_nothing(room: Room, data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        room.images.import_(io.BytesIO(data), "app")
    assert room.blobs() == set()


def test_import_refuses_a_wrong_change_before_reading(room: Room) -> None:
    source = io.BytesIO(A)
    with pytest.raises(InvalidArgument, match="RUN"):
        room.images.import_(source, "app", changes=["RUN x"])
    assert source.tell() == 0
