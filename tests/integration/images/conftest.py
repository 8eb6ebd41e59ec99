import os
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.content.store import ContentStore
from knarr.images.service import Images
from knarr.snapshots.drivers.overlay import Driver
from tests.unit.images.helpers import MemoryIndex, config_of, docker_archive, layer, tar_of


class Place:
    """The images room over the real content store and overlay driver, or another one."""

    def __init__(
        self,
        folder: Path,
        make: Callable[[str], Driver] = Driver,
        *,
        keep_compressed: bool = False,
    ) -> None:
        self.store = ContentStore(str(folder / "content"))
        self.driver = make(str(folder / "snapshots"))
        self.index = MemoryIndex()
        self.images = Images(self.store, self.driver, self.index, keep_compressed=keep_compressed)

    def blobs(self) -> set[str]:
        return {blob.digest for blob in self.store.walk()}

    def tree(self, chain_id: str) -> Path:
        """The directory of a layer: what the topmost ``lower`` of its view names."""
        view = self.driver.view(chain_id)[0]
        if view.type == "bind":
            return Path(view.source)
        return Path(view.source) / view.options[0].partition("=")[2]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Place:
    return Place(tmp_path / "elsewhere")


@pytest.fixture
def two_layers(place: Place, tmp_path: Path) -> str:
    """An image of two layers, app:1; returns its id."""
    layers = [layer("etc/one", "shared"), layer("two", "shared")]
    config = config_of(layers, config={"Cmd": ["/two"], "Env": ["A=b"], "Labels": {"k": "v"}})
    path = tmp_path / "two.tar"
    path.write_bytes(tar_of(docker_archive(layers, ["app:1"], config=config)))
    return place.images.load(path).images[0].id


@pytest.fixture
def quiet_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
