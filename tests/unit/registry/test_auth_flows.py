"""How we prove who we are, to servers that ask as the well-known ones do."""

import base64
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from knarr.errors import InvalidArchive, Unauthorized
from knarr.registry.credentials import Credential, Credentials
from knarr.registry.hosts import Hosts
from knarr.registry.repository import Registry
from tests.support.fakeregistry import FakeRegistry, Request
from tests.unit.registry.conftest import QUICK

ACCEPT = ("application/vnd.oci.image.manifest.v1+json",)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class TokenServer:
    """Gives tokens: anonymous ones, or for one name and password, or for one refresh token."""

    def __init__(self, server: FakeRegistry, path: str, **answer: object) -> None:
        self.realm = f"http://{server.host}{path}"
        self.asked: list[dict[str, list[str]]] = []
        self.wanted: str | None = None
        self.refresh: str | None = None
        self.answer = answer
        self.given = 0
        server.hooks.append(self._serve)
        self._path = path

    @property
    def token(self) -> str:
        return f"token-{self.given}"

    def _serve(self, request: Request) -> bool:
        parts = urlsplit(request.path)
        if parts.path != self._path:
            return False
        query = parse_qs(request.body().decode() if request.command == "POST" else parts.query)
        self.asked.append(query)
        refused = self.wanted is not None and request.headers["Authorization"] != self.wanted
        if request.command == "POST":
            refused = query.get("refresh_token") != [self.refresh]
        if refused:
            request.error(401, "UNAUTHORIZED", "authentication required")
            return True
        self.given += 1
        request.json(200, {"token": self.token, **self.answer})
        return True


def wants_bearer(fake: FakeRegistry, tokens: TokenServer, service: str, scope: str) -> None:
    def hook(request: Request) -> bool:
        if not request.path.startswith("/v2/"):
            return False
        if tokens.given and request.headers["Authorization"] == f"Bearer {tokens.token}":
            return False
        wanted = f'Bearer realm="{tokens.realm}",service="{service}"'
        request.body()
        wanted += f',scope="{scope}"' if scope else ""
        request.error(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=wanted)
        return True

    fake.hooks.append(hook)


def registry(fake: FakeRegistry, home: dict[str, str], **entry: str) -> Registry:
    if entry:
        folder = Path(home["HOME"]) / ".docker"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"auths": {fake.host: entry}}))
    return Registry(fake.host, Hosts(()), Credentials(home), environ=home, patience=QUICK)


