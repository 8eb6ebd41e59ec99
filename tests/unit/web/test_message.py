from __future__ import annotations

import pytest

from knarr.web.message import BadRequest, split_target


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", []),
        (b"/a/b?x=1&y=&x=2", "/a/b", [("x", "1"), ("y", ""), ("x", "2")]),
        (b"/%61%2Fb?q=%2B+", "/a/b", [("q", "+ ")]),
        (b"http://host:1/a?b=c", "/a", [("b", "c")]),
        (b"https://host", "/", []),
        (b"/?", "/", []),
    ],
)
def test_targets(target: bytes, path: str, query: list[tuple[str, str]]) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    "target",
    [b"*", b"host:443", b"ftp://x/y", b"/%ff", b"/a%00b", b"/a%0d%0ab", b"/?a=%ff", b"/\xff",
     b"/?" + b"a&" * 300],
)  # fmt: skip
def test_targets_that_are_none(target: bytes) -> None:
    with pytest.raises(BadRequest):
        split_target(target)
