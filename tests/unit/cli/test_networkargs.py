"""Flags that join containers to networks, as Docker's command reads them."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.cli import networkargs, verbs
from knarr.cli.exitcodes import BadFlag
from knarr.cli.flags import UsageError
from knarr.engine.endpointconfig import EndpointConfig


def joined(*words: str) -> dict[str, Any]:
    return networkargs.of_run(verbs.load("run").parse([*words, "image"]))


def connected(*words: str) -> EndpointConfig:
    args = verbs.load("network_connect").parse([*words, "net", "web"])
    return networkargs.of_connect(args, "net")


def test_a_name_alone() -> None:
    assert joined() == {"network": None, "endpoints": None}
    assert joined("--network", "web") == {"network": "web", "endpoints": None}
    assert joined("--network", "name=web") == {"network": "web", "endpoints": None}
    assert joined("--network", "default") == {"network": None, "endpoints": None}


def test_flags_are_those_of_the_first_network() -> None:
    found = joined(
        "--network", "front", "--network", "name=back,gw-priority=-3", "--ip", "10.1.0.7",
        "--ip6", "FD00::7", "--mac-address", "92-D0-C6-0A-29-33", "--network-alias", "db",
        "--net-alias", "sql", "--link-local-ip", "169.254.1.1",
    )  # fmt: skip
    assert found == {
        "network": "front",
        "endpoints": (
            EndpointConfig("front", ("db", "sql"), "10.1.0.7", "fd00::7", ("169.254.1.1",),
                           "92:d0:c6:0a:29:33"),
            EndpointConfig("back", priority=-3),
        ),
    }  # fmt: skip


def test_the_long_form() -> None:
    found = joined(
        "--network",
        "name=Net,alias=a,alias=B,ip=10.0.0.1,ip6=fd00::1,mac-address=92:d0:c6:0a:29:33,"
        "link-local-ip=fe80::5,driver-opt=com.docker.network.endpoint.ifname=net0,gw-priority=7",
    )
    (only,) = found["endpoints"]
    assert only == EndpointConfig(
        "net", ("a", "b"), "10.0.0.1", "fd00::1", ("fe80::5",), "92:d0:c6:0a:29:33",
        {"com.docker.network.endpoint.ifname": "net0"}, 7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--network", ""), "no name set for network"),
        (("--network", "a", "--network", "a"), 'network "a" is specified multiple times'),
        (("--network", "a", "--network", "host"), "cannot attach both user-defined and non-user"),
        (("--network-alias", "db"), "network-scoped aliases are only supported for user-defined"),
        (("--network", "name=a,alias=x", "--network-alias", "db"),
         "cannot specify both --network-alias and per-network alias"),
        (("--network", "name=a,ip=10.0.0.1", "--ip", "10.0.0.2"),
         "cannot specify both --ip and per-network IPv4 address"),
        (("--network", "name=a,mac-address=92:d0:c6:0a:29:33", "--mac-address",
          "92:d0:c6:0a:29:33"), "cannot specify both --mac-address and per-network MAC address"),
        (("--network", "a", "--mac-address", "xyz"), "xyz is not a valid mac address"),
        (("--network", "a", "--ip", "fd00::1"), "invalid IPv4 address: fd00::1"),
        (("--network", "a", "--ip6", "10.0.0.1"), "invalid IPv6 address: 10.0.0.1"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(words: tuple[str, ...], problem: str) -> None:
    with pytest.raises(BadFlag, match=problem):
        joined(*words)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--network", "alias=x"), "network name/id is not specified"),
        (("--network", "name=a,color=red"), "invalid field key color"),
        (("--network", "name=a,alias"), "invalid field alias"),
        (("--network", "name=a,gw-priority=high"), r"invalid gw-priority \(high\)"),
        (("--network", "name=a,ip=here"), "'here' does not appear to be an IPv4 or IPv6"),
        (("--ip", "here"), 'invalid argument "here" for "--ip" flag: failed to parse IP: "here"'),
        (("--link-local-ip", "x"), "IP address is not correctly formatted: x"),
    ],
)
def test_values_that_are_wrong(words: tuple[str, ...], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        joined(*words)


def test_connect() -> None:
    assert connected() == EndpointConfig("net")
    assert connected(
        "--alias", "a,b", "--alias", "c", "--ip", "10.0.0.9", "--link-local-ip",
        "169.254.1.1,fe80::9", "--driver-opt", "x=1,y=2", "--gw-priority", "-1",
    ) == EndpointConfig(
        "net", ("a", "b", "c"), "10.0.0.9", None, ("169.254.1.1", "fe80::9"), None,
        {"x": "1", "y": "2"}, -1,
    )  # fmt: skip
    with pytest.raises(BadFlag, match="invalid key/value pair format in driver options"):
        connected("--driver-opt", "x")
    with pytest.raises(BadFlag, match="IP address is not correctly formatted: x"):
        connected("--link-local-ip", "x")
