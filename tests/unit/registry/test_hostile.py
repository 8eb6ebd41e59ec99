"""A registry that means harm: where it sends us, how long it talks, what it names."""

import io
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from knarr.errors import InvalidArchive, InvalidArgument, NotFound, Unauthorized, Unavailable
from knarr.registry import session
from knarr.registry.credentials import Credential, Credentials
from knarr.registry.hosts import Hosts
from knarr.registry.repository import Registry
from tests.support.fakeregistry import OCI_MANIFEST, FakeRegistry, Request, digest_of
from tests.unit.registry.conftest import QUICK

ACCEPT = (OCI_MANIFEST,)


def pages(link: str) -> Callable[[Request], bool]:
    def hook(request: Request) -> bool:
        if "/tags/" not in request.path:
            return False
        request.json(200, {"tags": ["a" * 100_000]}, {"Link": f'<{link}>; rel="next"'})
        return True

    return hook


@pytest.mark.parametrize("link", ["http://[::1", "//[x", "file:///etc/passwd", "ftp://HOST/x",
                                  "http://h:99999/", "/v2/\xfc", "/v2/\x01"])  # fmt: skip
def test_pages_that_lead_nowhere(
    fake: FakeRegistry, other: FakeRegistry, registry: Registry, link: str
) -> None:
    fake.hooks.append(pages(link.replace("HOST", other.host)))
    with pytest.raises(InvalidArchive, match="its next page leads to"):
        list(registry.repository("app").tags())
    assert other.log == []


def test_pages_without_an_end(
    fake: FakeRegistry, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LIST_LIMIT", 1_000_000)
    counted: list[int] = []

    def hook(request: Request) -> bool:
        if "/tags/" in request.path:
            counted.append(1)
            return pages(f"/v2/app/tags/list?last={len(counted)}")(request)
        return False

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match="longer than 1000000 bytes"):
        list(registry.repository("app").tags())
    assert len(counted) == 10


def test_a_page_elsewhere_gets_no_credentials(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    def hook(request: Request) -> bool:
        if request.headers["Authorization"]:
            return pages(f"http://{other.host}/v2/app/tags/list")(request)
        request.error(401, "UNAUTHORIZED", "x", WWW_Authenticate="Basic realm=x")
        return True

    fake.hooks.append(hook)
    with Registry(fake.host, Hosts(()), Credentials(home), environ=home, patience=QUICK) as one:
        one.given = Credential("name", "secret")
        with pytest.raises(NotFound):
            list(one.repository("app").tags())
    assert [headers for _, _, headers in other.log if "Authorization" in headers] == []
    assert len(other.log) == 1


def test_a_mirror_is_not_written_to_in_the_name_of_its_registry(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / "reg.example"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f"""
        server = "http://{fake.host}"
        [host."http://{other.host}"]
    """)

    def sends_us(request: Request) -> bool:
        where = f"http://{other.host}/v2/victim/manifests/latest"
        request.reply(202, b"", {"Location": where})
        return request.command == "POST"

    def asks(request: Request) -> bool:
        if not request.headers["Authorization"]:
            request.error(401, "UNAUTHORIZED", "x", WWW_Authenticate="Basic realm=x")
        return not request.headers["Authorization"]

    fake.hooks.append(sends_us)
    other.hooks.append(asks)
    hosts = Hosts((str(tmp_path / "certs.d"),))
    with Registry("reg.example", hosts, Credentials(home), environ=home, patience=QUICK) as one:
        one.given = Credential("name", "secret")
        with pytest.raises(Unauthorized):
            one.repository("app").push_blob(digest_of(b"x"), 1, lambda _offset: io.BytesIO(b"x"))
    assert [headers for _, _, headers in other.log if "Authorization" in headers] == []


@pytest.mark.parametrize("url", ["https://[", "http://h:99999/x", "http://127.0.0.1:1/x", "//x",
                                 "http://HOST/missing", "ftp://HOST/x"])  # fmt: skip
def test_a_layer_that_is_not_where_its_image_says_may_be_in_the_registry(
    fake: FakeRegistry, other: FakeRegistry, registry: Registry, url: str
) -> None:
    digest = fake.add_blob(b"layer")
    stream = registry.repository("app").blob(digest, urls=[url.replace("HOST", other.host)])
    assert stream.read(100) == b"layer"
    stream.close()


def test_an_image_cannot_name_any_number_of_addresses(
    fake: FakeRegistry, other: FakeRegistry, registry: Registry
) -> None:
    digest = fake.add_blob(b"layer")
    urls = [f"http://{other.host}/{number}" for number in range(50)]
    registry.repository("app").blob(digest, urls=urls).close()
    assert len(other.log) == 4


def test_heads_without_an_end(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if "/manifests/" in request.path:
            request.close_connection = True
            try:
                while True:  # until the client hangs up
                    request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            except OSError:
                return True
        return False

    fake.hooks.append(hook)
    with pytest.raises(Unavailable, match="does not answer in HTTP"):
        registry.repository("app").manifest("1", ACCEPT)


def test_an_error_that_comes_byte_by_byte(fake: FakeRegistry, registry: Registry) -> None:
    def hook(request: Request) -> bool:
        if "/manifests/" not in request.path:
            return False
        request.send_response(404)
        request.send_header("Content-Length", "60000")
        request.end_headers()
        request.close_connection = True
        request.connection.settimeout(0.05)
        with suppress(OSError):  # the client hangs up
            for _ in range(60_000):
                request.wfile.write(b" ")
                with suppress(TimeoutError):
                    request.connection.recv(1)
        return True

    fake.hooks.append(hook)
    with pytest.raises(NotFound, match="404"):
        registry.repository("app").manifest("1", ACCEPT)


def test_a_name_of_this_machine_that_is_at_another(
    fake: FakeRegistry, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such names are asked without TLS, and some resolvers let strangers answer for them."""

    def connected(address: tuple[str, int], *rest: object) -> socket.socket:
        del address, rest
        return _Elsewhere(socket.AF_INET)

    monkeypatch.setattr(socket, "create_connection", connected)
    name = f"reg.localhost:{fake.host.rpartition(':')[2]}"
    with (
        Registry(name, Hosts(()), environ=home, patience=QUICK) as registry,
        pytest.raises(
            Unavailable, match=r"reg\.localhost is at 192\.0\.2\.1, which is not this machine"
        ),
    ):
        registry.ping()


class _Elsewhere(socket.socket):
    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 80


def test_a_file_of_credentials_that_is_too_large_is_not_written_anew(
    home: dict[str, str],
) -> None:
    path = Path(home["HOME"]) / ".docker" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"auths": {"a": {"auth": "YTpi"}}, "x": "' + "x" * 1_100_000 + '"}')
    before = path.read_bytes()
    with pytest.raises(InvalidArgument, match="larger than"):
        Credentials(home).store("b", Credential("name", "secret"))
    assert path.read_bytes() == before
