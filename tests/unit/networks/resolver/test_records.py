"""Which addresses an answer has for the name that was asked for."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.networks.resolver import message
from knarr.networks.resolver.records import Records, name_at
from tests.support import dns

KEY = b"\x07example\x03org\0"
ONE, TWO = b"\1\2\3\4", b"\5\6\7\x08"
CNAME = 5


def answer(*records: tuple[bytes, int, int, bytes], flags: int = 0, more: bytes = b"") -> bytes:
    query = dns.query("example.org")
    head = struct.pack(">HHHHH", 0x8180 | flags, 1, len(records) + bool(more), 0, 0)
    body = b"".join(
        owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data
        for owner, kind, ttl, data in records
    )
    return query[:2] + head + query[12:] + body + more


def test_addresses_of_the_name_itself() -> None:
    found = Records(answer((b"\xc0\x0c", 1, 60, ONE), (b"\xc0\x0c", 28, 70, bytes(16))), KEY)
    assert found.addresses == [(ONE, 60), (bytes(16), 70)]
    assert len(found.ttls) == 2


def test_aliases_one_after_the_other_in_any_order_and_case() -> None:
    found = Records(
        answer(
            (dns.name("C.net"), 1, 1, TWO),
            (dns.name("b.net"), CNAME, 1, dns.name("c.NET")),
            (b"\xc0\x0c", CNAME, 1, dns.name("B.net")),
        ),
        KEY,
    )
    assert found.addresses == [(TWO, 1)]


def test_strangers_and_circles() -> None:
    found = Records(
        answer(
            (dns.name("stranger.net"), 1, 1, ONE),
            (b"\xc0\x0c", CNAME, 1, dns.name("b.net")),
            (dns.name("b.net"), CNAME, 1, dns.name("example.org")),
        ),
        KEY,
    )
    assert found.addresses == []


def test_a_chain_has_an_end() -> None:
    records = [(dns.name(f"n{at}.net"), CNAME, 1, dns.name(f"n{at + 1}.net")) for at in range(40)]
    long = answer(
        (b"\xc0\x0c", CNAME, 1, dns.name("n0.net")), *records, (dns.name("n40.net"), 1, 1, ONE)
    )
    assert Records(long, KEY).addresses == []


def test_addresses_of_a_wrong_size_are_none() -> None:
    found = Records(answer((b"\xc0\x0c", 1, 1, b"\1\2\3"), (b"\xc0\x0c", 28, 1, ONE)), KEY)
    assert found.addresses == []


def test_ttls_are_bounded_where_they_are() -> None:
    reply = answer((b"\xc0\x0c", 1, 10**6, ONE), (b"\xc0\x0c", 1, 5, TWO))
    bounded = Records(reply, KEY).bounded(reply, 3600)
    assert dns.read(bounded).ttls == {3600, 5}
    assert len(bounded) == len(reply)


def test_what_was_cut_off_counts_as_far_as_it_came() -> None:
    whole = answer((b"\xc0\x0c", 1, 60, ONE), (b"\xc0\x0c", 1, 60, TWO), flags=0x0200)
    assert Records(whole[:-3], KEY).addresses == [(ONE, 60)]
    with pytest.raises(ValueError, match="ends behind"):
        Records(answer((b"\xc0\x0c", 1, 60, ONE))[:-3], KEY)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x03ab", b"\xc0", b"\xc0\0", b"\x40" + b"a" * 64 + b"\0", b"\x3f" + b"a" * 63],
)
def test_no_names(raw: bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        name_at(raw, 0)


def test_a_name_is_not_longer_than_names_are() -> None:
    label = b"\x3f" + b"a" * 63
    with pytest.raises(ValueError, match="no name"):
        name_at(label * 4 + b"\0", 0)
    assert name_at(label * 3 + b"\0", 0) == (label * 3 + b"\0", 193)


@given(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 20))
def test_garbage_is_refused_or_read(body: bytes, questions: int, answers: int) -> None:
    reply = b"\0\0\x81\x80" + struct.pack(">HHHH", questions, answers, 1, 1) + body
    try:
        found = Records(reply, KEY)
    except ValueError:
        return
    assert all(len(address) in (4, 16) for address, _ in found.addresses)
    assert len(found.bounded(reply, 1)) == len(reply)
    assert message.code(reply) == 0
