import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.registry.challenge import parse


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer realm="https://a/token",service="s",scope="repository:a/b:pull,push"',
         [("bearer", {"realm": "https://a/token", "service": "s",
                      "scope": "repository:a/b:pull,push"})]),
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("Basic", [("basic", {})]),
        ('Basic realm="a", Bearer realm="b", service=c',
         [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})]),
        ('Newauth realm="a\\"b", title="x, y"', [("newauth", {"realm": 'a"b', "title": "x, y"})]),
        ('bearer REALM = "a" , Service=b', [("bearer", {"realm": "a", "service": "b"})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("", []),
        ('"', []),
        ('Bearer realm="unfinished', [("bearer", {})]),
    ],
)  # fmt: skip
def test_challenges(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [tuple(each) for each in parse([header])] == found


def test_several_headers() -> None:
    assert [each.scheme for each in parse(["Bearer realm=a", "Basic realm=b"])] == [
        "bearer", "basic"
    ]  # fmt: skip


@given(st.lists(st.text(), max_size=4))
def test_anything_is_read_to_an_end(headers: list[str]) -> None:
    assert len(parse(headers)) <= 16
