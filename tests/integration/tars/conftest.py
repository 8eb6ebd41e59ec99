import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.errors import Unsupported
from knarr.snapshots.drivers.erofs import Driver
from tests.integration.images.conftest import Place
from tests.integration.images.test_peers import Podman
from tests.support import leftovers, registries
from tests.support.fakeregistry import FakeRegistry
from tests.support.fakeregistry import serving as fake_serving


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Make places whose driver keeps tars; each name is one folder."""

    def made(name: str = "place", **options: Any) -> Place:
        place = Place(tmp_path / name, Driver, **options)
        try:
            place.driver.probe()
        except Unsupported as error:
            pytest.skip(str(error))
        return place

    yield made
    for name in os.listdir(tmp_path):
        if os.path.isdir(tmp_path / name / "snapshots"):
            Driver(str(tmp_path / name / "snapshots")).cleanup()
    assert leftovers.mounts(str(tmp_path)) == []


@pytest.fixture
def place(make: Callable[..., Place]) -> Place:
    return make()


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_serving() as registry:
        yield registry


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[str]]:
    """The hosts of two registries."""
    with (
        registries.serving(str(tmp_path / "one")) as one,
        registries.serving(str(tmp_path / "two")) as other,
    ):
        yield [f"localhost:{each.port}" for each in (one, other)]


@pytest.fixture
def podman() -> Iterator[Podman]:
    # Podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/var/tmp") as folder:
        yield Podman(Path(folder))
