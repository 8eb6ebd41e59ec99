"""``image verify`` by the real command, and on the tar of a layer that is not unpacked."""

import io
import os
import subprocess
from pathlib import Path

import pytest

from knarr.config import Settings
from knarr.content import digest as digests
from knarr.errors import InvalidArchive, Unsupported
from knarr.images.verifying import FILES
from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers.erofs import Driver
from tests.conftest import Command
from tests.integration.images.conftest import Place
from tests.support import dockerregistry
from tests.unit.images.helpers import config_of, docker_archive, layer, sha256, tar_of


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


def test_files_that_containers_see(place: Place) -> None:
    base = tar_of({"etc": None, "etc/a": b"one", "etc/b": b"two", "link": "etc", "gone": b"g"})
    upper = tar_of({".wh.gone": b"", "etc/b": b"other", "link/c": b"c"})
    files = docker_archive([base, upper], ["app:1"], config=config_of([base, upper]))
    place.images.load(io.BytesIO(tar_of(files)))
    place.images.unpack("app:1")
    assert place.images.verify(files=True).is_well
    record = place.images.get("app:1").record
    below, above = (place.tree(each) for each in digests.chain_ids(record.diff_ids))
    (below / "etc/a").write_bytes(b"ONE")
    (above / "etc/b").unlink()
    (above / "etc/more").write_bytes(b"")
    result = place.images.verify(["app:1"], files=True)
    assert [(each.kind, each.reason) for each in result.damages] == [
        (FILES, "/etc/a: other bytes"),
        (FILES, "/etc/b: 3 bytes instead of 5"),
        (FILES, "/etc/more: in no layer"),
    ]
    assert not result.is_well
    assert place.images.verify(["app:1"]).is_well  # the blobs are


def test_files_by_the_command(knarr: Command, settings: Settings) -> None:
    """With whichever driver this machine has."""
    said(knarr("run", "--rm", "busybox", "true"))
    assert said(knarr("image", "verify", "--files")).endswith(": all well\n")
