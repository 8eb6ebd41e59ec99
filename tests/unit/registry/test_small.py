"""Links, pauses, error documents."""

import email.utils
import time

import pytest

from knarr.errors import Forbidden, NotFound, Unauthorized, Unavailable
from knarr.registry import failures
from knarr.registry.links import next_page
from knarr.registry.patience import Patience


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('</v2/_catalog?last=b&n=2>; rel="next"', "/v2/_catalog?last=b&n=2"),
        ("<https://x/y>;rel=next", "https://x/y"),
        ('<a>; rel="prev", <b>; rel="next"', "b"),
        ('<a>; title="x"; rel="start next"', "a"),
        ('<a>; rel="prev"', None),
        ("nothing", None),
        ("", None),
    ],
)
def test_next_page(header: str, target: str | None) -> None:
    assert next_page([header]) == target


def test_pauses_grow_and_have_an_end() -> None:
    patience = Patience(first=1.0, most=8.0)
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0)):
        assert longest / 2 <= patience.pause(attempt) <= longest
    assert patience.pause(1, "3") == 3.0
    assert patience.pause(1, "1000") == 8.0
    assert 0.5 <= patience.pause(1, "soon") <= 1.0
    later = email.utils.formatdate(time.time() + 5, usegmt=True)
    assert 2.0 <= patience.pause(1, later) <= 6.0
    assert patience.pause(1, email.utils.formatdate(0, usegmt=True)) == 0.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (429, Unavailable),
        (503, Unavailable),
    ],
)
def test_statuses_become_errors(status: int, kind: type[Exception]) -> None:
    error = failures.from_answer("asking reg", status, "application/json", b"{}")
    assert isinstance(error, kind)
    assert str(error).startswith(f"asking reg: the registry answers {status} ")


def test_the_registry_s_words_are_shown_as_docker_shows_them() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"requested\\n access is\\u001b[1m denied"}]}'
    error = failures.from_answer("x", 403, "application/json", body)
    assert str(error) == "x: denied: requested access is[1m denied"
    assert error.codes == ("DENIED",)
    plain = failures.from_answer("x", 500, "text/plain", b"out of cheese\n")
    assert str(plain) == "x: out of cheese"
    page = failures.from_answer("x", 502, "text/html", b"<html>")
    assert "web page" in str(page)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"errors": 1}', b'{"errors": [1]}', b"[" * 9999])
def test_an_error_document_that_makes_no_sense(body: bytes) -> None:
    assert failures.from_answer("x", 404, "application/json", body).codes == ()
