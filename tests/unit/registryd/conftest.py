"""A registry for each test, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registries import Client, Serving, serving


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Serving]:
    with serving(str(tmp_path / "registry")) as made:
        yield made


@pytest.fixture
def client(registry: Serving) -> Iterator[Client]:
    made = registry.client()
    yield made
    made.close()
