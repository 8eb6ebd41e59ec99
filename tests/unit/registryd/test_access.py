from __future__ import annotations

import pytest

from knarr.errors import InvalidArgument
from knarr.registryd import access

FILE = """
[groups]
developers = ["alice", "bob"]

[repositories."team/*"]
pull = ["@developers"]
push = ["ci"]
delete = ["alice"]

[repositories."team/public"]
pull = ["anonymous"]

[repositories."shared/*"]
pull = ["*"]
"""


@pytest.mark.parametrize(
    ("user", "repository", "wanted"),
    [
        ("alice", "team/app", {"pull", "delete"}),
        ("bob", "team/app", {"pull"}),
        ("bob", "team/a/b", {"pull"}),
        ("ci", "team/app", {"pull", "push"}),  # who pushes looks first
        ("carol", "team/app", set()),
        ("", "team/app", set()),
        ("", "team/public", {"pull"}),
        ("carol", "team/public", {"pull"}),
        ("ci", "team/public", {"pull", "push"}),
        ("carol", "shared/x", {"pull"}),
        ("", "shared/x", set()),
        ("alice", "elsewhere", set()),
        ("@developers", "team/app", set()),
        ("anonymous", "team/app", set()),
    ],
)
def test_who_may_do_what(user: str, repository: str, wanted: set[str]) -> None:
    assert access.parse(FILE).allowed(user, repository) == wanted


def test_who_is_let_in() -> None:
    rules = access.parse(FILE)
    assert rules.lets_in("")
    assert rules.lets_in("carol")
    private = access.parse('[repositories."*"]\npull = ["alice"]')
    assert not private.lets_in("")
    assert not private.lets_in("carol")
    assert not access.parse("").lets_in("alice")


def test_without_a_file() -> None:
    for anybody in (True, False):
        rules = access.users_only(anybody_pulls=anybody)
        assert rules.allowed("alice", "a/b") == {"pull", "push", "delete"}
        assert rules.allowed("", "a/b") == ({"pull"} if anybody else set())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "end of document"),
        ("[users]", "'users' is neither groups nor repositories"),
        ("groups = 1", "groups is no table"),
        ("[groups]\na = 'alice'", "groups.a is no list of names"),
        ("[repositories]\na = 1", 'repositories."a" is no table'),
        ("[repositories.a]\nwrite = []", "'write' is none of pull, push, delete"),
        ("[repositories.a]\npull = 'alice'", 'repositories."a".pull is no list of names'),
        ("[repositories.a]\npull = ['']", "is no list of names"),
        ("[repositories.a]\npull = ['@b']", "there is no group @b"),
        ("[repositories.a]\npush = ['anonymous']", "who has not logged in can only pull"),
        ("[groups]\nb = ['anonymous']\n[repositories.a]\npush = ['@b']", "can only pull"),
    ],
)
def test_what_is_none(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        access.parse(text)
