"""Bundles on one busybox tree that all tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Oci, tree


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox in it."""
    path = tmp_path_factory.mktemp("oci") / "rootfs"
    path.mkdir()
    tree(path)
    return path


@pytest.fixture
def oci(tmp_path: Path, rootfs: Path) -> Iterator[Oci]:
    """The command; a test that leaves something behind fails."""
    made = Oci(tmp_path, rootfs)
    yield made
    made.close()
