"""What the two ways to lay layers out have to share: the tree, and every refusal."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.errors import InvalidArchive, Unsupported
from knarr.snapshots import registry
from knarr.snapshots.driver import Driver
from tests.support import tars
from tests.support.hurtful import likely_layer, rich_members
from tests.support.tars import commit, mounted, nothing_mounted_after, tar

Outcome = tars.Tree | str


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    try:
        probe = registry.open_driver("erofs", str(tmp_path / "probe"))
    except Unsupported as error:
        pytest.skip(str(error))
    with nothing_mounted_after(probe, tmp_path):
        yield tmp_path


def outcome(driver: Driver, layers: list[bytes]) -> Outcome:
    """Return the tree that layers give, or what is said against them."""
    try:
        top = commit(driver, *layers)
    except InvalidArchive as error:
        return str(error)
    with mounted(driver.view(top)) as root:
        return tars.tree(root)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(rich_members(), max_size=8),
    st.lists(rich_members(), max_size=8),
    st.lists(rich_members(), max_size=4),
    st.data(),
)
def test_the_same_tree_or_the_same_refusal(
    folder: Path,
    first: list[tars.Member],
    second: list[tars.Member],
    third: list[tars.Member],
    data: st.DataObject,
) -> None:
    layers = [bytearray(tar(*first)), bytearray(tar(*second)), bytearray(tar(*third))]
    if data.draw(st.integers(0, 3)) == 0:
        damaged = data.draw(st.sampled_from(layers))
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert_same(folder, [bytes(layer) for layer in layers])


def assert_same(folder: Path, layers: list[bytes]) -> None:
    found: list[Outcome] = []
    for name in ("overlay", "erofs"):
        place = folder / secrets.token_hex(8)
        driver = registry.open_driver(name, str(place))
        with nothing_mounted_after(driver, place):
            found.append(outcome(driver, layers))
    assert found[0] == found[1]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(likely_layer(), min_size=1, max_size=4))
def test_the_same_tree_of_likely_layers(folder: Path, layers: list[list[tars.Member]]) -> None:
    assert_same(folder, [tar(*layer) for layer in layers])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(likely_layer(), likely_layer(), st.data())
def test_layers_of_both_kinds_in_one_image(
    folder: Path, first: list[tars.Member], second: list[tars.Member], data: st.DataObject
) -> None:
    """An existing data root goes on with the other driver, whichever that is."""
    layers = [tar(*first), tar(*second)]
    place = folder / secrets.token_hex(8)
    below, above = data.draw(st.sampled_from([("overlay", "erofs"), ("erofs", "overlay")]))
    plain = registry.open_driver("overlay", str(place / "plain"))
    expected = outcome(plain, layers)
    with nothing_mounted_after(registry.open_driver(below, str(place / "mixed")), place):
        lower = registry.open_driver(below, str(place / "mixed"))
        if not isinstance(outcome(lower, layers[:1]), str):
            assert outcome(registry.open_driver(above, str(place / "mixed")), layers) == expected
            assert outcome(lower, layers) == expected
    assert not os.path.exists(place / "mixed/layers")
