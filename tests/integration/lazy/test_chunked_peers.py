"""Layers of zstd:chunked as podman, buildah and skopeo make them, left to come."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knarr import ContainerConfig, Engine
from knarr.config import Settings
from knarr.errors import Unsupported
from knarr.images import tars as kept
from knarr.images.context import ProgressEvent
from knarr.images.lazy import expected
from tests.support import busybox, dockerregistry
from tests.support.dockerregistry import skopeo
from tests.support.processes import listener
from tests.support.tars import Tree, directory, file, hardlink, symlink, tar, tree
from tests.support.waiting import wait_until
from tests.unit.images.helpers import config_of, docker_archive, tar_of

pytestmark = pytest.mark.peer
RANDOM = os.urandom(2_000_000)
HOLES = os.urandom(5000) + bytes(3_000_000) + os.urandom(700) + bytes(1100) + b"end"


def base() -> bytes:
    whole = busybox.layer().rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    more = tar(
        directory("d", 0o1777, uid=3, gid=4),
        file("d/random", RANDOM, mode=0o4711, uid=70_000, gid=5),
        file("d/holes", HOLES),
        file("d/text", b"".join(b"line %d\n" % n for n in range(100_000))),
        file("d/" + "long" * 50, b"long"),
        file("d/with", b"with", xattrs={b"user.x": b"\xff\0y"}),
        hardlink("d/again", "d/random"),
        symlink("d/link", "text"),
        file("d/gone", b"gone"),
        file("d/none"),
    )
    return whole + more


def upper() -> bytes:
    return tar(
        directory("d"), file("d/.wh.gone"), file("d/new", RANDOM[::-1]), file("d/text", b"other")
    )


def _run(*words: str | Path) -> str:
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


Tool = Callable[..., str]


@pytest.fixture
def tool() -> Iterator[Tool]:
    """Podman or buildah, with storage of their own for this test."""
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/var/tmp") as folder:

        def run(name: str, *words: str | Path) -> str:
            where = ("--root", f"{folder}/root", "--runroot", f"{folder}/run")
            return _run(name, *where, "--storage-driver", "vfs", *words)

        yield run


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    layers = [base(), upper()]
    path = tmp_path / "made.tar"
    path.write_bytes(tar_of(docker_archive(layers, ["app:1"], config=config_of(layers))))
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with dockerregistry.running(tmp_path) as host:
        yield host


@pytest.fixture
def lazy(settings: Settings) -> Iterator[Engine]:
    with Engine(settings) as engine:
        try:
            expected.check(engine.driver)
        except Unsupported as error:
            pytest.skip(str(error))
        yield engine
        for image in engine.images.list():
            engine.images.remove(image.record.id, force=True)

    def is_over() -> bool:
        try:
            return not listener(f"{settings.run_root}/lazy.sock")
        except OSError:
            return True

    wait_until(is_over)


def push(tool: Tool, how: str, archive: Path, name: str) -> None:
    chunked = ("--format", "oci", "--compression-format", "zstd:chunked")
    if how == "skopeo":
        packed = ("--dest-compress", "--dest-compress-format", "zstd:chunked", "--format", "oci")
        skopeo("copy", *packed, f"docker-archive:{archive}", f"docker://{name}")
    elif how == "podman":
        tool("podman", "load", "-q", "-i", archive)
        tool("podman", "push", "-q", "--tls-verify=false", *chunked, "localhost/app:1", name)
    else:
        tool("buildah", "pull", "-q", f"docker-archive:{archive}")
        tool("buildah", "push", "-q", "--tls-verify=false", *chunked, "app:1", f"docker://{name}")


def seen(settings: Settings) -> list[Tree]:
    """Return what the layers that are mounted look like, each file read."""
    places = sorted(Path(settings.run_root, "layers").iterdir())
    return sorted((tree(place) for place in places), key=len)


@pytest.mark.parametrize("how", ["podman", "buildah", "skopeo"])
def test_a_container_of_what_they_push(
    lazy: Engine, tool: Tool, server: str, archive: Path, how: str
) -> None:
    name = f"{server}/p/app:1"
    push(tool, how, archive, name)
    raw = json.loads(skopeo("inspect", "--raw", f"docker://{name}"))
    told: list[ProgressEvent] = []
    (pulled,) = lazy.images.pull(name, lazy=True, progress=told.append)
    assert [each.subject for each in told if each.action == "Arriving"] == [
        layer["digest"] for layer in raw["layers"]
    ]
    assert [each for each in told if each.action == "Warning"] == []
    early = seen(lazy.settings)
    script = "cat /d/text; test ! -e /d/gone && wc -c </d/holes"
    ran = lazy.containers.run(ContainerConfig(name, ("sh", "-c", script), auto_remove=True))
    assert ran.stdout == b"other%d\n" % len(HOLES)
    wait_until(lambda: not os.path.exists(f"{lazy.settings.data_root}/snapshots/coming"))
    assert all(kept.has(lazy.content, layer["digest"]) for layer in raw["layers"])
    lazy.containers.run(ContainerConfig(name, ("true",), auto_remove=True))  # mounts them anew
    late = seen(lazy.settings)
    assert early == late
    assert lazy.images.verify().is_well
    sizes = [lazy.content.stat(diff_id) for diff_id in pulled.record.diff_ids]
    assert all(abs(a - b) < b / 20 for a, b in zip(pulled.record.layer_sizes, sizes, strict=True))
    lazy.images.prune()
    assert list(lazy.images.get(name).record.layer_sizes) == sizes
    assert lazy.images.get(name).record.size == sum(sizes)


def test_a_push_that_leaves_out_the_digest(
    lazy: Engine, tool: Tool, server: str, archive: Path
) -> None:
    push(tool, "podman", archive, f"{server}/p/app:1")
    name = f"{server}/p/app:2"
    push(tool, "podman", archive, name)
    layers = json.loads(skopeo("inspect", "--raw", f"docker://{name}"))["layers"]
    if any("annotations" in layer for layer in layers):
        pytest.skip("this podman tells it again")
    told: list[ProgressEvent] = []
    lazy.images.pull(name, lazy=True, progress=told.append)
    lines = [each.subject for each in told if each.action == "Warning"]
    assert len(lines) == 2
    assert all("a zstd:chunked whose manifest has no digest of its table" in each for each in lines)
    assert not os.path.exists(f"{lazy.settings.data_root}/snapshots/coming")
