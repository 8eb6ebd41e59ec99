"""Bundles on one busybox tree that all tests of this folder share."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import SOURCES, Oci, tree
from tests.support.installations import make_installation
from tests.support.ociserver import Server
from tests.support.podman import Podman


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox in it."""
    path = tmp_path_factory.mktemp("oci") / "rootfs"
    path.mkdir()
    tree(path)
    return path


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which knarr-oci is installed."""
    folder = tmp_path_factory.mktemp("installed")
    make_installation(folder, SOURCES)
    return folder


@pytest.fixture
def oci(tmp_path: Path, rootfs: Path) -> Iterator[Oci]:
    """The command; a test that leaves something behind fails."""
    made = Oci(tmp_path, rootfs)
    yield made
    made.close()


@pytest.fixture
def served(oci: Oci, installation: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that listens."""
    server = Server(installation, tmp_path / "server", oci.root)
    server.up()
    yield server
    server.close()


@pytest.fixture
def podman(oci: Oci, tmp_path: Path) -> Iterator[Podman]:
    """podman with an image of busybox; a test that needs it skips where it is not installed."""
    folder = Path(tempfile.mkdtemp(prefix="kt-", dir="/var/tmp"))  # podman wants it short
    made = Podman(oci, folder)
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(oci.rootfs, ".")
    made("import", str(tmp_path / "image.tar"), "box")
    yield made
    made("rm", "--all", "--force", "--time", "0")
    made("rmi", "--all", "--force")
    shutil.rmtree(folder)
