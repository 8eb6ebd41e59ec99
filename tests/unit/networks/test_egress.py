"""What ``--egress-allow`` says."""

from __future__ import annotations

import pytest

from knarr.errors import InvalidArgument
from knarr.networks import egress

BOTH = ((6, 443), (17, 443))


@pytest.mark.parametrize(
    ("text", "name", "below", "ports"),
    [
        ("example.org", "example.org", False, ()),
        ("Example.ORG.", "example.org", False, ()),
        ("*.example.org", "example.org", True, ()),
        ("example.org:443", "example.org", False, BOTH),
        ("*.example.org:443/tcp", "example.org", True, ((6, 443),)),
        ("registry:53/udp", "registry", False, ((17, 53),)),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", False, ()),
        ("_dmarc.1and1.com", "_dmarc.1and1.com", False, ()),
    ],
)
def test_names(text: str, name: str, below: bool, ports: tuple[egress.Port, ...]) -> None:
    (found,) = egress.parse([text])
    assert (found.name, found.below, found.ports) == (name, below, ports)
    assert found.network is None


@pytest.mark.parametrize(
    ("text", "network", "ports"),
    [
        ("10.1.0.0/16", "10.1.0.0/16", ()),
        ("192.0.2.7", "192.0.2.7/32", ()),
        ("0.0.0.0/0", "0.0.0.0/0", ()),
        ("169.254.169.254:80", "169.254.169.254/32", ((6, 80), (17, 80))),
        ("10.1.0.0/16:443/tcp", "10.1.0.0/16", ((6, 443),)),
        ("2001:db8::/32", "2001:db8::/32", ()),
        ("2001:db8::1", "2001:db8::1/128", ()),
        ("[2001:db8::/32]:443", "2001:db8::/32", BOTH),
        ("[2001:db8::1]", "2001:db8::1/128", ()),
        ("[::ffff:10.0.0.1]:443/udp", "::ffff:a00:1/128", ((17, 443),)),
    ],
)
def test_networks(text: str, network: str, ports: tuple[egress.Port, ...]) -> None:
    (found,) = egress.parse([text])
    assert (str(found.network), found.ports, found.name) == (network, ports, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither a name"),
        ("*", "neither a name"),
        ("*.", "neither a name"),
        ("a.*.org", "neither a name"),
        ("example..org", "neither a name"),
        ("-a.org", "neither a name"),
        ("exa mple.org", "neither a name"),
        ("https://example.org", "the port is a number"),
        ("example.org/path", "does not appear to be an IPv4 or IPv6 network"),
        ("example.org/tcp", "a protocol needs a port: example.org:443/tcp"),
        ("example.org:", "no port behind the colon"),
        ("example.org:0", "the port is a number"),
        ("example.org:65536", "the port is a number"),
        ("example.org:80-90", "the port is a number"),
        ("example.org:443/sctp", "the protocol is tcp or udp"),
        ("example.org:443/TCP", "the protocol is tcp or udp"),
        ("10.1.0.1/16", "has host bits set"),
        ("10.1", "does not appear"),
        ("10.1.0.0/33", "does not appear"),
        ("1.2.3.4.5", "does not appear"),
        ("127.0.0.1", "loopback and multicast never leave"),
        ("::1", "loopback and multicast never leave"),
        ("ff02::/16", "loopback and multicast never leave"),
        ("[example.org]:443", "an IPv6 network with a port"),
        ("[2001:db8::1", "an IPv6 network with a port"),
        ("[2001:db8::1]443", "an IPv6 network with a port"),
        ("bücher.example", "write the name in ASCII"),
        ("a" * 64 + ".org", "neither a name"),
        (".".join(["abcdefg"] * 40), "neither a name"),
        ("example.123", "neither a name"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        egress.parse([text])
    assert str(caught.value).startswith(f"invalid egress {text!r}: ")
    assert why in str(caught.value)


def test_nothing_stands_alone() -> None:
    assert egress.parse(["none"]) == egress.parse([]) == ()
    with pytest.raises(InvalidArgument, match="none is nothing at all"):
        egress.parse(["none", "example.org"])


def test_networks_within_others_are_left_out_by_port() -> None:
    texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16:443/tcp", "10.1.2.0/24:443", "11.0.0.0/8"]
    assert sorted(egress.ranges(egress.parse([*texts, "2001:db8::/33", "2001:db8:8000::/33"]))) == [
        ["10.0.0.0", "11.255.255.255", 0, 0],
        ["10.1.0.0", "10.1.255.255", 6, 443],
        ["10.1.2.0", "10.1.2.255", 17, 443],
        ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 0, 0],
    ]


def test_marks_are_a_containers_own_and_stay() -> None:
    marks = {egress.mark(f"{number:064x}") for number in range(100)}
    assert len(marks) == 100
    assert {mark >> 24 for mark in marks} == {0x6B}
    assert egress.mark("a") == egress.mark("a")
