"""What podman pushes we pull, and the reverse: the same image on both sides."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.images.conftest import Place
from tests.integration.images.test_peers import need

pytestmark = pytest.mark.peer
Podman = Callable[..., str]


@pytest.fixture
def podman() -> Iterator[Podman]:
    need("podman")
    # Podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/var/tmp") as folder:
        base = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run",
                "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]  # fmt: skip

        def run(*words: str) -> str:
            done = subprocess.run([*base, *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        yield run


@pytest.mark.parametrize("format", ["oci", "v2s2"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_podman_pushes_and_we_pull(
    place: Place, podman: Podman, server: str, busybox_archive: Path, format: str, compression: str
) -> None:
    if (format, compression) == ("v2s2", "zstd"):
        pytest.skip("Docker's schema 2 has no zstd")
    podman("load", "-q", "-i", str(busybox_archive))
    podman("push", "-q", "--tls-verify=false", "--format", format, "--compression-format",
           compression, "localhost/busybox:latest", f"{server}/p/busybox:1")  # fmt: skip
    (pulled,) = place.images.pull(f"{server}/p/busybox:1")
    podman("rmi", "-f", "localhost/busybox:latest")
    identity = podman("pull", "-q", "--tls-verify=false", f"{server}/p/busybox:1").strip()
    theirs = json.loads(podman("image", "inspect", identity))[0]
    assert pulled.record.id == f"sha256:{theirs['Id']}"
    assert pulled.digest == theirs["Digest"]
    assert list(pulled.record.diff_ids) == theirs["RootFS"]["Layers"]
    assert (place.tree(pulled.record.chain_id) / "bin/busybox").exists()


def test_we_push_and_podman_pulls(
    place: Place, podman: Podman, server: str, busybox_archive: Path
) -> None:
    place.images.load(str(busybox_archive))
    place.images.tag("busybox", f"{server}/k/busybox:1")
    (pushed,) = place.images.push(f"{server}/k/busybox:1")
    identity = podman("pull", "-q", "--tls-verify=false", f"{server}/k/busybox:1").strip()
    assert place.images.get("busybox").id == f"sha256:{identity}"
    shown = json.loads(podman("image", "inspect", identity))[0]
    assert shown["Digest"] == pushed.digest
