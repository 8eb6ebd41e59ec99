from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from knarr.content import digest
from knarr.errors import Conflict, InvalidArgument, NotFound
from knarr.snapshots.layers import LayerDirectory, _base36

ONE, TWO = digest.of(b"1"), digest.of(b"2")


@pytest.fixture
def layers(tmp_path: Path) -> LayerDirectory:
    return LayerDirectory(str(tmp_path / "snapshots"))


def make(layers: LayerDirectory, chain_id: str, parent: str | None = None) -> None:
    with layers.making(chain_id, parent) as half:
        assert half is not None
        lowers = layers.get(parent).stack if parent else ()
        layers.commit(half, {"chain_id": chain_id, "parent": parent, "lowers": lowers})


def test_numbers_are_short() -> None:
    assert [_base36(value) for value in (1, 35, 36, 1295, 1296)] == ["1", "z", "10", "zz", "100"]


def test_layers_stand_on_each_other(layers: LayerDirectory) -> None:
    make(layers, ONE)
    make(layers, TWO, ONE)
    assert layers.get(ONE).stack == ("1",)
    assert layers.get(TWO).stack == ("2", "1")
    assert layers.chain_ids() == sorted([ONE, TWO])
    with pytest.raises(Conflict, match="layer 2"):
        layers.remove_layer(ONE)
    layers.remove_layer(TWO)
    layers.remove_layer(ONE)
    make(layers, TWO)
    assert layers.get(TWO).number == "1"


def test_a_present_layer_is_not_made_again(layers: LayerDirectory) -> None:
    make(layers, ONE)
    with layers.making(ONE, None) as half:
        assert half is None


def test_leaving_without_commit_drops_it(layers: LayerDirectory) -> None:
    with layers.making(ONE, None) as half:
        assert half is not None
        assert os.listdir(Path(layers.root) / "l") == ["1~"]
        Path(layers.root, "l/1~/fs/file").write_text("x")
    for name in ("l", "trash", "chains"):
        assert os.listdir(Path(layers.root) / name) == []
    with pytest.raises(ZeroDivisionError), layers.making(ONE, None):
        raise ZeroDivisionError
    assert layers.find(ONE) is None


def test_a_layer_in_the_making_holds_its_parent(layers: LayerDirectory) -> None:
    make(layers, ONE)
    with layers.making(TWO, ONE), pytest.raises(Conflict, match="2~"):
        layers.remove_layer(ONE)
    layers.remove_layer(ONE)
    with pytest.raises(NotFound), layers.making(TWO, ONE):
        raise AssertionError("made on top of nothing")


def test_two_in_the_making_have_different_numbers(layers: LayerDirectory) -> None:
    with layers.making(ONE, None) as first, layers.making(TWO, None) as second:
        assert first is not None
        assert second is not None
        assert {first.number, second.number} == {"1", "2"}


def refuse(*_: object) -> None:
    """Be setxattr(2) on a file system without attributes."""
    raise OSError(errno.EOPNOTSUPP, "not supported")


@pytest.mark.parametrize("attributes", [True, False])
def test_writable_directories(
    layers: LayerDirectory, monkeypatch: pytest.MonkeyPatch, attributes: bool
) -> None:
    make(layers, ONE)
    if not attributes:
        monkeypatch.setattr(os, "setxattr", refuse)
    layer = layers.prepare("web", ONE)
    assert layer is not None
    assert layer.number == "1"
    assert {"fs", "work"} <= set(os.listdir(layers.key_path("web")))
    assert layers.standing_on("web") == layer
    assert layers.prepare("empty", None) is None
    assert layers.standing_on("empty") is None
    assert layers.keys() == ["empty", "web"]
    with pytest.raises(Conflict, match="container web"):
        layers.remove_layer(ONE)
    with pytest.raises(Conflict):
        layers.prepare("web", ONE)
    with pytest.raises(NotFound):
        layers.prepare("other", TWO)
    with pytest.raises(NotFound):
        layers.standing_on("other")
    layers.remove("web")
    layers.remove("web")
    assert layers.keys() == ["empty"]
    assert len(os.listdir(Path(layers.root) / "trash")) == 1
    layers.purge_trash()
    assert os.listdir(Path(layers.root) / "trash") == []


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "-x", "a b", "x" * 129, "a\n"])
def test_bad_keys(layers: LayerDirectory, key: str) -> None:
    for call in (layers.standing_on, layers.remove, layers.key_path):
        with pytest.raises(InvalidArgument):
            call(key)


def test_cleanup_drops_half_prepared_keys(layers: LayerDirectory) -> None:
    layers.prepare("whole", None)
    (Path(layers.root) / "c/half/work").mkdir(parents=True)
    layers.cleanup()
    assert layers.keys() == ["whole"]
