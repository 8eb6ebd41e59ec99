from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.images.helpers import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(str(tmp_path / "content"))


@pytest.fixture
def another(tmp_path: Path) -> Callable[[], Room]:
    """Make further rooms, empty and apart from the first."""
    made: list[Room] = []

    def make() -> Room:
        made.append(Room(str(tmp_path / f"content-{len(made)}")))
        return made[-1]

    return make
