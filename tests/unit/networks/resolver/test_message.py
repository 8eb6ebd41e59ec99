"""Queries are read with bounds, answers keep to the client's limit."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.networks.resolver import message
from tests.support import dns


def parsed(text: str, kind: int = dns.A, edns: int | None = None) -> message.Query:
    return message.parse(dns.query(text, kind, edns=edns))


def test_a_query() -> None:
    query = parsed("Web.Example")
    assert query.key == b"\x03web\x07example\0"
    assert (query.kind, query.edns, query.size, query.foreign) == (dns.A, False, 512, False)


@pytest.mark.parametrize(("told", "taken"), [(100, 512), (512, 512), (4096, 4096)])
def test_what_a_client_takes_at_once(told: int, taken: int) -> None:
    query = parsed("web", edns=told)
    assert (query.edns, query.size) == (True, taken)


def test_an_answer_repeats_the_question_as_it_was_spelt() -> None:
    query = parsed("WeB")
    answer = dns.read(message.answer(query, [message.record(message.A, bytes(4))], 512))
    assert (answer.values, answer.ttls, answer.edns) == (["0.0.0.0"], {600}, None)
    assert answer.question.startswith(b"\x03WeB\0")


def test_an_answer_that_is_too_long_has_what_fits_and_says_so() -> None:
    records = [message.record(message.A, bytes((10, 0, 0, last))) for last in range(100)]
    short = dns.read(message.answer(parsed("web"), records, 512))
    assert short.truncated
    assert short.size <= 512
    assert len(short.values) == (512 - 12 - 9) // 16
    whole = dns.read(message.answer(parsed("web", edns=4096), records, 4096))
    assert not whole.truncated
    assert (len(whole.values), whole.edns) == (100, 4096)


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"", None),
        (bytes(11), None),
        (dns.query("web")[:2] + b"\x81\x80" + dns.query("web")[4:], None),  # an answer
        (dns.query("web")[:2] + b"\x28\x00" + dns.query("web")[4:], dns.NOTIMP),  # an update
        (dns.query("web")[:5] + b"\2" + dns.query("web")[6:], dns.FORMERR),  # two questions
        (dns.query("web")[:5] + b"\0" + dns.query("web")[6:], dns.FORMERR),
        (dns.query("web")[:-1], dns.FORMERR),
        (dns.query("web")[:12], dns.FORMERR),
        (dns.query("web")[:12] + b"\xc0\x0c\0\1\0\1", dns.FORMERR),  # a name that is itself
        (dns.query("web")[:12] + b"\x3f" * 255 + b"\0\0\1\0\1", dns.FORMERR),
        (dns.query(".".join(["a" * 63] * 5)), dns.FORMERR),
    ],
)
def test_what_is_no_query(packet: bytes, code: int | None) -> None:
    with pytest.raises(message.Malformed) as told:
        message.parse(packet)
    if code is None:
        assert told.value.answer == b""
    else:
        assert (told.value.answer[:2], told.value.answer[3] & 15) == (packet[:2], code)


@given(st.binary(max_size=600))
def test_nothing_but_malformed_is_raised(packet: bytes) -> None:
    try:
        query = message.parse(packet)
    except message.Malformed:
        return
    message.answer(query, [], query.size)


@given(st.binary(max_size=80))
def test_nothing_behind_the_question_does_harm(rest: bytes) -> None:
    packet = dns.query("web")
    query = message.parse(packet[:11] + b"\x05" + packet[12:] + rest)
    assert query.size >= 512


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1:2", "255.255.255.255"])
def test_the_name_of_an_address(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert message.reverse(found.packed) == message.wire(found.reverse_pointer)


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, ".".join(["a" * 63] * 4)])
def test_names_that_cannot_be_asked_for(name: str) -> None:
    assert message.wire(name) is None


def test_only_the_answer_to_the_question_counts() -> None:
    query = parsed("web.example")
    good = dns.reply(dns.query("WEB.example", number=0x4242), [(dns.A, bytes(4))])
    assert message.belongs(good, query, b"BB")
    assert not message.belongs(good, query, b"BC")
    assert not message.belongs(dns.query("web.example", number=0x4242), query, b"BB")
    for other in (
        dns.query("bad.example", number=0x4242),
        dns.query("web.example", dns.AAAA, number=0x4242),
    ):
        assert not message.belongs(dns.reply(other, []), query, b"BB")
    assert message.belongs(b"BB\x80\x01" + bytes(8), query, b"BB"), "refused without the question"
    assert not message.belongs(b"BB\x80\x00" + bytes(8), query, b"BB")


@given(st.binary(max_size=60))
def test_any_bytes_of_a_server(reply: bytes) -> None:
    assert message.belongs(reply, parsed("web"), b"xx") in (True, False)
