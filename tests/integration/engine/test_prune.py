"""What is on disk, and pruning: which containers go, and that none goes by half."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knarr import Engine

WRITE = ("sh", "-c", "head -c 5000 /dev/zero > /five")


def made(engine: Engine, name: str, **labels: str) -> str:
    return engine.containers.create(ContainerConfig("busybox", name=name, labels=labels)).id


def names(engine: Engine) -> set[str]:
    return {container.name for container in engine.containers.list(all=True)}


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, set()),
        ({"label": ["tier"]}, {"plain"}),
        ({"label": ["tier=web"]}, {"plain", "db"}),
        ({"label": ["tier", "keep"]}, {"plain", "db"}),
        ({"label!": ["keep"]}, {"web"}),
        ({"label!": ["tier=db", "keep"]}, {"web", "db"}),
        ({"until": ["1h"]}, {"plain", "web", "db"}),
        ({"until": ["0s"]}, set()),
    ],
)
def test_filters(engine: Engine, filters: dict[str, Sequence[str]], left: set[str]) -> None:
    made(engine, "plain")
    made(engine, "web", tier="web", keep="yes")
    made(engine, "db", tier="db")
    engine.containers.prune(filters)
    assert names(engine) == left


def test_until_a_moment(engine: Engine) -> None:
    made(engine, "old")
    moment = time.time()
    made(engine, "new")
    engine.containers.prune({"until": [f"{moment:.6f}"]})
    assert names(engine) == {"new"}


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"name": ["x"]}, "invalid filter 'name'"),
        ({"until": ["1h", "2h"]}, "more than one until filter specified"),
        ({"until": ["soon"]}, "soon"),
    ],
)
def test_wrong_filters_remove_nothing(
    engine: Engine, filters: dict[str, Sequence[str]], text: str
) -> None:
    made(engine, "one")
    with pytest.raises(errors.InvalidArgument, match=text):
        engine.containers.prune(filters)
    assert names(engine) == {"one"}


def test_what_runs_stays(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "100"), name="up", open_stdin=True)
    container = engine.containers.create(config)
    container.start()
    container.pause()
    assert engine.containers.prune() == ([], 0)
    container.remove(force=True)


def test_an_interrupt_ends_it_with_no_container_half_removed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(engine, "one")
    made(engine, "two")
    remove = engine.driver.remove
    interrupted: list[str] = []

    def interrupt(key: str) -> None:
        if not interrupted:
            interrupted.append(key)
            raise KeyboardInterrupt
        remove(key)

    monkeypatch.setattr(engine.driver, "remove", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.containers.prune()
    assert [row.id for row in engine.table.all()] == engine.driver.list_keys()
    (left,) = engine.containers.list(all=True)
    assert left.id not in interrupted
    assert left.status == "created"
    left.start()


def test_one_that_somebody_left_half_removed_goes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(engine, "one")
    with monkeypatch.context() as patch:
        patch.setattr(engine.driver, "remove", _no_space)
        with pytest.raises(errors.ResourceExhausted):
            engine.containers.prune()
    assert engine.containers.get("one").status == "removing"
    removed, _ = engine.containers.prune()
    assert len(removed) == 1
    assert engine.table.all() == []


def _no_space(_key: str) -> None:
    raise OSError(28, os.strerror(28))


def test_disk_usage_is_what_is_on_disk(engine: Engine) -> None:
    before = engine.disk_usage()
    assert [image.tags for image, _ in before.images] == [("busybox:latest",)]
    assert before.images_reclaimable == before.images_size > 0
    assert (before.containers, before.containers_size) == ((), 0)
    engine.containers.run(ContainerConfig("busybox", WRITE, name="done"))
    up = engine.containers.create(ContainerConfig("busybox", (*WRITE[:2], "sleep 100"), name="up"))
    up.start()
    found = engine.disk_usage()
    assert found.images_size > before.images_size  # unpacked now
    assert found.images_reclaimable == 0
    assert [(use.containers, use.shared) for _, use in found.images] == [(2, 0)]
    sizes = {each.container.name: (each.size, each.active) for each in found.containers}
    assert sizes["done"] == (5000, False)
    assert sizes["up"][1]
    assert found.containers_reclaimable == 5000 <= found.containers_size
    up.remove(force=True)
    assert engine.containers.prune()[1] == 5000
    assert engine.images.prune(all=True).reclaimed == found.images_size
    assert engine.disk_usage().images_size == 0


def test_images_made_of_one_another_share_their_layers(engine: Engine) -> None:
    engine.containers.run(ContainerConfig("busybox", WRITE, name="base"))
    engine.containers.get("base").commit("child")
    engine.containers.prune()
    found = engine.disk_usage()
    by_name = {image.tags[0]: use for image, use in found.images}
    child, base = by_name["child:latest"], by_name["busybox:latest"]
    assert child.shared == base.shared > 5000
    assert 5000 <= child.unique < child.size
    assert found.images_size == child.unique + base.unique + child.shared