def test_docker_hub_anonymous(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/token", expires_in=300, issued_at="2026-01-01T00:00:00Z")
    wants_bearer(fake, tokens, "registry.docker.io", "repository:library/busybox:pull")
    fake.add_manifest("latest", {})
    with registry(fake, home) as hub:
        repository = hub.repository("library/busybox")
        repository.manifest("latest", ACCEPT)
        repository.manifest("latest", ACCEPT)
    assert tokens.asked == [
        {"service": ["registry.docker.io"], "scope": ["repository:library/busybox:pull"]}
    ]


def test_docker_hub_with_a_password(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/token", refresh_token="keep")
    tokens.wanted = basic("me", "pw")
    wants_bearer(fake, tokens, "registry.docker.io", "repository:me/app:pull")
    fake.add_manifest("latest", {})
    with registry(fake, home, username="me", password="pw") as hub:
        hub.repository("me/app").manifest("latest", ACCEPT)
    assert tokens.asked[0]["account"] == ["me"]
    assert "offline_token" not in tokens.asked[0]
    assert "Authorization" not in {k for h in fake.asked("GET", "/v2/")[:1] for k in h}


def test_a_login_gets_a_token_to_keep(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/token", refresh_token="keep")
    tokens.wanted = basic("me", "pw")
    wants_bearer(fake, tokens, "s", "")
    with registry(fake, home) as one:
        assert one.login(Credential("me", "pw")) == "keep"
    assert tokens.asked[0]["offline_token"] == ["true"]
    with registry(fake, home) as one, pytest.raises(Unauthorized, match="authentication required"):
        one.login(Credential("me", "wrong"))


def test_an_identity_token_is_posted(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/oauth2/token")
    tokens.refresh = "idtoken"
    wants_bearer(fake, tokens, "acr.example", "repository:app:pull")
    fake.add_manifest("latest", {})
    with registry(fake, home, identitytoken="idtoken") as azure:
        azure.repository("app").manifest("latest", ACCEPT)
    assert tokens.asked == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": ["idtoken"],
            "service": ["acr.example"],
            "client_id": ["knarr"],
            "scope": ["repository:app:pull"],
        }
    ]


def test_a_registry_token_is_used_as_it_is(fake: FakeRegistry, home: dict[str, str]) -> None:
    tokens = TokenServer(fake, "/token")
    wants_bearer(fake, tokens, "s", "")
    with (
        registry(fake, home, registrytoken="mine") as one,
        pytest.raises(Unauthorized),
    ):
        one.repository("app").manifest("latest", ACCEPT)
    assert fake.asked("GET", "manifests")[-1]["Authorization"] == "Bearer mine"
    assert tokens.asked == []


def test_ecr_wants_basic_and_sends_blobs_to_a_store_that_must_not_see_it(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    def ecr(request: Request) -> bool:
        if request.headers["Authorization"] != basic("AWS", "pw"):
            request.reply(401, b"Not Authorized\n", {
                "WWW-Authenticate": 'Basic realm="https://1.dkr.ecr.aws/",service="ecr.aws.com"',
                "Content-Type": "text/plain; charset=utf-8",
            })  # fmt: skip
            return True
        if "/blobs/sha256" in request.path and request.command == "GET":
            request.reply(307, b"", {"Location": f"http://{other.host}/bucket/x?X-Amz-Sig=1"})
            return True
        return False

    def bucket(request: Request) -> bool:
        if request.headers["Authorization"] is not None:
            request.reply(400, b"Only one auth mechanism allowed")
        else:
            request.reply(200, b"layer")
        return True

    fake.hooks.append(ecr)
    other.hooks.append(bucket)
    with registry(fake, home, username="AWS", password="pw") as one:
        stream = one.repository("app").blob("sha256:" + "0" * 64)
        assert stream.read(100) == b"layer"
        stream.close()
        one.repository("app").has_blob("sha256:" + "0" * 64)
    # The first request finds out that Basic is wanted, the later ones know.
    assert [h.get("Authorization") for h in fake.asked("GET", "blobs")] == [
        None, basic("AWS", "pw")
    ]  # fmt: skip
    assert "Authorization" in fake.asked("HEAD", "blobs")[0]


def test_basic_without_credentials(fake: FakeRegistry, home: dict[str, str]) -> None:
    def hook(request: Request) -> bool:
        request.error(401, "UNAUTHORIZED", "authentication required",
                      WWW_Authenticate='Basic realm="x"')  # fmt: skip
        return True

    fake.hooks.append(hook)
    with (
        registry(fake, home) as one,
        pytest.raises(Unauthorized, match="no basic auth credentials"),
    ):
        one.repository("app").manifest("latest", ACCEPT)


def test_google_has_the_token_server_on_its_own_host(
    fake: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(fake, "/v2/token", access_token="ignored", expires_in=43200)
    tokens.wanted = basic("_json_key", '{"type": "service_account"}')
    wants_bearer(fake, tokens, fake.host, "repository:project/app:pull")
    fake.add_manifest("latest", {})
    with registry(fake, home, username="_json_key", password='{"type": "service_account"}') as one:
        one.repository("project/app").manifest("latest", ACCEPT)
    assert tokens.given == 1


def test_ghcr_refuses_at_the_token_server(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/token")

    def denied(request: Request) -> bool:
        if request.path.startswith("/token"):
            request.error(403, "DENIED", "requested access to the resource is denied")
            return True
        return False

    other.hooks.insert(0, denied)
    wants_bearer(fake, tokens, "ghcr.io", "repository:user/image:pull")
    with registry(fake, home) as one, pytest.raises(Exception, match="denied") as caught:
        one.repository("user/secret").manifest("latest", ACCEPT)
    assert caught.value.codes == ("DENIED",)  # type: ignore[attr-defined]


def test_a_token_that_has_ended_is_replaced(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/token")
    wants_bearer(fake, tokens, "s", "")
    fake.add_manifest("latest", {})
    with registry(fake, home) as one:
        repository = one.repository("app")
        repository.manifest("latest", ACCEPT)
        tokens.given += 1  # what was given is no good any more
        repository.manifest("latest", ACCEPT)
    assert tokens.given == 3


def test_bearer_is_taken_where_several_are_offered(
    fake: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(fake, "/token")

    def hook(request: Request) -> bool:
        if not request.path.startswith("/v2/") or request.headers["Authorization"]:
            return False
        request.send_response(401)
        request.send_header("WWW-Authenticate", 'Negotiate, Basic realm="x"')
        request.send_header("WWW-Authenticate", f'Bearer realm="{tokens.realm}"')
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    fake.hooks.append(hook)
    fake.add_manifest("latest", {})
    with registry(fake, home, username="me", password="pw") as one:
        one.repository("app").manifest("latest", ACCEPT)
    assert tokens.given == 1


def test_a_mount_asks_for_both_repositories(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str]
) -> None:
    tokens = TokenServer(other, "/token")
    wants_bearer(fake, tokens, "s", "repository:to:pull,push")
    digest = fake.add_blob(b"x")
    with registry(fake, home) as one:
        assert one.repository("to").mount(digest, "from")
    assert tokens.asked[0]["scope"] == ["repository:to:pull,push", "repository:from:pull"]


@pytest.mark.parametrize("realm", ["ftp://x/token", "/token", "http:///token", "https://[x/token",
                                   "http://x:99999/token", "http://a b/token"])  # fmt: skip
def test_a_token_server_that_is_none(fake: FakeRegistry, home: dict[str, str], realm: str) -> None:
    def hook(request: Request) -> bool:
        request.error(401, "UNAUTHORIZED", "x", WWW_Authenticate=f'Bearer realm="{realm}"')
        return True

    fake.hooks.append(hook)
    with registry(fake, home) as one, pytest.raises(InvalidArchive, match="for a token to"):
        one.repository("app").manifest("latest", ACCEPT)


@pytest.mark.parametrize(
    "answer",
    [
        b"[]",
        b"{}",
        b'{"token": 1}',
        b'{"token": "a\\nb"}',
        b"<html>",
        b'{"token": "a", "expires_in": 1' + b"0" * 400 + b"}",
    ],
)
def test_a_token_that_is_none(
    fake: FakeRegistry, other: FakeRegistry, home: dict[str, str], answer: bytes
) -> None:
    tokens = TokenServer(other, "/token")
    wants_bearer(fake, tokens, "s", "")

    def wrong(request: Request) -> bool:
        request.reply(200, answer)
        return True

    other.hooks.insert(0, wrong)
    with registry(fake, home) as one, pytest.raises(InvalidArchive, match="token server"):
        one.repository("app").manifest("latest", ACCEPT)
