"""Broken archives in all the ways hypothesis thinks of: one error tree, and nothing kept."""

import io
import json
import os
import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.errors import KnarrError
from tests.unit.images.helpers import Layout, Room, config_of, docker_archive, layer, tar_of

LAYERS = [layer("a"), layer("b")]


def both() -> dict[str, Any]:
    layout = Layout()
    images = [
        layout.image(
            LAYERS[:count],
            config=config_of(LAYERS[:count], architecture=architecture),
            top=False,
            platform={"os": "linux", "architecture": architecture},
        )
        for count, architecture in ((2, "amd64"), (1, "arm64"))
    ]
    layout.index([*images, layout.attestation(images[0])], "x.io/a:1")
    return layout.done() | docker_archive(LAYERS, ["b"])


FILES = both()
PLAIN = tar_of(FILES)
DOCUMENTS = sorted(name for name, data in FILES.items() if (data or b"")[:1] in (b"{", b"["))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
few = settings(max_examples=40, derandomize=True)


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        room = Room(folder)
        room.images.load(io.BytesIO(tar_of(docker_archive([LAYERS[1]], ["kept"]))))
        before = room.blobs()
        try:
            room.images.load(io.BytesIO(data))
        except KnarrError as error:
            assert "\n" not in str(error)
            assert room.blobs() == before
            assert set(room.index.names) == {"docker.io/library/kept:latest"}
        else:
            assert room.blobs() == room.needed()
        assert os.listdir(room.store.root + "/ingest") == []


@few
@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(PLAIN)
    for position, value in changes:
        data[position] = value
    check(bytes(data))


@few
@given(st.integers(0, len(PLAIN)), st.binary(max_size=600))
def test_cut_and_continued(position: int, tail: bytes) -> None:
    check(PLAIN[:position] + tail)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += _paths(inner, (*path, key))
    return found


@few
@given(st.data())
def test_documents_with_other_values(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(DOCUMENTS))
    document = [json.loads(FILES[name])]
    path = data.draw(st.sampled_from([each for each in _paths(document) if each]))
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = data.draw(json_values)
    try:
        text = json.dumps(document[0]).encode()
    except (ValueError, UnicodeEncodeError):
        return
    check(tar_of(FILES | {name: text}))


@few
@given(st.sampled_from(sorted(FILES)), st.sampled_from(sorted(FILES)), st.booleans())
def test_files_exchanged_or_linked(one: str, other: str, link: bool) -> None:
    files = dict(FILES)
    files[one] = "/" + other if link else files[other]
    check(tar_of(files))
