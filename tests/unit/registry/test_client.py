"""One request: schemes, redirects, attempts, limits; against a server that does as told."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from knarr.errors import InvalidArchive, NotFound, Timeout, Unavailable
from knarr.registry.credentials import Credentials
from knarr.registry.hosts import Hosts
from knarr.registry.repository import Registry
from tests.support.fakeregistry import OCI_MANIFEST, FakeRegistry, Request, serving
from tests.unit.registry.conftest import QUICK

ACCEPT = (OCI_MANIFEST,)
NOTHING = "sha256:" + "0" * 64


def times(count: int, status: int, **headers: str) -> tuple[list[int], object]:
    """Return (seen, hook): the hook answers ``status`` so many times and then stands aside."""
    seen: list[int] = []

    def hook(request: Request) -> bool:
        if request.path == "/v2/" or len(seen) == count:
            return False
        seen.append(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request.reply(status, b"", named)
        return True

    return seen, hook


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(fake: FakeRegistry, registry: Registry, status: int) -> None:
    seen, hook = times(3, status, Retry_After="0")
    fake.hooks.append(hook)  # type: ignore[arg-type]
    fake.add_manifest("1", {})
    assert registry.repository("app").manifest("1", ACCEPT).body == b"{}"
    assert len(seen) == 3


def test_it_is_not_asked_for_ever(fake: FakeRegistry, registry: Registry) -> None:
    seen, hook = times(99, 503)
    fake.hooks.append(hook)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="503 Service Unavailable"):
        registry.repository("app").manifest("1", ACCEPT)
    assert len(seen) == QUICK.attempts


@pytest.mark.parametrize("status", [400, 404, 405, 418])
def test_what_will_not_change_is_asked_once(
    fake: FakeRegistry, registry: Registry, status: int
) -> None:
    seen, hook = times(99, status)
    fake.hooks.append(hook)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=str(status)):
        registry.repository("app").manifest("1", ACCEPT)
    assert len(seen) == 1


def test_a_connection_that_ends_before_the_answer(fake: FakeRegistry, registry: Registry) -> None:
    seen: list[int] = []

    def hook(request: Request) -> bool:
        if request.path == "/v2/" or len(seen) == 2:
            return False
        seen.append(1)
        request.close_connection = True
        return True

    fake.hooks.append(hook)
    fake.add_manifest("1", {})
    assert registry.repository("app").manifest("1", ACCEPT).body == b"{}"


def test_a_server_that_says_nothing(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if request.path != "/v2/":
            request.rfile.read(1)  # until the client hangs up
        return request.path != "/v2/"

    fake.hooks.append(hook)
    with pytest.raises(Timeout, match="does not answer"):
        registry.repository("app").manifest("1", ACCEPT)


def test_a_server_that_never_ends(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if request.path == "/v2/":
            return False
        request.send_response(200)
        request.send_header("Content-Type", OCI_MANIFEST)
        request.end_headers()
        request.close_connection = True
        while True:  # until the client hangs up
            request.wfile.write(b" " * 65536)

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match="longer than 4194304 bytes"):
        registry.repository("app").manifest("1", ACCEPT)


def test_redirects_have_an_end(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        request.reply(307, b"", {"Location": request.path + "x"})
        return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match="more than 10 redirects"):
        registry.repository("app").manifest("1", ACCEPT)


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://", "http://[x", "gopher://a",
                                      "http://a:0/", "http://a:b/", "http://ü/"])  # fmt: skip
def test_redirects_that_lead_nowhere(fake: FakeRegistry, registry: Registry, location: str) -> None:
    def hook(request: Request) -> bool:
        if request.path == "/v2/":
            return False
        request.reply(302, b"", {"Location": location.encode().decode("latin-1")})
        return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match="redirect"):
        registry.repository("app").manifest("1", ACCEPT)


def test_a_kept_connection_that_was_closed_is_replaced(
    fake: FakeRegistry, registry: Registry
) -> None:
    def hook(request: Request) -> bool:
        request.close_connection = True  # without having said so
        return False

    fake.hooks.append(hook)
    fake.add_manifest("1", {})
    for _ in range(3):
        registry.repository("app").manifest("1", ACCEPT)


def test_connections_are_kept(fake: FakeRegistry, registry: Registry) -> None:
    ports = set()

    def hook(request: Request) -> bool:
        ports.add(request.client_address)
        return False

    fake.hooks.append(hook)
    fake.add_manifest("1", {})
    for _ in range(5):
        registry.repository("app").manifest("1", ACCEPT)
    assert len(ports) == 1


def test_html_is_no_manifest(fake: FakeRegistry, registry: Registry) -> None:
    fake.add_manifest("1", b"<html>log in</html>", "text/html; charset=utf-8")
    with pytest.raises(InvalidArchive, match="web page"):
        registry.repository("app").manifest("1", ACCEPT)
    fake.hooks.append(times(99, 502, Content_Type="text/html")[1])  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="502 Bad Gateway with a web page"):
        registry.repository("app").manifest("1", ACCEPT)


def test_a_manifest_that_is_not_what_its_digest_says(
    fake: FakeRegistry, registry: Registry
) -> None:
    fake.manifests[NOTHING] = (OCI_MANIFEST, b"{}")
    with pytest.raises(InvalidArchive, match="is corrupt"):
        registry.repository("app").manifest(NOTHING, ACCEPT)


def test_a_tag_with_another_digest_than_the_registry_says(
    fake: FakeRegistry, registry: Registry
) -> None:
    def hook(request: Request) -> bool:
        request.reply(200, b"{}", {"Docker-Content-Digest": NOTHING})
        return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match="is corrupt"):
        registry.repository("app").manifest("1", ACCEPT)


def test_warnings_are_told_once(fake: FakeRegistry, home: dict[str, str]) -> None:
    def hook(request: Request) -> bool:
        request.reply(200, b"{}", {"Warning": '299 - "this registry closes \\"soon\\""'})
        return True

    fake.hooks.append(hook)
    told: list[str] = []
    with Registry(fake.host, Hosts(()), Credentials(home), environ=home, patience=QUICK,
                  notice=told.append) as registry:  # fmt: skip
        for _ in range(2):
            registry.repository("app").manifest("1", ACCEPT)
    assert told == [f'{fake.host}: this registry closes "soon"']


def certificate(folder: Path) -> ssl.SSLContext:
    """Return a server's context with a new certificate for 127.0.0.1, in folder/ca.crt."""
    key, file = folder / "key.pem", folder / "ca.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", file, "-days", "2", "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[FakeRegistry]:
    with serving(certificate(tmp_path)) as server:
        server.add_manifest("1", {})
        yield server


