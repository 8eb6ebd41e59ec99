"""Pushes an image as zstd:chunked, for ``make demo``: ``SAVED HOST/REPOSITORY:TAG USER:PASSWORD``.

As ``podman push --compression-format zstd:chunked`` does. SAVED: an image as an OCI layout.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.chunked import Chunked

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CHUNK = 64 * 1024


class Place:
    """A repository in a registry that wants a login."""

    def __init__(self, host: str, repository: str, login: str) -> None:
        self._root, self._repository = f"http://{host}", repository
        self._login = base64.b64encode(login.encode()).decode()

    def send(self, method: str, path: str, body: bytes, kind: str) -> str:
        """Send a request below the repository; return where it says to go on."""
        headers = {"Content-Type": kind, "Authorization": f"Basic {self._login}"}
        url = path if path.startswith("http") else f"{self._root}/v2/{self._repository}/{path}"
        request = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.headers.get("Location") or "")

    def put(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        """Upload a blob; return its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        where = self.send("POST", "blobs/uploads/", b"", "application/octet-stream")
        where = where if where.startswith("http") else self._root + where
        word = "&" if "?" in where else "?"
        self.send("PUT", f"{where}{word}digest={digest}", data, "application/octet-stream")
        return {"mediaType": kind, "digest": digest, "size": len(data), **more}


def changed(layer: bytes) -> bytes:
    """Return a layer with one more file, so that it is not here already."""
    buffer = io.BytesIO(layer)
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        tar.addfile(tarfile.TarInfo("lazy"))
    return buffer.getvalue()


def main(saved: Path, name: str, login: str) -> None:
    """Push the image."""
    host, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    place = Place(host, repository, login)

    def blob(digest: str) -> bytes:
        return (saved / "blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((saved / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    config = json.loads(blob(manifest["config"]["digest"]))
    layers = [changed(blob(each["digest"])) for each in manifest["layers"]]
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config["rootfs"]["diff_ids"] = digests
    packed = [Chunked(layer, chunk=_CHUNK) for layer in layers]
    manifest["mediaType"] = _MANIFEST
    manifest["config"] = place.put(
        json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"
    )
    manifest["layers"] = [
        place.put(each.blob, each.media_type, annotations=each.annotations) for each in packed
    ]
    place.send("PUT", f"manifests/{tag}", json.dumps(manifest).encode(), _MANIFEST)
    size = sum(len(each.blob) for each in packed) / 1e6
    print(f"    (a Debian image of {size:.0f} MB was pushed as zstd:chunked, and is not here)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
