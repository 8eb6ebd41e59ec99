from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.engine.security.users import MAX_ID, ResolvedUser, resolve_user
from knarr.errors import InvalidArgument

PASSWD = b"""\
# comment
root:x:0:0:root:/root:/bin/sh

daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
web:x:1000:1001:Web,,,:/home/web:/bin/sh
web:x:4000:4000::/second:/bin/sh
1000:x:0:0:hostile:/root:/bin/sh
2000:x:0:0:hostile:/root:/bin/sh
overflow:x:4294967296:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
words:x:zero:0::/:/bin/sh
short:x:5
homeless:x:77:78
relative:x:79:79::etc:/bin/sh
"""
GROUP = b"""\
root:x:0:
staff:x:50:web,daemon
docker:x:999:web
web:x:1001:
3000:x:0:
huge:x:99999999999:web
"""


def resolve(spec: str, *group_add: str) -> ResolvedUser:
    return resolve_user(spec, PASSWD, GROUP, group_add)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", ResolvedUser(0, 0, (0,), "/root")),
        ("root", ResolvedUser(0, 0, (0,), "/root")),
        ("web", ResolvedUser(1000, 1001, (1001, 50, 999), "/home/web")),
        ("1000", ResolvedUser(1000, 1001, (1001, 50, 999), "/home/web")),
        ("web:staff", ResolvedUser(1000, 50, (50,), "/home/web")),
        ("web:7", ResolvedUser(1000, 7, (7,), "/home/web")),
        ("1000:staff", ResolvedUser(1000, 50, (50,), "/home/web")),
        ("1000:7", ResolvedUser(1000, 7, (7,), "/home/web")),
        ("5555", ResolvedUser(5555, 0, (0,), "/")),
        ("5555:6666", ResolvedUser(5555, 6666, (6666,), "/")),
        (":50", ResolvedUser(0, 50, (50,), "/root")),
        ("web:", ResolvedUser(1000, 1001, (1001, 50, 999), "/home/web")),
        ("homeless", ResolvedUser(77, 78, (78,), "/")),
        ("relative", ResolvedUser(79, 79, (79,), "/")),
        ("0001", ResolvedUser(1, 1, (1, 50), "/usr/sbin")),
        ("2147483647", ResolvedUser(MAX_ID, 0, (0,), "/")),
    ],
)
def test_forms(spec: str, expected: ResolvedUser) -> None:
    assert resolve(spec) == expected


def test_numbers_are_never_looked_up_as_names() -> None:
    # passwd has users "1000" and "2000" that are root, group has "3000" that is root's
    assert resolve("2000").uid == 2000
    assert resolve("1000").uid == 1000
    assert resolve("5:3000").gid == 3000


@pytest.mark.parametrize(
    "spec",
    ["2147483648", "4294967295", "4294967296", "99999999999999999999999", "-1", "0:2147483648",
     "web:-5", "0:4294967296", "+2147483648"],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(InvalidArgument, match="must be in range 0-2147483647"):
        resolve(spec)


@pytest.mark.parametrize("spec", ["overflow", "negative", "words", "short", "nobody", "#", "x y"])
def test_unknown_names_and_malformed_entries_are_no_users(spec: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolve(spec)
    assert str(caught.value) == (f"unable to find user {spec}: no matching entries in passwd file")


def test_unknown_group() -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolve("web:nogroup")
    assert str(caught.value) == ("unable to find group nogroup: no matching entries in group file")


def test_too_many_parts() -> None:
    with pytest.raises(InvalidArgument, match="use USER or USER:GROUP"):
        resolve("web:staff:0")


def test_digits_of_other_scripts_are_no_numbers() -> None:
    with pytest.raises(InvalidArgument, match="unable to find user"):
        resolve("\u0661")


def test_further_groups() -> None:
    assert resolve("web", "999", "docker", "4242").additional_gids == (1001, 50, 999, 4242)
    assert resolve("web:7", "staff").additional_gids == (7, 50)
    with pytest.raises(InvalidArgument, match="unable to find group nogroup"):
        resolve("web", "nogroup")


def test_primary_group_is_always_among_the_supplementary_ones() -> None:
    assert all(resolve(spec).additional_gids[0] == resolve(spec).gid for spec in ("", "5", "web"))


def test_container_without_the_files() -> None:
    assert resolve_user("", b"", b"") == ResolvedUser(0, 0, (0,), "/")
    assert resolve_user("33:44", b"", b"") == ResolvedUser(33, 44, (44,), "/")
    with pytest.raises(InvalidArgument, match="unable to find user root"):
        resolve_user("root", b"", b"")


@given(st.text(max_size=12), st.binary(max_size=200), st.binary(max_size=200))
def test_hostile_files_give_ids_in_range_or_an_error(
    spec: str, passwd: bytes, group: bytes
) -> None:
    try:
        user = resolve_user(spec, passwd, group)
    except InvalidArgument:
        return
    assert all(0 <= number <= MAX_ID for number in (user.uid, user.gid, *user.additional_gids))
    assert user.home.startswith("/")


@given(st.integers(1, MAX_ID))
def test_a_number_is_that_number_whatever_the_image_says(uid: int) -> None:
    passwd = f"{uid}:x:0:0::/:/bin/sh\n".encode()
    assert resolve_user(str(uid), passwd, b"").uid == uid
