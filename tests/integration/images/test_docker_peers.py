"""Archives in and out of a Docker daemon: it loads ours, we load its."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.images.conftest import Place
from tests.support import dockerd
from tests.support.dockerd import Dockerd
from tests.unit.images.helpers import docker_archive, layer, tar_of

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def docker() -> Iterator[Dockerd]:
    """One daemon for all tests of this file, which leave no images behind."""
    with tempfile.TemporaryDirectory(prefix="kd-", dir="/var/tmp") as folder:
        try:
            # Storage that needs nothing of the kernel, since only archives are the matter here.
            with dockerd.running(
                Path(folder, "data"), Path(folder, "run"), "--storage-driver=vfs"
            ) as made:
                yield made
        except dockerd.CannotRun as error:
            pytest.skip(str(error))


@pytest.fixture(autouse=True)
def clean(docker: Dockerd) -> Iterator[None]:
    yield
    found = docker.docker("image", "ls", "-q", "--no-trunc").split()
    if found:
        docker.docker("rmi", "-f", *set(found))


@pytest.mark.parametrize("compress", [None, "gzip"])
def test_docker_loads_what_we_save(
    place: Place, two_layers: str, docker: Dockerd, tmp_path: Path, compress: str | None
) -> None:
    target = tmp_path / "saved.tar"
    place.images.save(["app:1"], target, compress=compress)
    assert docker.docker("load", "-i", target) == "Loaded image: app:1\n"
    (shown,) = json.loads(docker.docker("image", "inspect", "app:1"))
    assert shown["Id"] == two_layers
    assert shown["RootFS"]["Layers"] == list(place.images.get("app:1").record.diff_ids)
    assert (shown["Config"]["Cmd"], shown["Config"]["Labels"]) == (["/two"], {"k": "v"})
    container = docker.docker("create", "--network", "none", "app:1").strip()
    docker.docker("export", "-o", tmp_path / "root.tar", container)
    docker.docker("rm", container)
    with tarfile.open(tmp_path / "root.tar") as root:
        assert {"etc/one", "two", "shared"} <= set(root.getnames())


def test_docker_loads_several_images_of_one_archive(
    place: Place, docker: Dockerd, tmp_path: Path
) -> None:
    base = layer("base")
    made = {"one": ["app:1", "x.io/team/app:v1"], "other": ["other:2"]}
    for word, names in made.items():
        place.images.load(io.BytesIO(tar_of(docker_archive([base, layer(word)], names))))
    place.images.save(["app:1", "x.io/team/app:v1", "other:2"], tmp_path / "saved.tar")
    docker.docker("load", "-i", tmp_path / "saved.tar")
    ids = {
        name: docker.docker("image", "inspect", "-f", "{{.Id}}", name).strip()
        for name in ("app:1", "x.io/team/app:v1", "other:2")
    }
    assert ids == {name: place.images.get(name).id for name in ids}
    assert ids["app:1"] == ids["x.io/team/app:v1"] != ids["other:2"]


def test_we_load_what_docker_saves(
    place: Place, elsewhere: Place, two_layers: str, docker: Dockerd, tmp_path: Path
) -> None:
    place.images.save(["app:1"], tmp_path / "saved.tar")
    docker.docker("load", "-i", tmp_path / "saved.tar")
    docker.docker("tag", "app:1", "second:2")
    docker.docker("save", "-o", tmp_path / "theirs.tar", "app:1", "second:2")
    elsewhere.images.load(tmp_path / "theirs.tar")
    for name in ("app:1", "second:2"):
        assert elsewhere.images.get(name).id == two_layers


def test_docker_exports_and_we_import(
    place: Place, two_layers: str, docker: Dockerd, tmp_path: Path
) -> None:
    place.images.save(["app:1"], tmp_path / "saved.tar")
    docker.docker("load", "-i", tmp_path / "saved.tar")
    container = docker.docker("create", "--network", "none", "app:1").strip()
    docker.docker("export", "-o", tmp_path / "root.tar", container)
    docker.docker("rm", container)
    docker.docker("import", tmp_path / "root.tar", "flat:1")
    docker.docker("save", "-o", tmp_path / "flat.tar", "flat:1")
    place.images.load(tmp_path / "flat.tar")
    chain_id = place.images.unpack("flat:1")
    assert chain_id is not None
    assert (place.tree(chain_id) / "etc/one").exists()
