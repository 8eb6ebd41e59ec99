"""Containers without the engine, on a busybox tree that the whole run shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.config import Settings
from tests.support import launch


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A directory of layers; ``l/base/fs`` is busybox."""
    with launch.layers() as folder:
        yield folder


@pytest.fixture
def box(settings: Settings, base: Path) -> Iterator[launch.Box]:
    made = launch.Box(settings, base)
    yield made
    made.close()
