"""``-p`` and ``--expose`` mean what they mean to Docker's command, and are refused in its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.engine.model import HostPort
from knarr.engine.ports import specs
from knarr.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("3000", [HostPort(3000)]),
        ("8080:80", [HostPort(80, first=8080, last=8080)]),
        (":80", [HostPort(80)]),
        ("0:80", [HostPort(80)]),
        ("53:53/udp", [HostPort(53, "udp", "", 53, 53)]),
        ("9:9/SCTP", [HostPort(9, "sctp", "", 9, 9)]),
        ("80:80/", [HostPort(80, first=80, last=80)]),
        ("127.0.0.1:8080:80", [HostPort(80, "tcp", "127.0.0.1", 8080, 8080)]),
        ("127.0.0.1::80", [HostPort(80, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [HostPort(80, "tcp", "::1", 8080, 8080)]),
        ("[2001:DB8:0::1]::80/udp", [HostPort(80, "udp", "2001:db8::1")]),
        ("::1:8080:80", [HostPort(80, "tcp", "::1", 8080, 8080)]),
        ("[::ffff:127.0.0.1]:1:2", [HostPort(2, "tcp", "127.0.0.1", 1, 1)]),
        ("8000-8010:80", [HostPort(80, first=8000, last=8010)]),
        ("81-82", [HostPort(81), HostPort(82)]),
        (
            "8081-8082:81-82/udp",
            [HostPort(81, "udp", "", 8081, 8081), HostPort(82, "udp", "", 8082, 8082)],
        ),
        ("published=8080,target=80", [HostPort(80, first=8080, last=8080)]),
        ("target=80,protocol=udp", [HostPort(80, "udp")]),
    ],
)
def test_what_is_published(text: str, ports: list[HostPort]) -> None:
    assert list(specs.published([text])) == ports


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("80:", "no port specified: 80:<empty>"),
        ("published=80", "no port specified: 80:/tcp<empty>"),
        ("abc", "invalid containerPort: abc"),
        ("70000", "invalid containerPort: 70000"),
        ("+80", "invalid containerPort: +80"),
        ("80-", "invalid containerPort: 80-"),
        ("9" * 9999, f"invalid containerPort: {'9' * 9999}"),
        ("-1:80", "invalid hostPort: -1"),
        ("90-80:80", "invalid hostPort: 90-80"),
        ("127.0.0.1:foo:80", "invalid hostPort: foo"),
        ("80-90:80-95", "invalid ranges specified for container and host Ports: 80-95 and 80-90"),
        ("80/foo", "invalid proto: foo"),
        ("1:2:3:4", "invalid IP address: 1:2"),
        ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
        ("127.0.0.01:80:80", "invalid IP address: 127.0.0.01"),
        ("fe80::1%eth0:80:80", "invalid IP address: fe80::1%eth0"),
        ("[::1:80:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
        ("[::1]x:80:80", "invalid IP address [::1]x: address [::1]x:: missing port in address"),
        ("=", "invalid publish opts format (should be name=value but got '=')"),
        (
            "target=80,published",
            "invalid publish opts format (should be name=value but got 'published')",
        ),
        ("0", 'invalid port specification: "0/tcp"'),
        ("0-5:80", "invalid port range: 0-5"),
    ],
)
def test_what_cannot_be_published(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        specs.published([text])
    assert str(caught.value) == message


def test_what_is_exposed() -> None:
    assert specs.exposed(["80", "53-54/UDP", "80/tcp"]) == ("80/tcp", "53/udp", "54/udp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'x, error: strconv.ParseUint: parsing "x": invalid syntax'),
        ("80-foo", '80-foo, error: strconv.ParseUint: parsing "foo": invalid syntax'),
        ("70000", '70000, error: strconv.ParseUint: parsing "70000": value out of range'),
        ("90-80", "90-80, error: invalid range specified for port: 90-80"),
        ("", ", error: empty string specified for ports"),
    ],
)
def test_what_cannot_be_exposed(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        specs.exposed([text])
    assert str(caught.value) == f"invalid range format for --expose: {message}"


@given(st.text(alphabet="0123456789:-./[]=,tcpudsx \n\0é٣"))
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    try:
        ports = specs.published([text])
    except InvalidArgument as error:
        assert str(error)
    else:
        assert ports
