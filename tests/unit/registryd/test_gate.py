"""Who gets in and what is allowed, over the wire."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from knarr.registryd.service import Options, Service
from knarr.web.listening import Address, listen
from tests.support.registries import Answer, Client, basic, serving, sha256
from tests.support.web import everything

ALICE = basic("alice", "open sesame")
BOB = basic("bob", "pässword:1")
RULES = """
[repositories."team/*"]
pull = ["bob"]
push = ["alice"]
delete = ["alice"]

[repositories."public/*"]
pull = ["anonymous"]
push = ["alice"]

[repositories."bobs/*"]
push = ["bob"]
"""
PRIVATE = "[repositories.'*']\npull = ['alice']\n"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text(RULES)
    return path


@pytest.fixture
def client(tmp_path: Path, users: Path, rules: Path) -> Iterator[Client]:
    """A client of a registry where team/app and public/app are, and alice pushed them."""
    options = Options(htpasswd=str(users), access=str(rules))
    with serving(str(tmp_path / "r"), options) as registry:
        made = registry.client()
        for name in ("team/app", "public/app"):
            body = f'{{"x": "{name}"}}'.encode()
            got = made("PUT", f"/v2/{name}/manifests/v1", body, Authorization=ALICE)
            assert got.status == 201
            where = f"/v2/{name}/blobs/uploads/?digest={sha256(name.encode())}"
            assert made("POST", where, name.encode(), Authorization=ALICE).status == 201
        yield made
        made.close()


def token(client: Client, *scopes: str, user: str = "") -> str:
    """Return an Authorization header with a token for these scopes."""
    query = urlencode([("service", "knarr-registry"), *(("scope", each) for each in scopes)])
    headers = {"Authorization": user} if user else {}
    got = client("GET", f"/token?{query}", **headers)
    assert got.status == 200, got
    assert got.json["token"] == got.json["access_token"]
    assert got.json["expires_in"] == 300
    return "Bearer " + str(got.json["token"])


def asks(answer: Answer) -> dict[str, str]:
    """Return the parameters of a challenge for a token."""
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    said = answer.header("WWW-Authenticate")
    assert said.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', said))


def test_a_ping_tells_where_tokens_are(client: Client) -> None:
    assert asks(client("GET", "/v2/")) == {
        "realm": f"http://127.0.0.1:{client.port}/token",
        "service": "knarr-registry",
    }
    assert client("GET", "/v2/", Authorization=token(client)).status == 200
    assert client("GET", "/v2/", Authorization=token(client, user=BOB)).status == 200
    assert client("GET", "/v2/", Authorization=BOB).status == 200
    wrong = asks(client("GET", "/v2/", Authorization="Bearer x"))
    assert wrong["error"] == "invalid_token"


def test_a_challenge_tells_what_is_needed(client: Client) -> None:
    def wanted(method: str, path: str, **headers: str) -> dict[str, str]:
        found = asks(client(method, path, b"" if method != "GET" else None, **headers))
        del found["realm"], found["service"]
        return found

    here = "repository:team/app"
    assert wanted("GET", "/v2/team/app/manifests/v1") == {"scope": f"{here}:pull"}
    assert wanted("POST", "/v2/team/app/blobs/uploads/") == {"scope": f"{here}:pull,push"}
    assert wanted("DELETE", "/v2/team/app/manifests/v1") == {"scope": f"{here}:delete"}
    assert wanted("GET", "/v2/_catalog", Authorization=token(client, user=BOB)) == {
        "scope": "registry:catalog:*", "error": "insufficient_scope",
    }  # fmt: skip
    less = token(client, f"{here}:pull", user=ALICE)
    assert wanted("DELETE", "/v2/team/app/manifests/v1", Authorization=less) == {
        "scope": f"{here}:delete", "error": "insufficient_scope",
    }  # fmt: skip


@pytest.mark.parametrize("how", ["password", "token"])
def test_rights(client: Client, how: str) -> None:
    def status(user: str, method: str, path: str, scope: str) -> int:
        header = user
        if how == "token":
            header = token(client, scope, user=user)
        headers = {"Authorization": header} if header else {}
        return client(method, path, None if method == "GET" else b"", **headers).status

    for name in ("team/app", "public/app", "bobs/app"):
        pull = f"repository:{name}:pull"
        read = {who: status(who, "GET", f"/v2/{name}/tags/list", pull) for who in (ALICE, BOB, "")}
        write = {
            who: status(who, "POST", f"/v2/{name}/blobs/uploads/", f"{pull},push")
            for who in (ALICE, BOB, "")
        }
        assert (read, write) == {
            "team/app": ({ALICE: 200, BOB: 200, "": 401}, {ALICE: 202, BOB: 403, "": 401}),
            "public/app": ({ALICE: 200, BOB: 200, "": 200}, {ALICE: 202, BOB: 403, "": 401}),
            # What is not there is not told to those who may not know.
            "bobs/app": ({ALICE: 403, BOB: 404, "": 401}, {ALICE: 403, BOB: 202, "": 401}),
        }[name]
    delete = "/v2/public/app/manifests/v1"
    assert status(ALICE, "DELETE", delete, "repository:public/app:*") == 403
    delete = "/v2/team/app/manifests/v1"
    assert status(BOB, "DELETE", delete, "repository:team/app:*") == 403
    assert status(ALICE, "DELETE", delete, "repository:team/app:*") == 202


def test_what_a_user_may_not_do_is_said(client: Client) -> None:
    got = client("POST", "/v2/team/app/blobs/uploads/", b"", Authorization=BOB)
    assert (got.status, got.code) == (403, "DENIED")
    assert got.text == "bob may not push to team/app here"


def test_a_token_holds_no_more_than_it_was_made_for(client: Client) -> None:
    other = token(client, "repository:public/app:pull", user=BOB)
    assert client("GET", "/v2/public/app/tags/list", Authorization=other).status == 200
    assert client("GET", "/v2/team/app/tags/list", Authorization=other).status == 401
    # Nor what was asked for and not allowed.
    vain = token(client, "repository:team/app:pull,push", user=BOB)
    got = client("POST", "/v2/team/app/blobs/uploads/", b"", Authorization=vain)
    assert got.status == 403


def test_rights_are_lost_at_once(client: Client, rules: Path, users: Path) -> None:
    held = token(client, "repository:team/app:pull", user=BOB)
    assert client("GET", "/v2/team/app/tags/list", Authorization=held).status == 200
    rules.write_text(RULES.replace('pull = ["bob"]', "pull = []"))
    assert client("GET", "/v2/team/app/tags/list", Authorization=held).status == 403
    rules.write_text("rubbish")  # somebody is editing it: what it said before holds
    assert client("GET", "/v2/team/app/tags/list", Authorization=held).status == 403
    rules.write_text(RULES)
    assert client("GET", "/v2/team/app/tags/list", Authorization=held).status == 200
    users.write_text(
        "\n".join(line for line in users.read_text().splitlines() if "bob" not in line)
    )
    assert client("GET", "/v2/team/app/tags/list", Authorization=held).status == 401


def test_a_list_of_all_shows_what_may_be_pulled(client: Client) -> None:
    def listed(user: str) -> list[str]:
        held = token(client, "registry:catalog:*", user=user)
        got = client("GET", "/v2/_catalog?n=1", Authorization=held)
        names: list[str] = got.json["repositories"]
        if got.headers["Link"]:
            after = re.findall("<(.*?)>", got.header("Link"))[0]
            names += client("GET", after, Authorization=held).json["repositories"]
        return names

    assert listed(BOB) == ["public/app", "team/app"]
    assert listed("") == ["public/app"]
    assert client("GET", "/v2/_catalog").json["repositories"] == ["public/app"]


def test_no_mount_from_where_one_may_not_pull(client: Client, rules: Path) -> None:
    rules.write_text(RULES + '[repositories."secret/*"]\npush = ["alice"]\n')
    data = b"secret"
    digest = sha256(data)
    where = f"/v2/secret/x/blobs/uploads/?digest={digest}"
    assert client("POST", where, data, Authorization=ALICE).status == 201
    into = f"/v2/bobs/y/blobs/uploads/?mount={digest}"
    for query in (into, f"{into}&from=secret/x"):
        assert client("POST", query, b"", Authorization=BOB).status == 202
    assert client("GET", f"/v2/bobs/y/blobs/{digest}", Authorization=BOB).status == 404
    # From where one may, but with a token that is for it.
    mine = sha256(b"team/app")
    into = f"/v2/bobs/y/blobs/uploads/?mount={mine}"
    narrow = token(client, "repository:bobs/y:pull,push", user=BOB)
    wanted = "repository:bobs/y:pull,push repository:team/app:pull"
    got = client("POST", f"{into}&from=team/app", b"", Authorization=narrow)
    assert asks(got)["scope"] == wanted
    assert client("POST", f"{into}&from=secret/x", b"", Authorization=narrow).status == 202
    assert client("POST", into, b"", Authorization=narrow).status == 202
    wide = token(client, wanted, user=BOB)
    assert client("POST", f"{into}&from=team/app", b"", Authorization=wide).status == 201


def test_who_mounts_is_asked_for_a_token_for_both(client: Client) -> None:
    into = f"/v2/team/y/blobs/uploads/?mount={sha256(b'team/app')}&from="
    for source, scope in (
        ("team/app", "repository:team/y:pull,push"),  # which nobody may pull who has no name
        ("public/app", "repository:team/y:pull,push"),
    ):
        assert asks(client("POST", into + source, b""))["scope"] == scope
    # A name that is none is told when it is looked at.
    name = client("POST", into + "a%22b", b"", Authorization=ALICE)
    assert (name.status, name.code) == (400, "NAME_INVALID")


def test_wrong_passwords_get_no_token(client: Client) -> None:
    for wrong in (basic("bob", "x"), basic("eve", "x"), "Basic !", "Bearer x", "Basic"):
        got = client("GET", "/token", Authorization=wrong)
        assert (got.status, got.code) == (401, "UNAUTHORIZED")


def test_a_form_gets_a_token(client: Client) -> None:
    def posted(**fields: str) -> Answer:
        return client("POST", "/token", urlencode(fields),
                      Content_Type="application/x-www-form-urlencoded")  # fmt: skip

    right: dict[str, Any] = {
        "grant_type": "password", "username": "bob", "password": "pässword:1",
        "service": "knarr-registry", "client_id": "x", "scope": "repository:team/app:pull",
    }  # fmt: skip
    got = posted(**right)
    assert got.status == 200
    held = "Bearer " + got.json["access_token"]
    assert client("GET", "/v2/team/app/tags/list", Authorization=held).status == 200
    assert posted(**{**right, "password": "x"}).status == 401
    assert posted(**{**right, "username": ""}).status == 401
    got = posted(**{**right, "grant_type": "refresh_token"})
    assert (got.status, got.json["error"]) == (400, "unsupported_grant_type")
    assert client("POST", "/token", b"\xff" * 10).status == 400
    assert client("POST", "/token", b"x" * 100_000).status == 400
    assert client("PUT", "/token", b"").status == 405


def test_too_much_is_asked_for(client: Client) -> None:
    got = client("GET", "/token?" + "&".join(["scope=repository:a:pull"] * 60))
    assert got.status == 400


def test_where_nobody_may_without_logging_in(client: Client, rules: Path) -> None:
    rules.write_text(PRIVATE)
    assert client("GET", "/token").status == 401
    assert asks(client("GET", "/v2/public/app/tags/list"))
    assert asks(client("GET", "/nowhere"))


def test_the_address_of_tokens(tmp_path: Path, users: Path) -> None:
    options = Options(htpasswd=str(users), token_realm="https://r.example.org/token")
    with serving(str(tmp_path / "r"), options) as registry:
        client = registry.client()
        assert asks(client("GET", "/v2/"))["realm"] == "https://r.example.org/token"
        assert client("GET", "/token", Authorization=ALICE).status == 200
        client.close()


@pytest.mark.parametrize("host", ['x"y', "x, Basic", "a b", "é", "[::1", ""])
def test_a_host_that_is_none(client: Client, host: str) -> None:
    got = client("GET", "/v2/", Host=host.encode().decode("latin-1"))
    assert got.status == 400


def test_the_names_of_this_server(client: Client) -> None:
    for host in ("localhost", "reg.example.org:5000", "[::1]:5000"):
        assert asks(client("GET", "/v2/", Host=host))["realm"] == f"http://{host}/token"


def test_behind_a_proxy_that_speaks_tls(tmp_path: Path, users: Path) -> None:
    """Only a proxy speaks through a unix socket; what others say of themselves is not believed."""
    ask = b"GET /v2/ HTTP/1.1\r\nHost: r.example.org\r\nX-Forwarded-Proto: https\r\n"
    ask += b"Connection: close\r\n\r\n"
    options = Options(htpasswd=str(users), tokens=True)
    with serving(str(tmp_path / "r"), options) as registry, registry.raw() as link:
        link.sendall(ask)
        assert b'realm="http://r.example.org/token"' in everything(link)
    made = Service(str(tmp_path / "r"), [listen(Address(path=str(tmp_path / "s")))], options)
    thread = threading.Thread(target=made.serve)
    thread.start()
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        link.connect(str(tmp_path / "s"))
        link.sendall(ask)
        assert b'realm="https://r.example.org/token"' in everything(link)
    made.close()
    thread.join()


def test_anybody_pulls_and_users_push(tmp_path: Path, users: Path) -> None:
    with serving(str(tmp_path / "r"), Options(htpasswd=str(users), anybody_pulls=True)) as registry:
        client = registry.client()
        assert client("PUT", "/v2/a/manifests/v1", b"{}", Authorization=BOB).status == 201
        assert client("PUT", "/v2/a/manifests/v1", b"{}").status == 401
        assert client("GET", "/v2/a/manifests/v1").status == 200
        assert client("DELETE", "/v2/a/manifests/v1").status == 401
        client.close()


def test_a_copy_is_pulled_by_those_who_may_pull_it(tmp_path: Path, users: Path) -> None:
    from knarr.registryd.upstreams import Upstream

    access = tmp_path / "access.toml"
    access.write_text('[repositories."up/team/*"]\npull = ["bob"]\n')
    with serving(str(tmp_path / "upstream")) as upstream:
        there = upstream.client()
        there.push_image("team/app", "v1")
        there.close()
        host = f"127.0.0.1:{upstream.port}"
        options = Options(
            htpasswd=str(users), access=str(access), upstreams=(Upstream("up", host),)
        )
        with serving(str(tmp_path / "r"), options) as registry:
            client = registry.client()
            for path in ("/v2/up/team/app/manifests/v1", f"/v2/team/app/manifests/v1?ns={host}"):
                assert client("GET", path).status == 401
                assert client("GET", path, Authorization=ALICE).status == 403
                assert client("GET", path, Authorization=BOB).status == 200
            client.close()
