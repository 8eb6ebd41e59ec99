from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.registryd import tokens
from knarr.registryd.tokens import Tokens

GRANTS = {"repository:team/app": frozenset({"pull", "push"}), "registry:catalog": frozenset("*")}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(tmp_path: Path, clock: Clock) -> Tokens:
    return Tokens(str(tmp_path / "key"), now=clock)


def claims_of(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_what_is_made_is_read(made: Tokens) -> None:
    token, now = made.make("alice", GRANTS)
    assert now == 1_000_000
    assert made.read(token) == tokens.Token("alice", GRANTS)
    assert claims_of(token) == {
        "iss": "knarr-registry", "aud": "knarr-registry", "sub": "alice",
        "iat": now, "nbf": now, "exp": now + 300, "jti": claims_of(token)["jti"],
        "access": [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]},
                   {"type": "registry", "name": "catalog", "actions": ["*"]}],
    }  # fmt: skip


def test_it_ends(made: Tokens, clock: Clock) -> None:
    token, _ = made.make("alice", {})
    clock.now += 299
    assert made.read(token) is not None
    clock.now += 1
    assert made.read(token) is None
    clock.now -= 1000  # the clock was set back: it would hold for longer than any may
    assert made.read(token) is None


def test_the_key_stays_until_it_is_deleted(tmp_path: Path, made: Tokens, clock: Clock) -> None:
    token, _ = made.make("alice", {})
    key = tmp_path / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert Tokens(str(key), now=clock).read(token) is not None
    key.unlink()
    assert Tokens(str(key), now=clock).read(token) is None
    key.write_bytes(b"short")
    assert Tokens(str(key), now=clock).read(token) is None
    assert len(key.read_bytes()) == 32


def test_what_others_make_is_none(made: Tokens, tmp_path: Path, clock: Clock) -> None:
    token, _ = made.make("alice", GRANTS)
    head, claims, signature = token.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    root = base64.urlsafe_b64encode(b'{"sub":"root","exp":9e9,"access":[]}').rstrip(b"=").decode()
    other, _ = Tokens(str(tmp_path / "other"), now=clock).make("alice", GRANTS)
    for text in (
        "", ".", "..", "a.b.c", f"{head}.{claims}.", f"{head}.{root}.{signature}", other,
        f"{none}.{claims}.", f"{none}.{claims}.{signature}", token[:-1], token + "=", token + ".x",
        f"{head}.{claims}.{signature}\u20ac", token + "a" * 40_000,
    ):  # fmt: skip
        assert made.read(text) is None, text


@given(st.text(max_size=300))
def test_whatever_comes_is_none(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    made = Tokens(str(tmp_path_factory.getbasetemp() / "fuzzed"))
    assert made.read(text) is None
    assert made.read(made.make("x", {})[0] + text) is None or not text


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([], {}),
        (["repository:a/b:pull,push"], {"repository:a/b": {"pull", "push"}}),
        (["repository:a:pull repository:b:pull"],
         {"repository:a": {"pull"}, "repository:b": {"pull"}}),
        (["repository:a:pull", "repository:a:push"], {"repository:a": {"pull", "push"}}),
        (["registry:catalog:*"], {"registry:catalog": {"*"}}),
        (["repository:host:5000/a:pull"], {"repository:host:5000/a": {"pull"}}),
        (["", "x", "a:b", "::", "repository::pull", "repository:a:"], {}),
    ],
)  # fmt: skip
def test_scopes(texts: list[str], wanted: dict[str, object]) -> None:
    assert tokens.scopes(texts) == wanted


def test_too_many_scopes() -> None:
    assert tokens.scopes(["repository:a:pull"] * 51) is None
