from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.errors import Conflict, InvalidArgument
from knarr.registryd.htpasswd import Users
from knarr.registryd.service import Options
from knarr.web import listening
from tests.support.registries import Client, Serving, basic, serving, sha256
from tests.support.waiting import wait_until
from tests.support.web import everything


def test_ping(client: Client) -> None:
    got = client("GET", "/v2/")
    assert (got.status, got.body) == (200, b"{}")
    assert got.header("Docker-Distribution-API-Version") == "registry/2.0"


def test_addresses_that_are_none(client: Client) -> None:
    for path in ("/", "/v1/search", "/v2/a", "/favicon.ico"):
        got = client("GET", path)
        assert got.status == 404
        assert got.code == "UNSUPPORTED"


def test_the_log_moves_no_cursor(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="knarr.registryd.service"):
        client("GET", "/v2/%C2%9B2J")
        wait_until(lambda: caplog.records)
    assert "GET /v2/?2J 404" in caplog.text


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "BREW", "PATCH"])
def test_methods_that_are_none(client: Client, method: str) -> None:
    got = client(method, "/v2/a/manifests/v1")
    assert (got.status, got.code) == (405, "UNSUPPORTED")
    assert got.header("Allow") == "GET, HEAD, PUT, DELETE"


def test_users(tmp_path: Path, users: Path) -> None:
    with serving(str(tmp_path / "r"), Options(htpasswd=str(users))) as registry:
        client = registry.client()
        for wrong in (
            None,
            "Basic",
            "Basic !",
            "Bearer x",
            "Basic " + "A" * 4000,
            basic("alice", "x"),
            basic("eve", "x"),
            basic("alice", "open sesame\0"),
            basic("", ""),
        ):
            got = client("GET", "/v2/", **({"Authorization": wrong} if wrong else {}))
            assert (got.status, got.code) == (401, "UNAUTHORIZED")
            assert got.header("WWW-Authenticate").startswith("Basic realm=")
        for right in (basic("alice", "open sesame"), basic("bob", "pässword:1")):
            assert client("GET", "/v2/", Authorization=right).status == 200
            assert client("GET", "/v2/", Authorization=right).status == 200  # as it is remembered
        client.close()


