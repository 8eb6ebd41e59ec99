"""``image verify`` by the real command, and on the tar of a layer that is not unpacked."""

import os
import subprocess
from pathlib import Path

import pytest

from knarr.config import Settings
from knarr.errors import InvalidArchive, Unsupported
from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers.erofs import Driver
from tests.conftest import Command
from tests.support import dockerregistry
from tests.unit.images.helpers import layer, sha256


def said(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def cut(path: str) -> None:
    """Take the last byte of a blob away."""
    os.chmod(path, 0o600)
    os.truncate(path, os.path.getsize(path) - 1)


def test_what_is_damaged_comes_again_from_its_registry(
    knarr: Command, settings: Settings, tmp_path: Path
) -> None:
    with dockerregistry.running(tmp_path) as host:
        name = f"{host}/team/box:1"
        said(knarr("tag", "busybox", name))
        said(knarr("push", name))
        said(knarr("rmi", name, "busybox"))
        said(knarr("pull", name))
        assert said(knarr("image", "verify")).endswith(": all well\n")
        folder = f"{settings.data_root}/content/blobs/sha256"
        largest = max(os.listdir(folder), key=lambda each: os.path.getsize(f"{folder}/{each}"))
        cut(f"{folder}/{largest}")
        done = knarr("image", "verify", "-q")
        assert said(done, 1).startswith(f"Damaged: layer sha256:{largest} of {name}: its bytes ha")
        assert said(knarr("image", "verify", "-q", "--repair", name)).startswith("Repaired: layer")
        assert said(knarr("image", "verify", "-q")) == ""
        assert said(knarr("run", "--rm", name, "echo", "it runs")) == "it runs\n"


def test_the_tar_of_a_layer_that_is_not_unpacked(tmp_path: Path) -> None:
    driver = Driver(str(tmp_path / "snapshots"))
    try:
        driver.probe()
    except Unsupported as error:
        pytest.skip(str(error))
    data = layer("a")
    tar = tmp_path / "layer"
    tar.write_bytes(data)
    name = sha256(data)
    driver.commit_layer(name, None, LayerSource(name, lambda: tar.open("rb")))
    driver.verify_layer(name)
    (kept,) = (tmp_path / "snapshots").glob("l/*/layer.tar")
    cut(str(kept))
    with pytest.raises(InvalidArchive, match="is damaged on disk: its tar has digest"):
        driver.verify_layer(name)
