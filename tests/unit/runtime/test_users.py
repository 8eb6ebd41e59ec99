"""``USER`` against files that an image brings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.errors import InvalidArgument
from knarr.runtime.users import MAX_ID, ResolvedUser, home_of, resolve_user

PASSWD = b"""# comment
root:x:0:0:root:/root:/bin/sh
bad line
daemon:x:1:1
alice:x:1000:1000::/home/alice:/bin/sh
1000:x:0:0::/root:/bin/sh
big:x:4294967296:0::/:
minus:x:-1:0::/:
rel:x:5:5::home:
second:x:1000:7::/second:
"""
GROUP = b"""root:x:0:
alice:x:1000:
staff:x:50:alice,bob
27:x:0:alice
wheel:x:10:root
broken
big:x:99999999999:alice
"""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", ResolvedUser(0, 0, (0, 10), "/root")),
        ("root", ResolvedUser(0, 0, (0, 10), "/root")),
        ("alice", ResolvedUser(1000, 1000, (1000, 50, 0), "/home/alice")),
        ("1000", ResolvedUser(1000, 1000, (1000, 50, 0), "/home/alice")),
        ("alice:staff", ResolvedUser(1000, 50, (50,), "/home/alice")),
        ("alice:27", ResolvedUser(1000, 27, (27,), "/home/alice")),
        ("77", ResolvedUser(77, 0, (0,), "/")),
        ("77:88", ResolvedUser(77, 88, (88,), "/")),
        ("77:staff", ResolvedUser(77, 50, (50,), "/")),
        ("00077", ResolvedUser(77, 0, (0,), "/")),
        ("+5", ResolvedUser(5, 5, (5,), "/")),
        ("daemon", ResolvedUser(1, 1, (1,), "/")),
        ("rel", ResolvedUser(5, 5, (5,), "/")),
        (f"{MAX_ID}", ResolvedUser(MAX_ID, 0, (0,), "/")),
    ],
)
def test_forms(spec: str, expected: ResolvedUser) -> None:
    assert resolve_user(spec, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    "spec",
    [
        "nobody",
        "big",
        "minus",
        "-1",
        "2147483648",
        "4294967295",
        "4294967296",
        "9" * 5000,
        "1:nogroup",
        "1:-1",
        "1:2:3",
        "alice:big",
        "alice:4294967296",
        "\u0661",
        "bad line",
    ],
)
def test_what_is_refused(spec: str) -> None:
    with pytest.raises(InvalidArgument):
        resolve_user(spec, PASSWD, GROUP)


def test_added_groups() -> None:
    found = resolve_user("alice", PASSWD, GROUP, ("wheel", "123", "1000"))
    assert found.additional_gids == (1000, 50, 0, 10, 123)
    with pytest.raises(InvalidArgument):
        resolve_user("alice", PASSWD, GROUP, ("nope",))


def test_without_files() -> None:
    assert resolve_user("", b"", b"") == ResolvedUser(0, 0, (0,), "/")
    assert resolve_user("5:6", b"", b"") == ResolvedUser(5, 6, (6,), "/")


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=12))
def test_no_file_makes_a_number_somebody_else(passwd: bytes, group: bytes, name: str) -> None:
    """Whatever the image says, ``USER 1234`` has the id 1234."""
    assert resolve_user("1234", passwd, group).uid == 1234
    try:
        found = resolve_user(name, passwd, group)
    except InvalidArgument:
        return
    assert 0 <= found.uid <= MAX_ID
    assert all(0 <= gid <= MAX_ID for gid in found.additional_gids)


@given(st.binary(max_size=60))
def test_root_is_only_who_is_called_so(line: bytes) -> None:
    try:
        found = resolve_user("app", line + b"\napp:x:500:500::/:\n", b"")
    except InvalidArgument:
        return
    if b"app" not in line:
        assert found.uid == 500


@pytest.mark.parametrize(
    ("uid", "home"), [(1000, "/home/alice"), (5, "/"), (99, "/"), (2**32 - 2, "/")]
)
def test_home_of_an_id(uid: int, home: str) -> None:
    """Also of one beyond those that names can have: no look-up is an error."""
    assert home_of(uid, PASSWD) == home
