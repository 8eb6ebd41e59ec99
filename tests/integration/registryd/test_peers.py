"""Other people's clients push to the registry and pull from it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import dockerregistry
from tests.support.registries import Client, sha256

if TYPE_CHECKING:
    from tests.integration.registryd.conftest import Served

    Serve = Callable[..., Served]

pytestmark = pytest.mark.peer


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


def run(*argv: Any, expect: int = 0, **options: Any) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, check=False, timeout=300, **options)
    said: str = done.stdout.decode() + done.stderr.decode()
    assert bool(done.returncode) == bool(expect), said
    return said


@pytest.fixture
def layout(tmp_path: Path, busybox_archive: Path) -> str:
    """An OCI layout with busybox, as skopeo writes it."""
    need("skopeo")
    where = f"oci:{tmp_path}/layout:busybox"
    run("skopeo", "copy", f"docker-archive:{busybox_archive}", where)
    return where


def test_skopeo(serve: Serve, layout: str, tmp_path: Path) -> None:
    served = serve()
    there = f"docker://127.0.0.1:{served.port}/team/busybox"
    run("skopeo", "copy", "--dest-tls-verify=false", layout, f"{there}:v1")
    found = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"{there}:v1"))
    assert found["RepoTags"] == ["v1"]
    run("skopeo", "copy", "--src-tls-verify=false", f"{there}:v1", f"oci:{tmp_path}/back:busybox")
    ours = {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()}
    assert {path.name for path in (tmp_path / "back/blobs/sha256").iterdir()} == ours
    # Between repositories: the layers are mounted.
    run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"{there}:v1",
        f"docker://127.0.0.1:{served.port}/team/copy:v1")  # fmt: skip
    run("skopeo", "copy", "--dest-tls-verify=false", "--format", "v2s2", layout, f"{there}:v2")
    raw = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"{there}:v2"))
    assert raw["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    run("skopeo", "delete", "--tls-verify=false", f"{there}:v1")
    assert "v2" in run("skopeo", "list-tags", "--tls-verify=false", there)
    run("skopeo", "inspect", "--tls-verify=false", f"{there}:v1", expect=1)


def test_skopeo_is_told_why_a_tag_cannot_move(serve: Serve, layout: str) -> None:
    served = serve("--immutable")
    there = f"docker://127.0.0.1:{served.port}/team/busybox:v1"
    run("skopeo", "copy", "--dest-tls-verify=false", layout, there)
    run("skopeo", "copy", "--dest-tls-verify=false", layout, there)  # the same again
    said = run("skopeo", "copy", "--dest-tls-verify=false", "--format", "v2s2", layout, there,
               expect=1)  # fmt: skip
    assert "tag team/busybox:v1 is immutable here and stands for sha256:" in said


def test_skopeo_with_tls_and_a_user(serve: Serve, layout: str, tmp_path: Path) -> None:
    need("openssl")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "ca.key", "-out", "ca.crt",
        cwd=tmp_path)  # fmt: skip
    from knarr.registryd.htpasswd import Crypt

    hashed = Crypt()("secret", "$2y$05$abcdefghijklmnopqrstuu")
    (tmp_path / "users").write_text(f"alice:{hashed}\n")
    served = serve("--tls-cert", f"{tmp_path}/ca.crt", "--tls-key", f"{tmp_path}/ca.key",
                   "--htpasswd", f"{tmp_path}/users")  # fmt: skip
    there = f"docker://127.0.0.1:{served.port}/team/busybox:v1"
    (tmp_path / "certs").mkdir()
    shutil.copy(tmp_path / "ca.crt", tmp_path / "certs/ca.crt")
    base = ("skopeo", "copy", "--dest-cert-dir", tmp_path / "certs")
    said = run(*base, layout, there, expect=1)
    assert "a user and a password" in said or "authentication required" in said
    run(*base, "--dest-creds", "alice:secret", layout, there)
    run(*base, "--dest-creds", "alice:wrong", layout, there, expect=1)


@pytest.fixture
def rights(tmp_path: Path) -> tuple[str, ...]:
    """Flags by which anybody pulls from public/*, alice pushes there, and bob may do nothing."""
    from knarr.registryd.htpasswd import Crypt

    hashed = Crypt()("secret", "$2y$05$abcdefghijklmnopqrstuu")
    (tmp_path / "users").write_text(f"alice:{hashed}\nbob:{hashed}\n")
    (tmp_path / "access.toml").write_text(
        '[repositories."public/*"]\npull = ["anonymous"]\npush = ["alice"]\ndelete = ["alice"]\n'
        '[repositories."team/*"]\npush = ["alice"]\n'
    )
    return ("--htpasswd", f"{tmp_path}/users", "--access", f"{tmp_path}/access.toml")


def test_skopeo_with_tokens(
    serve: Serve, layout: str, rights: tuple[str, ...], tmp_path: Path
) -> None:
    served = serve(*rights)
    base = f"docker://127.0.0.1:{served.port}"
    there = f"{base}/public/busybox:v1"
    push = ("skopeo", "copy", "--dest-tls-verify=false")
    pull = ("skopeo", "copy", "--src-tls-verify=false")
    run(*push, layout, there, expect=1)
    run(*push, "--dest-creds", "alice:wrong", layout, there, expect=1)
    said = run(*push, "--dest-creds", "bob:secret", layout, there, expect=1)
    assert "bob may not push to public/busybox here" in said
    run(*push, "--dest-creds", "alice:secret", layout, there)
    run(*pull, there, f"oci:{tmp_path}/anybody:busybox")
    run(*push, "--dest-creds", "alice:secret", layout, f"{base}/team/busybox:v1")
    run(*pull, f"{base}/team/busybox:v1", f"oci:{tmp_path}/none:busybox", expect=1)
    # Between repositories: the token is for both.
    run(*push, "--src-tls-verify=false", "--src-creds", "alice:secret", "--dest-creds",
        "alice:secret", f"{base}/team/busybox:v1", f"{base}/public/copy:v1")  # fmt: skip
    delete = ("skopeo", "delete", "--tls-verify=false")
    run(*delete, "--creds", "bob:secret", there, expect=1)
    run(*delete, "--creds", "alice:secret", there)


def test_podman_with_tokens(
    serve: Serve, podman: Callable[..., str], rights: tuple[str, ...], busybox_archive: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    served = serve(*rights)
    host = f"127.0.0.1:{served.port}"
    login = ("login", "--tls-verify=false", "--authfile", tmp_path / "auth.json", "-u", "alice")
    podman("load", "-i", busybox_archive)
    with pytest.raises(AssertionError, match="invalid username/password"):
        podman(*login, "-p", "wrong", host)
    podman(*login, "-p", "secret", host)
    name = f"{host}/public/busybox:v1"
    podman("tag", "busybox:latest", name)
    podman("push", "--tls-verify=false", "--authfile", tmp_path / "auth.json", name)
    podman("rmi", "-a", "-f")
    podman("pull", "--tls-verify=false", name)


@pytest.fixture
def podman() -> Iterator[Callable[..., str]]:
    """Podman with storage of its own."""
    need("podman")
    # Podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="kp-", dir="/var/tmp") as folder:
        base = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        base += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]

        def call(*words: Any) -> str:
            return run(*base, *words)

        yield call


def test_podman(serve: Serve, podman: Callable[..., str], busybox_archive: Path) -> None:
    served = serve()
    name = f"127.0.0.1:{served.port}/team/busybox:v1"
    podman("load", "-i", busybox_archive)
    podman("tag", "busybox:latest", name)
    podman("push", "--tls-verify=false", name)
    before = podman("image", "inspect", "-f", "{{.Id}}", name)
    podman("rmi", "-a", "-f")
    podman("pull", "--tls-verify=false", name)
    assert podman("image", "inspect", "-f", "{{.Id}}", name) == before
    assert "busybox" in podman("search", "--tls-verify=false", f"127.0.0.1:{served.port}/busybox")


def test_manifest_lists_of_podman(
    serve: Serve, podman: Callable[..., str], busybox_archive: Path
) -> None:
    served = serve()
    podman("load", "-i", busybox_archive)
    podman("manifest", "create", "all")
    podman("manifest", "add", "all", "containers-storage:localhost/busybox:latest")
    there = f"docker://127.0.0.1:{served.port}/team/all:v1"
    podman("manifest", "push", "--tls-verify=false", "--all", "all", there)
    client = Client(served.port)
    found = client("GET", "/v2/team/all/manifests/v1").json
    assert "manifests" in found
    for each in found["manifests"]:
        assert client("GET", f"/v2/team/all/manifests/{each['digest']}").status == 200
    client.close()


def test_dxf(serve: Serve, tmp_path: Path) -> None:
    if importlib.util.find_spec("dxf") is None:
        pytest.skip("python-dxf is not installed")
    from dxf import DXF

    served = serve()
    data = os.urandom(1_000_000)
    (tmp_path / "blob").write_bytes(data)
    with DXF(f"127.0.0.1:{served.port}", "team/blobs", insecure=True) as dxf:
        digest = dxf.push_blob(str(tmp_path / "blob"))
        assert digest == sha256(data)
        dxf.set_alias("latest", digest)
        assert dxf.get_alias("latest") == [digest]
        assert dxf.list_aliases() == ["latest"]
        pulled = dxf.pull_blob(digest)
        assert not isinstance(pulled, tuple)  # with its size, which was not asked for
        assert b"".join(pulled) == data
        assert dxf.blob_size(digest) == len(data)
        dxf.del_alias("latest")
        dxf.del_blob(digest)
        assert dxf.list_aliases() == []


def test_oras(serve: Serve, tmp_path: Path) -> None:
    if importlib.util.find_spec("oras") is None:
        pytest.skip("oras is not installed")
    import oras.client

    served = serve()
    (tmp_path / "artifact.txt").write_text("hello artifact")
    client = oras.client.OrasClient(hostname=f"127.0.0.1:{served.port}", insecure=True)
    target = f"127.0.0.1:{served.port}/team/artifact:v1"
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        got = client.push(files=["artifact.txt"], target=target)
        assert got.status_code == 201
        pulled = client.pull(target=target, outdir=str(tmp_path / "out"))
    finally:
        os.chdir(before)
    assert [Path(path).read_text() for path in pulled] == ["hello artifact"]
    assert client.get_tags(target) == ["v1"]


def blobs(layout: str) -> set[str]:
    """Return the names of all blobs of a layout ``oci:FOLDER:NAME``."""
    return {path.name for path in Path(layout.split(":")[1], "blobs/sha256").iterdir()}


def test_copies_of_docker_registry(serve: Serve, layout: str, tmp_path: Path) -> None:
    with dockerregistry.running(tmp_path) as host:
        dockerregistry.skopeo("copy", layout, f"docker://{host}/team/busybox:v1")
        served = serve("--proxy", f"up={host}", "--root", str(tmp_path / "ours"))
        here = f"docker://127.0.0.1:{served.port}/up/team/busybox:v1"
        dockerregistry.skopeo("copy", here, f"oci:{tmp_path}/first:busybox")
    # It has ended, and the copy is there.
    dockerregistry.skopeo("copy", here, f"oci:{tmp_path}/second:busybox")
    assert blobs(f"oci:{tmp_path}/first:x") == blobs(f"oci:{tmp_path}/second:x") == blobs(layout)


def test_docker_registry_as_a_cache_of_ours(serve: Serve, layout: str, tmp_path: Path) -> None:
    served = serve()
    dockerregistry.skopeo("copy", layout, f"docker://127.0.0.1:{served.port}/team/busybox:v1")
    proxy = f"proxy: {{remoteurl: 'http://127.0.0.1:{served.port}'}}\n"
    with dockerregistry.running(tmp_path, more=proxy) as host:
        dockerregistry.skopeo(
            "copy", f"docker://{host}/team/busybox:v1", f"oci:{tmp_path}/back:busybox"
        )
    assert blobs(f"oci:{tmp_path}/back:x") == blobs(layout)
