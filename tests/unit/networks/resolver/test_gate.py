"""Which names a limited container may ask for, and which addresses names may open."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from knarr.networks import egress
from knarr.networks.resolver import message
from knarr.networks.resolver.gate import Gate, Opener, is_public
from tests.support import dns


def gate(*texts: str) -> Gate:
    entries = egress.parse(texts)
    told: dict[str, Any] = {
        "table": "knarr", "mark": 1, "names": egress.names(entries),
        "networks": egress.ranges(entries),
    }  # fmt: skip
    return Gate(told, Opener())


def query(name: str, kind: int = dns.A, *, group: int = 1) -> message.Query:
    return message.parse(dns.query(name, kind, group=group, edns=1232))


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("example.org", ()),
        ("EXAMPLE.org", ()),
        ("a.example.org", None),
        ("example.org.evil.net", None),
        ("notexample.org", None),
        ("org", None),
        ("", None),
        ("wild.net", None),
        ("a.wild.net", ((6, 443), (17, 443))),
        ("b.a.wild.net", ((6, 22), (6, 443), (17, 443))),
        ("c.b.a.wild.net", ((6, 443), (17, 443))),
        ("notwild.net", None),
        ("10.1.0.1", None),
    ],
)
def test_which_names(name: str, ports: object) -> None:
    made = gate("example.org", "*.wild.net:443", "b.a.wild.net:22/tcp", "10.1.0.0/16")
    assert made.ports(query(name)) == ports


def test_all_ports_are_more_than_some() -> None:
    assert gate("a.org:443", "a.org").ports(query("a.org")) == ()
    assert gate("a.b.org", "*.b.org:443").ports(query("a.b.org")) == ()


def test_other_classes_are_nobodys() -> None:
    assert gate("example.org").ports(query("example.org", group=3)) is None


def test_a_name_that_is_blocked_does_not_exist_and_the_reason_is_told() -> None:
    made = gate("example.org").blocked(query("other.org"))
    assert dns.read(made).code == dns.NXDOMAIN
    assert made.endswith(b"\0\x0fnot in the container's --egress-allow"), made
    plain = gate("example.org").blocked(message.parse(dns.query("other.org")))
    assert dns.read(plain).edns is None


def test_an_answer_that_leads_inside_is_empty_and_opens_nothing() -> None:
    asked = query("example.org")
    reply = dns.reply(asked.raw, [(dns.A, bytes((10, 0, 0, 1)))])
    passed = dns.read(gate("example.org").passed(asked, reply, (), 512))
    assert (passed.code, passed.values) == (dns.NOERROR, [])
    allowed = gate("example.org", "10.0.0.0/24").passed(asked, reply, (), 512)
    assert dns.read(allowed).values == ["10.0.0.1"]


def test_failures_pass_as_they_are() -> None:
    asked = query("example.org")
    reply = dns.reply(asked.raw, [], dns.NXDOMAIN)
    assert gate("example.org").passed(asked, reply, (), 512) == reply


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.170", "192.168.0.1",
        "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "fc00::1", "fd00::1",
        "fe80::1", "fec0::1", "ff02::1", "2001::1", "2002:a00:1::", "2002:7f00:1::1", "100::1",
        "4000::1",
    ],
)  # fmt: skip
def test_addresses_that_no_name_opens(address: str) -> None:
    assert not is_public(packed(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1",
        "172.32.0.1", "192.0.1.1", "192.167.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
        "2606:4700::1111", "2001:4860::8888", "2002:808:808::1", "64:ff9b::8.8.8.8",
    ],
)  # fmt: skip
def test_addresses_of_the_world(address: str) -> None:
    assert is_public(packed(address))


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
