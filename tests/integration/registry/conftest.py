from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.images.conftest import Place
from tests.support import dockerregistry


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Place:
    return Place(tmp_path / "elsewhere")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The host of a docker-registry without images."""
    with dockerregistry.running(tmp_path) as host:
        yield host