def test_users_come_and_go_while_it_serves(users: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = Users(str(users))
    assert known.check("alice", "open sesame")
    users.write_text("".join(users.read_text().splitlines(keepends=True)[2:]))
    assert not known.check("alice", "open sesame")
    assert known.check("bob", "pässword:1")
    users.write_text("rubbish")  # an editor is at work: who could log in still can
    assert known.check("bob", "pässword:1")
    assert known.check("bob", "pässword:1")
    assert caplog.text.count("line 1: want USER:HASH") == 1
    users.unlink()
    assert known.check("bob", "pässword:1")
    assert caplog.text.count("No such file") == 1


def test_a_remembered_password_is_quick(users: Path) -> None:
    known = Users(str(users))
    assert known.check("alice", "open sesame")
    known._crypt = None  # type: ignore[assignment] # must not be asked again
    assert known.check("alice", "open sesame")


@pytest.mark.parametrize("line", ["alice", ":x", "alice:plain", "alice:$apr1$x$y", "alice:{SHA}x"])
def test_files_of_users_that_are_none(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(InvalidArgument, match=r"line 2: want USER:HASH with bcrypt"):
        Users(str(path))


def test_a_file_of_users_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="No such file"):
        Users(str(tmp_path / "none"))


def test_an_empty_file_of_users_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("")
    assert not Users(str(path)).check("", "")
    assert not Users(str(path)).check("x", "")


def test_read_only(tmp_path: Path) -> None:
    with serving(str(tmp_path)) as registry:
        client = registry.client()
        digest, _ = client.push_image("team/app", "v1")
        client.close()
    with serving(str(tmp_path), Options(read_only=True)) as registry:
        client = registry.client()
        assert client("GET", "/v2/team/app/manifests/v1").status == 200
        for method, path in (
            ("POST", "/v2/team/app/blobs/uploads/"),
            ("PUT", "/v2/team/app/manifests/v2"),
            ("DELETE", "/v2/team/app/manifests/v1"),
            ("DELETE", f"/v2/team/app/blobs/{digest}"),
        ):
            got = client(method, path, b"")
            assert (got.status, got.code) == (405, "UNSUPPORTED")
            assert got.text == "this registry is read-only"
        client.close()


def test_one_server_for_a_directory(registry: Serving) -> None:
    with (
        pytest.raises(Conflict, match="another process serves it"),
        serving(registry.service.shelf.root),
    ):
        pass


def test_who_asks_for_a_blob_has_it_kept(client: Client, registry: Serving) -> None:
    digest = client.push_blob("a", b"x")

    def asked() -> float:
        with registry.service.shelf.catalogue.reading() as db:
            return float(db.execute("SELECT asked FROM blob").fetchone()[0])

    before = asked()
    client("HEAD", f"/v2/a/blobs/{digest}")
    assert asked() == before  # not written down for each request
    with registry.service.shelf.catalogue.writing() as db:
        db.execute("UPDATE blob SET asked = 0")
    client("HEAD", f"/v2/a/blobs/{digest}")
    assert asked() >= before


def certificate(folder: Path, name: str, authority: str = "") -> None:
    """Make NAME.crt and NAME.key, signed by an authority or by itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
               "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", f"{name}.key", "-out", f"{name}.crt"]  # fmt: skip
    if authority:
        command += ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_tls_and_certificates_of_clients(tmp_path: Path) -> None:
    certificate(tmp_path, "site")
    certificate(tmp_path, "ca")
    certificate(tmp_path, "alice", "ca")
    path = {name: str(tmp_path / name) for name in ("site.crt", "site.key", "ca.crt")}
    server = listening.tls(path["site.crt"], path["site.key"], path["ca.crt"])
    trusting = ssl.create_default_context(cafile=path["site.crt"])
    with serving(str(tmp_path / "r"), server_tls=server, client_tls=trusting) as registry:
        stranger = registry.client()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            stranger("GET", "/v2/")
        stranger.close()
        trusting.load_cert_chain(tmp_path / "alice.crt", tmp_path / "alice.key")
        client = registry.client()
        data = bytes(1_000_000)
        client.push_blob("a", data)
        assert client("GET", f"/v2/a/blobs/{sha256(data)}").body == data
        got = client("GET", f"/v2/a/blobs/{sha256(data)}", Range="bytes=5-300004")
        assert len(got.body) == 300_000
        client.close()
        with registry.raw() as plain:
            plain.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP" not in everything(plain)


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("x")
    with pytest.raises(InvalidArgument, match="certificate"):
        listening.tls(str(tmp_path / "bad"), None, None)
    with pytest.raises(InvalidArgument, match="No such file"):
        listening.tls(str(tmp_path / "none"), None, None)


_WORDS = st.sampled_from(
    ["v2", "a", "manifests", "blobs", "uploads", "tags", "list", "referrers", "_catalog", "..",
     ".", "", "%2e%2e", "%2F", "%00", "%ff", "v1", sha256(b"x"), "sha256:", "a" * 300, "\u00e4"]
)  # fmt: skip


@settings(max_examples=300)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]),
    words=st.lists(_WORDS, max_size=7),
    query=st.sampled_from(
        ["", "?digest=", "?mount=../x", "?n=-1", "?last=%ff", "?tag=%00", "?digest=sha256:x"]
    ),
    body=st.sampled_from([b"", b"{}", b"x" * 5000]),
    name=st.sampled_from(["Range", "Content-Range", "Authorization", "If-None-Match", "X"]),
    value=st.sampled_from(["bytes=-0", "0-0", "\xff\xfe", "bytes=0-,1-", "*", "9" * 200]),
)
def test_no_request_makes_it_fail(
    fuzzed: Serving, method: str, words: list[str], query: str, body: bytes, name: str, value: str
) -> None:
    """Any status is fine but those of the server's own failures; and it goes on serving."""
    target = ("/" + "/".join(words) + query).encode()
    head = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    head += [name.encode() + b": " + value.encode("latin-1"), b"Content-Length: %d" % len(body)]
    with fuzzed.raw() as link:
        link.sendall(b"\r\n".join([*head, b"", b""]) + body)
        answer = b""
        while data := link.recv(65536):
            answer += data
    status = int(answer.split(b" ", 2)[1])
    assert 200 <= status < 500, answer[:500]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> object:
    with serving(str(tmp_path_factory.mktemp("fuzzed") / "registry")) as made:
        yield made
        found = {path.name for path in Path(made.service.shelf.root).parent.iterdir()}
        assert found == {"registry"}
