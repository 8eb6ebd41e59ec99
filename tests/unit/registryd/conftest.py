"""A registry for each test, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.registryd.htpasswd import Crypt
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


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file of users: alice, whose password is "open sesame", and bob."""
    crypt = Crypt()
    lines = [
        "# people",
        f"alice:{crypt('open sesame', '$2y$05$abcdefghijklmnopqrstuu')}",
        f"bob:{crypt('pässword:1', '$6$salt')}",
    ]
    path = tmp_path / "users"
    path.write_text("\n".join(lines) + "\n")
    return path
