"""Archives in and out of skopeo, podman and umoci: they read ours, we read theirs."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.content import digest as digests
from tests.integration.images.conftest import Place
from tests.unit.images.helpers import tar_of
from tests.unit.images.several import several

pytestmark = pytest.mark.peer


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


def run(*argv: Any) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


class Podman:
    """Podman with storage of its own, so that the machine's is not touched."""

    def __init__(self, folder: Path) -> None:
        need("podman")
        self._base = ["podman", "--root", folder / "root", "--runroot", folder / "run"]
        self._base += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]

    def __call__(self, *words: Any) -> str:
        return run(*self._base, *words)


@pytest.fixture
def podman() -> Iterator[Podman]:
    # Podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/var/tmp") as folder:
        yield Podman(Path(folder))


SAVES = [
    ("docker-archive", "docker-archive"),
    ("oci", "oci-archive"),
    ("oci-dir", "oci"),
]


@pytest.mark.parametrize(("archive_format", "transport"), SAVES)
def test_skopeo_reads_what_we_save(
    place: Place, two_layers: str, tmp_path: Path, archive_format: str, transport: str
) -> None:
    need("skopeo")
    target = tmp_path / "saved"
    place.images.save(["app:1"], target, format=archive_format)
    shown = json.loads(run("skopeo", "inspect", f"{transport}:{target}"))
    assert shown["Architecture"] == "amd64"
    assert shown["Labels"] == {"k": "v"}
    config = json.loads(run("skopeo", "inspect", "--config", f"{transport}:{target}"))
    assert config == place.images.config("app:1")
    run("skopeo", "copy", "-q", f"{transport}:{target}", f"dir:{tmp_path / 'copy'}")


@pytest.mark.parametrize(
    ("archive_format", "compress"),
    [
        ("docker-archive", None),
        ("docker-archive", "gzip"),
        ("docker-archive", "zstd"),
        ("oci", None),
    ],
)
def test_podman_loads_what_we_save(
    place: Place, two_layers: str, podman: Podman, tmp_path: Path, archive_format: str,
    compress: str | None,
) -> None:  # fmt: skip
    target = tmp_path / "saved.tar"
    place.images.save(["app:1"], target, format=archive_format, compress=compress)
    assert "app:1" in podman("load", "-q", "-i", target)
    shown = json.loads(podman("image", "inspect", "app:1"))[0]
    assert f"sha256:{shown['Id']}" == two_layers
    assert shown["RootFS"]["Layers"] == list(place.images.get("app:1").record.diff_ids)


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci"])
def test_podman_takes_this_machines_platform(
    place: Place, podman: Podman, tmp_path: Path, archive_format: str
) -> None:
    place.images.load(io.BytesIO(tar_of(several().done())))
    place.images.save(["app:1"], tmp_path / "saved.tar", format=archive_format)
    assert "app:1" in podman("load", "-q", "-i", tmp_path / "saved.tar")
    shown = json.loads(podman("image", "inspect", "app:1"))[0]
    assert f"sha256:{shown['Id']}" == place.images.get("app:1").id


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("docker-archive:{}:x.io/app:2", ()),
        ("oci-archive:{}:x.io/app:2", ()),
        ("oci:{}:x.io/app:2", ()),
        ("oci-archive:{}:x.io/app:2", ("--dest-compress-format", "zstd")),
    ],
)
def test_we_load_what_skopeo_writes(
    place: Place, elsewhere: Place, two_layers: str, tmp_path: Path, target: str,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    need("skopeo")
    place.images.save(["app:1"], tmp_path / "saved.tar")
    path = tmp_path / "theirs"
    source = f"docker-archive:{tmp_path / 'saved.tar'}"
    run("skopeo", "copy", "-q", *options, source, target.format(path))
    loaded = elsewhere.images.load(path).images[0]
    assert loaded.names == ("x.io/app:2",)
    record = elsewhere.images.get(loaded.id).record
    assert record.diff_ids == place.images.get("app:1").record.diff_ids
    assert record.layer_sizes == place.images.get("app:1").record.layer_sizes
    if target.startswith("docker"):
        assert loaded.id == two_layers
    assert elsewhere.images.unpack("x.io/app:2") == digests.chain_ids(record.diff_ids)[-1]
    assert elsewhere.blobs() == set(record.blobs)


@pytest.mark.parametrize("options", [(), ("--format", "oci-archive"), ("-m",)])
def test_we_load_what_podman_saves(
    place: Place, elsewhere: Place, two_layers: str, podman: Podman, tmp_path: Path,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    place.images.save(["app:1"], tmp_path / "saved.tar")
    podman("load", "-q", "-i", tmp_path / "saved.tar")
    podman("tag", "app:1", "localhost/second:2")
    names = ["app:1", "localhost/second:2"] if "-m" in options else ["app:1"]
    podman("save", "-q", *options, "-o", tmp_path / "theirs.tar", *names)
    loaded = elsewhere.images.load(tmp_path / "theirs.tar").images
    assert [image.id for image in loaded] == [two_layers]
    assert set(names) <= set(loaded[0].names)


def test_umoci_unpacks_what_we_save(place: Place, two_layers: str, tmp_path: Path) -> None:
    need("umoci")
    place.images.save(["app:1"], tmp_path / "layout", format="oci-dir")
    run("umoci", "raw", "unpack", "--image", f"{tmp_path / 'layout'}:1", tmp_path / "root")
    assert (tmp_path / "root" / "etc" / "one").read_text() == "content of etc/one"
    assert (tmp_path / "root" / "two").exists()


def test_we_load_what_umoci_makes(place: Place, tmp_path: Path) -> None:
    need("umoci")
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:x.io-app")
    run("umoci", "unpack", "--image", f"{layout}:x.io-app", bundle)
    (bundle / "rootfs" / "hello").write_text("hello")
    run("umoci", "repack", "--image", f"{layout}:x.io-app", bundle)
    run("umoci", "config", "--config.cmd", "/hello", "--image", f"{layout}:x.io-app")
    loaded = place.images.load(layout).images[0]
    assert loaded.names == ()
    assert place.images.config(loaded.id)["config"]["Cmd"] == ["/hello"]
    root = place.tree(place.images.unpack(loaded.id) or "")
    assert (root / "hello").read_text() == "hello"


def test_podman_exports_and_we_import(
    place: Place, two_layers: str, podman: Podman, tmp_path: Path
) -> None:
    place.images.save(["app:1"], tmp_path / "saved.tar")
    podman("load", "-q", "-i", tmp_path / "saved.tar")
    container = podman("create", "app:1", "/two").strip()
    podman("export", "-o", tmp_path / "root.tar", container)
    podman("rm", container)
    image = place.images.import_(tmp_path / "root.tar", "flat", changes=['CMD ["/two"]'])
    with tarfile.open(tmp_path / "root.tar") as tar:
        assert "two" in tar.getnames()
    root = place.tree(place.images.unpack(image) or "")
    assert (root / "shared").read_text() == "content of shared"
