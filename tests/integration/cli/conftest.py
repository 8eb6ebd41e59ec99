"""An installation of its own for each test of the command: python, package, script and client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installations import REPOSITORY, Installation, end_server, make_installation


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment whose knarr is this tree's, with the thin command installed."""
    folder = tmp_path_factory.mktemp("installed")
    make_installation(folder, REPOSITORY / "src")
    return folder


@pytest.fixture
def box(installed: Installation, busybox_archive: Path) -> Installation:
    """The installation with a warm server and the image busybox."""
    installed.server()
    assert installed.run("load", "-q", "-i", str(busybox_archive)) == (
        0, b"Loaded image: busybox:latest\n", b"",
    )  # fmt: skip
    return installed


@pytest.fixture
def installed(prefix: Path, environment: dict[str, str]) -> Iterator[Installation]:
    """The installation with roots of this test's own; its server is ended afterwards."""
    made = Installation(prefix, environment)
    yield made
    end_server(made)
