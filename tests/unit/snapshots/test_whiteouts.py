from __future__ import annotations

import pytest

from knarr.errors import InvalidArchive
from knarr.snapshots import whiteouts


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        (b"a", None),
        (b"a/.whx", None),
        (b".wh.a", ("hide", b"a")),
        (b"d/.wh.a", ("hide", b"a")),
        (b"d/.wh..wh..opq", ("opaque", b"")),
        (b".wh..wh.plnk", ("ignore", b"")),
        (b".wh..wh.plnk/1.2", ("ignore", b"")),
        (b"d/.wh..wh.aufs", ("ignore", b"")),
        (b".wh..hidden", ("hide", b".hidden")),
        (b".wh.\xff", ("hide", b"\xff")),
    ],
)
def test_whiteout_names(name: bytes, meaning: tuple[str, bytes] | None) -> None:
    assert whiteouts.meaning(name.split(b"/")) == meaning


@pytest.mark.parametrize("name", [b".wh.", b"a/.wh..", b".wh...", b".wh.a/b"])
def test_whiteouts_that_cannot_be(name: bytes) -> None:
    with pytest.raises(InvalidArchive):
        whiteouts.meaning(name.split(b"/"))
