from __future__ import annotations

import pytest

from knarr.errors import InvalidArchive
from knarr.snapshots import tarheader as header


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"    644 ", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"77777777777\0", 0o77777777777),
        (b"\x80" + bytes(3) + (1 << 40).to_bytes(8, "big"), 1 << 40),
        (b"\xff" * 12, -1),
        (b"\xff" * 11 + b"\x9c", -100),
    ],
)
def test_number(field: bytes, value: int) -> None:
    assert header.number(field, "x") == value


@pytest.mark.parametrize(
    "field",
    [b"0000x44\0", b"-000001\0", b"0o17\0\0\0\0", b"1_0\0\0\0\0\0", b"89\0\0\0\0\0\0",
     b"+7      "],
)  # fmt: skip
def test_bad_number(field: bytes) -> None:
    with pytest.raises(InvalidArchive):
        header.number(field, "x")


def test_pax_records() -> None:
    data = b"12 path=a=b\n" + b"20 SCHILY.xattr.u=\n\n" + b"5 a=\n"
    assert header.pax_records(data) == [(b"path", b"a=b"), (b"SCHILY.xattr.u", b"\n"), (b"a", b"")]
    assert header.pax_records(b"6 a=1\n" + bytes(10)) == [(b"a", b"1")]


@pytest.mark.parametrize(
    "data",
    [b"x", b"5 a=1\n", b"7 a=1\n", b"6 a=1x", b"5 aaa\n", b"5 =1\n", b"-6 a=1\n", b"1 a", b"0 \n",
     b"99999999999999999999999 a=1\n", b"10 path=\0\n", b" 6 a=1\n", b"7 a\0=1\n", b"2 \n",
     b"3 \n\n"],
)  # fmt: skip
def test_bad_pax_records(data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        header.pax_records(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"1", 10**9), (b"1.5", 1_500_000_000), (b"-1.5", -1_500_000_000), (b".25", 250_000_000),
     (b"-.25", -250_000_000), (b"1.1234567891", 1_123_456_789), (b"0", 0), (b"5.", 5 * 10**9)],
)  # fmt: skip
def test_pax_time(text: bytes, value: int) -> None:
    assert header.pax_time(text) == value


@pytest.mark.parametrize("text", [b"x", b"1.x", b"1e5", b"--1", b"9" * 25, b"1.-5", b" 1"])
def test_bad_pax_time(text: bytes) -> None:
    with pytest.raises(InvalidArchive):
        header.pax_time(text)


def test_xattrs_in_both_spellings() -> None:
    pax = {
        b"SCHILY.xattr.user.a": b"1",
        b"LIBARCHIVE.xattr.user.b%3D": b"Mg",
        b"LIBARCHIVE.xattr.user.a": b"OTk=",
        b"path": b"x",
    }
    assert header.pax_xattrs(pax) == {b"user.a": b"1", b"user.b=": b"2"}
    for key, value in ((b"SCHILY.xattr.", b"1"), (b"LIBARCHIVE.xattr.user.x", b"\xff!")):
        with pytest.raises(InvalidArchive):
            header.pax_xattrs({key: value})


def test_sparse_maps_are_checked() -> None:
    assert header.checked_sparse([(0, 5), (10, 0), (20, 5)], 25, 10) == [(0, 5), (20, 5)]
    bad = [([(5, 5), (0, 5)], 20, 10), ([(0, 10)], 5, 10), ([(0, 5)], 5, 6), ([(-1, 5)], 9, 5)]
    for pairs, real, stored in bad:
        with pytest.raises(InvalidArchive):
            header.checked_sparse(pairs, real, stored)
    with pytest.raises(InvalidArchive):
        header.sparse_pairs([1])
