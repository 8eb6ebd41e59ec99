"""A container's interfaces through the launcher alone, and that nothing of them stays."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.config import Settings
from knarr.kernel import links, process
from knarr.kernel.netlink import Netlink
from knarr.kernel.nftables import INET, Element, Nftables
from knarr.networks.firewall import Firewall, NetworkRules
from knarr.runtime import egress, network
from knarr.supervisor import state, undo
from knarr.supervisor.client import LaunchFailed
from tests.support import launch
from tests.support.nethost import NetHost, qdiscs
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with launch.layers() as folder:
        yield folder


@pytest.fixture
def box(nethost: NetHost, settings: Settings, base: Path) -> Iterator[launch.Box]:
    made = launch.Box(settings, base)
    with Netlink() as sock:
        sock.ask(links.new_bridge("br-test"))
        index = links.index_of("br-test")
        sock.ask(
            links.new_address(index, "172.20.0.1", 16), links.new_address(index, "fd00:20::1", 64)
        )
    yield made
    made.close()


def attachment(number: int, **changes: Any) -> dict[str, Any]:
    """Return an endpoint on the bridge, as the engine plans it."""
    return {
        "network": "n" * 12,
        "driver": "bridge",
        "bridge": "br-test",
        "host_if": f"kn{secrets.token_hex(5)}",
        "name": "eth0",
        "mac": f"02:42:ac:14:00:{number:02x}",
        "addresses": [f"172.20.0.{number}/16"],
        "gateways": ["172.20.0.1"],
        "mtu": None,
        "isolated": False,
        "hairpin": False,
        "rate_in": None,
        "rate_out": None,
        **changes,
    }


def names() -> set[str]:
    with Netlink() as sock:
        return {name for name in links.names(sock) if name.startswith("kn")}


def start(box: launch.Box, *args: str, wanted: list[dict[str, Any]], **more: Any) -> launch.Running:
    return box.send(box.request(*args, network={"attachments": wanted}, **more))


def test_it_has_the_interface_from_its_first_instruction(box: launch.Box) -> None:
    with socket.create_server(("172.20.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"ip -o addr show eth0; ip route; echo hello | nc 172.20.0.1 {port}"
        one = start(box, "sh", "-c", script, wanted=[attachment(2, mtu=1400)])
        taken, peer = server.accept()
        with taken:
            assert peer[0] == "172.20.0.2"
            assert taken.recv(10) == b"hello\n"
        said = one.exit()
    assert said.code == 0, said.err
    assert "172.20.0.2/16" in said.text
    assert "inet6" not in said.text
    assert "default via 172.20.0.1 dev eth0" in said.text
    one.settled()
    assert not names()


def test_several_interfaces_and_ipv6(box: launch.Box) -> None:
    second = attachment(
        3, name="eth1", addresses=["10.9.9.9/24", "fd00:20::3/64"], gateways=["fd00:20::1"]
    )
    script = "ip -o addr; ip route; ip -6 route; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6"
    said = start(box, "sh", "-c", script, wanted=[attachment(2), second]).exit()
    assert {"172.20.0.2/16", "10.9.9.9/24", "fd00:20::3/64"} <= set(said.text.split())
    assert "default via fd00:20::1 dev eth1" in said.text
    assert said.text.rstrip().endswith("1")


def test_containers_reach_each_other(box: launch.Box) -> None:
    # A server whose input is at its end says so to who connects, who then may end before he has
    # read what he was to send.
    server = start(box, "sh", "-c", "echo up; nc -l -p 7000", wanted=[attachment(2)], stdin=True)
    server.until(b"up")
    script = "until echo hi | nc 172.20.0.2 7000; do :; done"
    client = start(box, "sh", "-c", script, wanted=[attachment(3)])
    assert client.exit().code == 0
    assert server.exit().text == "up\nhi\n"


def test_a_bridge_that_is_gone_fails_the_start_and_leaves_nothing(box: launch.Box) -> None:
    with pytest.raises(LaunchFailed, match="bridge br-none of network nnnnnnnnnnnn is gone"):
        start(box, "true", wanted=[attachment(2), attachment(3, name="eth1", bridge="br-none")])
    assert not names()


def test_a_command_that_is_not_there_leaves_nothing(box: launch.Box) -> None:
    with pytest.raises(LaunchFailed):
        start(box, "/nothing", wanted=[attachment(2)])
    assert not names()


@pytest.mark.parametrize("point", ["undo:link", "running", "started"])
def test_a_maker_that_is_killed_leaves_nothing_for_long(
    box: launch.Box, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(undo.CRASH_VARIABLE, point)
    request = box.request("sleep", "1000", network={"attachments": [attachment(2)]})
    with pytest.raises(LaunchFailed):
        box.send(request, attach=False)
    if point == "started":  # it runs, though nobody heard of it
        wait_until(lambda: state.exists(request["run_dir"]))
        record = state.read(request["run_dir"])
        assert record is not None
        assert names()
        os.kill(record["pid"], signal.SIGKILL)
    wait_until(lambda: not names())


@pytest.mark.parametrize("point", ["undo:egress", "undo:link", "running", "started"])
def test_a_maker_that_is_killed_leaves_nothing_allowed(
    box: launch.Box, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Firewall("knarr").add_network(NetworkRules("n" * 64, "br-test", ["172.20.0.0/16"]))
    mark = egress.PREFIX | 5
    networks = [["10.1.0.0", "10.1.255.255", 0, 0], ["10.2.0.0", "10.2.255.255", 6, 443]]
    limits = {"container": "c" * 64, "table": "knarr", "mark": mark, "networks": networks}
    monkeypatch.setenv(undo.CRASH_VARIABLE, point)
    request = box.request(
        "sleep", "1000",
        network={
            "egress": limits,
            "attachments": [attachment(2, mark=mark, sources=["172.20.0.2"])],
        },
    )  # fmt: skip
    with pytest.raises(LaunchFailed):
        box.send(request, attach=False)
    if point == "started":
        wait_until(lambda: state.exists(request["run_dir"]))
        record = state.read(request["run_dir"])
        assert record is not None
        assert _allowed()
        os.kill(record["pid"], signal.SIGKILL)
    wait_until(lambda: not names() and not _allowed())


def _allowed() -> list[Element]:
    with Nftables() as link:
        return [
            found for each in egress.SETS for found in link.list_elements(INET, "knarr", each.name)
        ]


def test_the_end_of_a_container_whose_network_is_shared(box: launch.Box) -> None:
    """Whoever joined it keeps the namespace, and not the way out."""
    one = start(box, "sleep", "1000", wanted=[attachment(2)])

    def join(spec: launch.Spec) -> None:
        for entry in spec["linux"]["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = f"/proc/{one.pid}/ns/net"

    with Path(f"/proc/{one.pid}/ns/net").open():
        assert names()
        one.kill()
        one.settled()
        assert not names()


def test_both_ends_can_send_before_it_runs(box: launch.Box) -> None:
    for number in range(5):
        wanted = attachment(2)
        one = start(box, "sleep", "1000", wanted=[wanted])
        with Netlink() as sock:
            for name in (wanted["host_if"], "br-test"):
                assert links.is_running(sock, links.index_of(name)), number
        one.kill()
        one.settled()


def test_a_process_that_has_anothers_number_is_not_joined(nethost: NetHost) -> None:
    del nethost
    with pytest.raises(ProcessLookupError, match="has ended"):
        network.attach(os.getpid(), [attachment(2)], lambda *_: None, began=1)
    with network.Inside(os.getpid(), process.start_time(os.getpid()) or 0):
        pass


def test_rates_are_limited_on_both_ends(box: launch.Box) -> None:
    wanted = attachment(2, rate_in=80_000_000, rate_out=8_000_000)
    one = start(box, "sleep", "1000", wanted=[wanted])
    assert b"tbf" in qdiscs()
    with network.Inside(one.pid):
        assert b"tbf" in qdiscs()
    one.kill()