def test_a_loopback_registry_with_tls(tls: FakeRegistry, home: dict[str, str]) -> None:
    with Registry(tls.host, Hosts(()), environ=home, patience=QUICK) as registry:
        assert registry.repository("app").manifest("1", ACCEPT).body == b"{}"
    assert all("Authorization" not in headers for _, _, headers in tls.log)


def test_an_authority_of_its_own(tls: FakeRegistry, home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "certs.d" / tls.host
    folder.mkdir(parents=True)
    (tmp_path / "ca.crt").rename(folder / "ca.crt")
    hosts = Hosts((str(tmp_path / "certs.d"),))
    assert hosts.endpoints(tls.host)[0].scheme == "https"
    with Registry(tls.host, hosts, environ=home, patience=QUICK) as registry:
        assert registry.repository("app").manifest("1", ACCEPT).body == b"{}"


def test_a_certificate_that_nobody_knows(
    tls: FakeRegistry, home: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / tls.host
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f'server = "https://{tls.host}"')
    with (
        Registry(tls.host, Hosts((str(tmp_path / "certs.d"),)), environ=home) as registry,
        pytest.raises(Unavailable, match="certificate is not accepted"),
    ):
        registry.repository("app").manifest("1", ACCEPT)


def test_https_to_a_server_that_has_none(fake: FakeRegistry, home: dict[str, str]) -> None:
    fake.add_manifest("1", {})
    hosts = Hosts((), (fake.host,))
    assert hosts.endpoints("reg.lan") != hosts.endpoints(fake.host)
    with Registry(fake.host, hosts, environ=home, patience=QUICK) as registry:
        registry.repository("app").manifest("1", ACCEPT)


def test_no_redirect_from_https_to_http(
    tls: FakeRegistry, fake: FakeRegistry, home: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / tls.host
    folder.mkdir(parents=True)
    (tmp_path / "ca.crt").rename(folder / "ca.crt")

    def hook(request: Request) -> bool:
        request.reply(307, b"", {"Location": f"http://{fake.host}/x"})
        return True

    tls.hooks.append(hook)
    with (
        Registry(tls.host, Hosts((str(tmp_path / "certs.d"),)), environ=home) as registry,
        pytest.raises(InvalidArchive, match="from HTTPS to plain HTTP"),
    ):
        registry.repository("app").blob(NOTHING)
    assert fake.log == []


def test_mirrors_are_asked_first_and_the_registry_when_they_fail(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / "reg.example"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f"""
        server = "http://{fake.host}"
        [host."http://127.0.0.1:1"]
        [host."http://{other.host}"]
          capabilities = ["pull"]
    """)
    digest = fake.add_manifest("1", {})
    other.add_manifest(digest, {})
    hosts = Hosts((str(tmp_path / "certs.d"),))
    with Registry("reg.example", hosts, environ=home, patience=QUICK) as registry:
        repository = registry.repository("app")
        assert repository.manifest("1", ACCEPT).digest == digest
        assert repository.manifest(digest, ACCEPT).body == b"{}"
        data = fake.add_blob(b"data")
        stream = repository.blob(data)
        assert stream.read(10) == b"data"
        stream.close()
        repository.has_blob(data)
        with pytest.raises(NotFound):
            repository.manifest("2", ACCEPT)
    # Tags are not for the mirror, blobs are; and it is told for whom it stands.
    assert [path for _, path, _ in other.log] == [
        f"/v2/app/manifests/{digest}?ns=reg.example",
        f"/v2/app/blobs/{data}?ns=reg.example",
    ]
    assert all("ns=reg.example" in path for _, path, _ in fake.log)


def test_through_a_proxy(fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]) -> None:
    other.add_manifest("1", {})
    proxied: list[str] = []

    def proxy(request: Request) -> bool:
        proxied.append(request.path)
        assert request.headers["Proxy-Authorization"] == "Basic bWU6cHc="
        request.path = "/" + request.path.split("/", 3)[3]
        return False

    other.hooks.append(proxy)
    env = {**home, "HTTP_PROXY": f"http://me:pw@{other.host}"}
    del fake
    hosts = Hosts((), ("10.255.255.1:5000",))
    endpoint = hosts.endpoints("10.255.255.1:5000")[0]
    assert endpoint.alternative == "http"
    with Registry("10.255.255.1:5000", hosts, environ=env, patience=QUICK) as registry:
        client = registry.clients("app")[-1]
        client._set(endpoint.switched())
        client._settled = True
        assert registry.repository("app").manifest("1", ACCEPT).body == b"{}"
    assert proxied == ["http://10.255.255.1:5000/v2/app/manifests/1"]


@pytest.fixture
def tunnel() -> Iterator[tuple[int, dict[str, int], list[str]]]:
    """A proxy that tunnels: its port, where names lead to, what was asked of it."""
    routes: dict[str, int] = {}
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(f"{self.path} {self.headers['Proxy-Authorization']}")
            with socket.create_connection(("127.0.0.1", routes[self.path])) as far:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=pour, args=(far, self.connection))
                back.start()
                pour(self.connection, far)
                back.join()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    def pour(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side may hang up
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port, routes, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tls_through_a_proxy(
    tls: FakeRegistry, home: dict[str, str], tunnel: tuple[int, dict[str, int], list[str]]
) -> None:
    port, routes, asked = tunnel
    name = "10.255.255.1:443"
    routes[name] = int(tls.host.partition(":")[2])
    env = {**home, "HTTPS_PROXY": f"http://me:pw@127.0.0.1:{port}"}
    with Registry(name, Hosts((), (name,)), environ=env, patience=QUICK) as registry:
        assert registry.repository("app").manifest("1", ACCEPT).body == b"{}"
    assert set(asked) == {f"{name} Basic bWU6cHc="}
    assert all("Proxy-Authorization" not in headers for _, _, headers in tls.log)
