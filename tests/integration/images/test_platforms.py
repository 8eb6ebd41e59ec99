"""Images for several platforms between knarr and skopeo: the digests stay what they were."""

import hashlib
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Place
from tests.unit.images.helpers import Layout, config_of, layer, tar_of

pytestmark = pytest.mark.peer

SHARED, OWN = layer("shared"), layer("etc/own")


def skopeo(*words: Any) -> str:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    argv = ["skopeo", *(str(word) for word in words)]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """An image for three platforms with an attestation, as skopeo copies it into a layout."""
    layout = Layout()
    entries = []
    for architecture in ("amd64", "arm64", "s390x"):
        layers = [SHARED, OWN] if architecture == "arm64" else [SHARED]
        config = config_of(layers, architecture=architecture)
        platform = {"os": "linux", "architecture": architecture}
        entries.append(layout.image(layers, config=config, top=False, platform=platform))
    layout.index([*entries, layout.attestation(entries[0])])
    layout.entries[0]["annotations"] = {"org.opencontainers.image.ref.name": "x.io/app:1"}
    (tmp_path / "made.tar").write_bytes(tar_of(layout.done()))
    target = tmp_path / "theirs"
    skopeo("copy", "-q", "--all", f"oci-archive:{tmp_path / 'made.tar'}:x.io/app:1",
           f"oci:{target}:x.io/app:1")  # fmt: skip
    return target


def blobs(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in found.items())
    return found


def test_through_knarr_and_back_nothing_changes(place: Place, theirs: Path, tmp_path: Path) -> None:
    loaded = place.images.load(theirs).images[0]
    assert loaded.names == ("x.io/app:1",)
    assert loaded.platforms == ("linux/amd64", "linux/arm64", "linux/s390x")
    place.images.save(["x.io/app:1"], tmp_path / "ours", format="oci-dir")
    assert blobs(tmp_path / "ours") == blobs(theirs)
    skopeo("copy", "-q", "--all", f"oci:{tmp_path / 'ours'}:1", f"oci:{tmp_path / 'back'}:1")
    assert blobs(tmp_path / "back") == blobs(theirs)
    top = json.loads((theirs / "index.json").read_bytes())["manifests"][0]["digest"]
    assert (
        json.loads((tmp_path / "back" / "index.json").read_bytes())["manifests"][0]["digest"] == top
    )
    assert place.images.get(f"x.io/app@{top}").id == loaded.id


@pytest.mark.parametrize(
    ("archive_format", "transport"), [("docker-archive", "docker-archive"), ("oci", "oci-archive")]
)
@pytest.mark.parametrize("platform", ["linux/arm64", "linux/s390x", None])
def test_skopeo_reads_one_platform_of_what_we_save(
    place: Place,
    theirs: Path,
    tmp_path: Path,
    archive_format: str,
    transport: str,
    platform: str | None,
) -> None:
    place.images.load(theirs)
    target = tmp_path / "saved.tar"
    place.images.save(["x.io/app:1"], target, format=archive_format, platform=platform)
    words = ["--override-arch", platform.partition("/")[2]] if platform else []
    config = json.loads(skopeo(*words, "inspect", "--config", f"{transport}:{target}"))
    wanted = place.images.get("x.io/app:1", platform)
    assert config == place.images.config(wanted)
    if transport == "oci-archive" and platform:
        raw = skopeo("inspect", "--raw", f"{transport}:{target}").encode()
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == wanted.record.manifest_digest


def test_a_platform_that_skopeo_took_out_is_the_same_image(
    place: Place, elsewhere: Place, theirs: Path, tmp_path: Path
) -> None:
    place.images.load(theirs)
    place.images.save(["x.io/app:1"], tmp_path / "ours.tar", format="oci")
    skopeo("--override-arch", "arm64", "copy", "-q", f"oci-archive:{tmp_path / 'ours.tar'}",
           f"oci-archive:{tmp_path / 'arm.tar'}:x.io/arm:1")  # fmt: skip
    image = elsewhere.images.load(tmp_path / "arm.tar").images[0]
    assert elsewhere.images.get(image.id).record == place.images.get("x.io/app:1", "arm64").record


def test_compressed_and_through_a_pipe(place: Place, elsewhere: Place, theirs: Path) -> None:
    place.images.load(theirs)
    for compress in ("gzip", "zstd"):
        out = io.BytesIO()
        place.images.save(["x.io/app:1"], out, compress=compress)
        elsewhere.images.load(io.BytesIO(out.getvalue()))
        assert elsewhere.index.sets == place.index.sets
        assert elsewhere.blobs() == place.blobs()
