"""``knarr network …``: flags, columns, texts and exit codes as Docker has them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.installations import Installation
    from tests.support.nethost import NetHost

    Command = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def knarr(nethost: NetHost, box: Installation) -> Command:
    """The command, on a host of its own."""
    del nethost
    return box.run


def _good(done: tuple[int, bytes, bytes]) -> str:
    assert done[0] == 0, done[2]
    return done[1].decode()


def test_a_networks_life(knarr: Command) -> None:
    made = _good(knarr("network", "create", "--label", "a=b", "--ipv6", "net10")).strip()
    assert re.fullmatch("[0-9a-f]{64}", made)
    _good(knarr("network", "create", "--internal", "--subnet", "10.9.0.0/24", "net9"))
    lines = _good(knarr("network", "ls")).splitlines()
    assert lines[0] == "NETWORK ID     NAME      DRIVER    SCOPE"
    assert [line.split()[1:] for line in lines[1:]] == [
        ["bridge", "bridge", "local"], ["host", "host", "local"], ["net9", "bridge", "local"],
        ["net10", "bridge", "local"], ["none", "null", "local"],
    ]  # fmt: skip
    assert lines[4].split()[0] == made[:12]
    wanted = '{{.Name}} {{.IPv4}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.Label "a"}}'
    assert _good(knarr("network", "ls", "-f", "type=custom", "--format", wanted)) == (
        "net9 true false true  \nnet10 true true false a=b b\n"
    )
    assert _good(knarr("network", "ls", "-q", "--no-trunc", "-f", "name=net10")) == f"{made}\n"
    row = json.loads(_good(knarr("network", "ls", "--format", "json", "-f", "name=net9")))
    assert row["Driver"] == "bridge"
    assert "CreatedAt" in row
    assert _good(knarr("network", "rm", "net9", made[:7])) == f"net9\n{made[:7]}\n"
    assert _good(knarr("network", "rm", "-f", "net9")) == ""


def test_inspect(knarr: Command) -> None:
    _good(knarr("network", "create", "--subnet", "10.9.0.0/24", "--ip-range", "10.9.0.128/25",
                "--gateway", "10.9.0.1", "--aux-address", "nas=10.9.0.5", "net"))  # fmt: skip
    template = "{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}} {{.Gateway}}{{end}}"
    assert _good(knarr("network", "inspect", "-f", template, "net")) == (
        "10.9.0.0/24 10.9.0.128/25 10.9.0.1\n"
    )
    (shown,) = json.loads(_good(knarr("inspect", "net")))
    assert shown["Name"] == "net"
    assert list(shown)[:5] == ["Name", "Id", "Created", "Scope", "Driver"]
    assert json.loads(_good(knarr("inspect", "--type", "network", "net"))) == [shown]
    done = knarr("network", "inspect", "net", "nobody")
    assert (done[0], done[2]) == (1, b"Error: network nobody not found\n")
    assert json.loads(done[1]) == [shown]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("create", "bridge"), "operation is not permitted on predefined bridge network"),
        (("create", "net"), "network with name net already exists"),
        (("create", "-d", "odd", "two"), 'plugin "odd" not found'),
        (("create", "--subnet", "10.9.0.1/24", "two"),
         "invalid network config: invalid subnet 10.9.0.1/24: it should be 10.9.0.0/24"),
        (("create", "--subnet", "10.9.0.128/25", "two"),
         "Pool overlaps with other one on this address space (10.9.0.128/25 and 10.9.0.0/24"),
        (("create", "--subnet", "198.51.100.0/25", "two"), "a route of the host over uplink"),
        (("create", "--gateway", "10.1.0.1", "two"), "must have a corresponding subnet"),
        (("create", "--subnet", "fd00::/64", "two"), "IPv6 is not enabled for network two"),
        (("create", "--ipam-driver", "odd", "two"), 'invalid ipam driver: "odd"'),
        (("rm", "none"), "none is a pre-defined network and cannot be removed"),
        (("rm", "nobody"), "network nobody not found"),
        (("connect", "nobody", "web"), "network nobody not found"),
        (("connect", "net", "nobody"), "No such container: nobody"),
        (("disconnect", "net", "web"), "is not connected to network net"),
        (("connect", "host", "web"), "cannot connect container to host network"),
        (("connect", "--ip", "10.8.0.1", "net", "web"),
         "invalid endpoint settings: no configured subnet contains IP address 10.8.0.1"),
        (("ls", "-f", "odd=1"), "invalid filter 'odd'"),
        (("prune", "-f", "--filter", "name=x"), "invalid filter 'name'"),
    ],
)  # fmt: skip
def test_what_goes_wrong(knarr: Command, words: tuple[str, ...], text: str) -> None:
    _good(knarr("network", "create", "--subnet", "10.9.0.0/24", "net"))
    _good(knarr("create", "--network", "bridge", "--name", "web", "busybox", "true"))
    done = knarr("network", *words)
    assert done[0] == 1
    assert text in done[2].decode()
    assert done[2].count(b"\n") == 1
    assert _good(knarr("network", "ls", "-qf", "name=two")) == ""


def test_networks_of_containers(knarr: Command) -> None:
    for name in ("front", "back"):
        _good(knarr("network", "create", name))
    _good(knarr("create", "--name", "web", "--network", "front", "--network", "name=back,alias=db",
                "busybox", "true"))  # fmt: skip
    assert _good(knarr("ps", "-a", "--format", "{{.Networks}}")) == "front,back\n"
    assert _good(knarr("ps", "-aqf", "network=back")) != ""
    assert _good(knarr("ps", "-aqf", "network=bridge")) == ""
    _good(knarr("network", "disconnect", "front", "web"))
    _good(knarr("network", "connect", "--ip", "172.17.0.99", "front", "web"))
    wanted = "{{range $name, $each := .NetworkSettings.Networks}}{{$name}} {{end}}"
    assert _good(knarr("inspect", "-f", wanted, "web")).split() == ["back", "front"]
    (shown,) = json.loads(_good(knarr("inspect", "web")))
    assert shown["HostConfig"]["NetworkMode"] == "front"
    assert shown["NetworkSettings"]["Networks"]["back"]["Aliases"] == ["db"]
    assert shown["NetworkSettings"]["Networks"]["front"]["IPAMConfig"] == {
        "IPv4Address": "172.17.0.99"
    }
    done = knarr("network", "connect", "front", "web")
    assert b"endpoint with name web already exists in network front" in done[2]


def test_prune(knarr: Command) -> None:
    _good(knarr("network", "create", "net"))
    asked = knarr("network", "prune", input=b"n\n")
    assert (
        asked[1]
        .decode()
        .startswith(
            "WARNING! This will remove all custom networks not used by at least one container.\n"
        )
    )
    assert _good(knarr("network", "prune", "-f")) == "Deleted Networks:\nnet\n\n"
    _good(knarr("network", "create", "net"))
    assert "Deleted Networks:\nnet\n" in _good(knarr("system", "prune", "-f"))
