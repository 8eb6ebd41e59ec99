"""Links, addresses and routes of real network namespaces, by netlink."""

from __future__ import annotations

import _socket
import contextlib
import errno
import socket

import pytest

from knarr.kernel import links
from knarr.kernel.netlink import Netlink, NetlinkError
from tests.support.nethost import NetHost, inside, new_namespace
from tests.support.waiting import PATIENCE


def _pair(sock: Netlink, namespace: int, *, isolated: bool = False) -> None:
    sock.ask(links.new_bridge("br0", address="02:42:ac:11:00:01"))
    bridge = links.index_of("br0")
    sock.ask(links.new_address(bridge, "172.17.0.1", 16), links.new_address(bridge, "fd00::1", 64))
    made = links.new_veth(
        "kn1", "eth0", netns_fd=namespace, address="02:42:ac:11:00:02", master=bridge, mtu=1400
    )
    sock.ask(made)
    if isolated:
        sock.ask(links.set_port(links.index_of("kn1"), isolated=True))


def _inner(address: str) -> None:
    """Set up a container's end, from inside."""
    with Netlink(groups=(links.GROUP_LINK,)) as sock:
        _set_up(sock, links.index_of("eth0"), address)
        assert links.await_running(sock, {links.index_of("eth0")}, PATIENCE)


def _set_up(sock: Netlink, eth0: int, address: str) -> None:
    sock.ask(
        links.set_up(1),
        links.set_up(eth0),
        links.new_address(eth0, address, 16),
        links.new_address(eth0, "fd00::2", 64),
        links.new_route(eth0, "172.17.0.1"),
        links.new_route(eth0, "fd00::1"),
    )


@pytest.mark.parametrize(
    ("family", "here"), [(socket.AF_INET, "172.17.0.1"), (socket.AF_INET6, "fd00::1")]
)
def test_a_pair_carries_packets(nethost: NetHost, family: int, here: str) -> None:
    container = new_namespace()
    with Netlink() as sock:
        _pair(sock, container)
        with inside(container):
            _inner("172.17.0.2")
        with socket.socket(family, socket.SOCK_STREAM) as server:
            server.bind((here, 0))
            server.listen()
            with inside(container), socket.socket(family, socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect((here, server.getsockname()[1]))
                taken, peer = server.accept()
                taken.close()
                assert peer[0] in ("172.17.0.2", "fd00::2")
        sock.ask(links.delete_link("kn1"))
        with inside(container), Netlink() as inner:
            assert set(links.names(inner)) == {"lo"}


def test_what_is_there_is_listed(nethost: NetHost) -> None:
    container = new_namespace()
    with Netlink() as sock:
        _pair(sock, container)
        assert {"lo", "uplink", "br0", "kn1"} <= set(links.names(sock))
        listed = {(family, raw, prefix) for family, _, raw, prefix in links.addresses(sock)}
        assert (_socket.AF_INET, bytes((172, 17, 0, 1)), 16) in listed
        routes = {(raw, prefix) for raw, prefix, _ in links.routes(sock, _socket.AF_INET)}
        assert {(bytes(4), 0), (bytes((172, 17, 0, 0)), 16)} <= routes


def test_the_first_refusal_of_a_batch_is_raised_in_words(nethost: NetHost) -> None:
    with Netlink() as sock:
        sock.ask(links.new_bridge("br0"))
        bridge = links.index_of("br0")
        address = links.new_address(bridge, "10.9.0.1", 24)
        with pytest.raises(NetlinkError) as caught:
            sock.ask(address, address, links.new_address(bridge, "10.9.1.1", 24))
        assert (caught.value.errno, caught.value.index) == (errno.EEXIST, 1)
        with pytest.raises(NetlinkError):
            sock.ask(links.delete_link("nobody"))
        # What came after the refusal was done, and the socket is of use again.
        assert bytes((10, 9, 1, 1)) in {raw for _, _, raw, _ in links.addresses(sock)}


def test_an_interface_that_is_not_there(nethost: NetHost) -> None:
    with pytest.raises(OSError, match="no interface nobody"):
        links.index_of("nobody")


def test_isolated_ports_do_not_reach_each_other(nethost: NetHost) -> None:
    spaces = [new_namespace(), new_namespace()]
    with Netlink() as sock:
        _pair(sock, spaces[0], isolated=True)
        made = links.new_veth("kn2", "eth0", netns_fd=spaces[1], master=links.index_of("br0"))
        sock.ask(made)
        sock.ask(links.set_port(links.index_of("kn2"), isolated=True))
        for space, address in zip(spaces, ("172.17.0.2", "172.17.0.3"), strict=True):
            with inside(space):
                _inner(address)
        with inside(spaces[0]), socket.socket() as client:
            client.settimeout(5)
            with pytest.raises(ConnectionRefusedError):  # by the bridge's own address: it answers
                client.connect(("172.17.0.1", 1))
        with inside(spaces[0]), socket.socket() as client:
            client.settimeout(0.3)
            with pytest.raises((TimeoutError, OSError)) as caught:
                client.connect(("172.17.0.3", 1))
            assert not isinstance(caught.value, ConnectionRefusedError)


def test_a_bucket_drops_what_is_too_much(nethost: NetHost) -> None:
    container = new_namespace()
    with Netlink() as sock:
        _pair(sock, container)
        with inside(container), Netlink() as inner:
            _inner("172.17.0.2")
            inner.ask(links.new_bucket(links.index_of("eth0"), 1_000_000, mtu=1400))
        with Netlink(groups=(links.GROUP_LINK,)) as watch:
            ends = {links.index_of("br0"), links.index_of("kn1")}
            assert links.await_running(watch, ends, PATIENCE)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE: it drops nothing
            receiver.bind(("172.17.0.1", 0))
            receiver.settimeout(0.5)
            with inside(container), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(4000):
                    sender.sendto(bytes(1300), receiver.getsockname())
            got = 0
            with contextlib.suppress(TimeoutError):
                while receiver.recv(2000):
                    got += 1
    assert 40 < got < 3000
