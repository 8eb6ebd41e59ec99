"""Port 53 of 127.0.0.11 in a container's namespace leads to sockets with other ports."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from knarr.kernel import conntrack, links
from knarr.kernel.netlink import Netlink
from knarr.kernel.nftables import Nftables
from knarr.runtime import nameport
from tests.support.nethost import NetHost
from tests.support.waiting import PATIENCE

ADDRESS = "127.0.0.11"


@pytest.fixture
def resolver(nethost: NetHost) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The sockets of a resolver, UDP and TCP, in a namespace that has the rules."""
    with Netlink() as sock:
        sock.ask(links.set_up(1))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        udp.bind((ADDRESS, 0))
        tcp.bind((ADDRESS, 0))
        tcp.listen()
        for each in (udp, tcp):
            each.settimeout(PATIENCE)
        nameport.install(udp.getsockname()[1], tcp.getsockname()[1])
        yield udp, tcp


@pytest.mark.vm
def test_datagrams_are_asked_and_answered_at_port_53(
    resolver: tuple[socket.socket, socket.socket],
) -> None:
    udp, _ = resolver
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((ADDRESS, 53))
        for size in (1, 500, 4096, 60000):
            client.send(b"q" * size)
            question, sender = udp.recvfrom(65536)
            udp.sendto(question + b"a", sender)
            assert client.recv(65536) == b"q" * size + b"a"


def test_connections_go_both_ways(resolver: tuple[socket.socket, socket.socket]) -> None:
    _, tcp = resolver
    with socket.create_connection((ADDRESS, 53), timeout=PATIENCE) as client:
        taken, _ = tcp.accept()
        with taken:
            taken.settimeout(PATIENCE)
            answer = b"a" * 200_000
            client.sendall(b"question")
            assert taken.recv(100) == b"question"
            taken.setblocking(False)
            got = sent = 0
            while got < len(answer):
                if select.select([], [taken], [], 0)[1] and sent < len(answer):
                    sent += taken.send(answer[sent:])
                got += len(client.recv(65536))
        assert client.recv(1) == b""


def test_a_container_may_have_port_53_of_all_its_addresses(
    resolver: tuple[socket.socket, socket.socket],
) -> None:
    udp, _ = resolver
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        own.bind(("0.0.0.0", 53))
        own.settimeout(PATIENCE)
        client.sendto(b"to the resolver", (ADDRESS, 53))
        assert udp.recv(100) == b"to the resolver"
        client.sendto(b"to the container", ("127.0.0.1", 53))
        assert own.recv(100) == b"to the container"


def test_no_connection_is_tracked_for_it(resolver: tuple[socket.socket, socket.socket]) -> None:
    udp, _ = resolver
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, Nftables() as link:
        client.sendto(b"q", (ADDRESS, 53))
        assert udp.recv(100) == b"q"
        port = udp.getsockname()[1]
        for asked in (53, port):
            assert conntrack.asked_for(link, socket.AF_INET, socket.IPPROTO_UDP, asked) == []


def test_new_sockets_take_the_place_of_the_old(
    resolver: tuple[socket.socket, socket.socket],
) -> None:
    _, tcp = resolver
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        again.bind((ADDRESS, 0))
        again.settimeout(PATIENCE)
        nameport.install(again.getsockname()[1], tcp.getsockname()[1])
        client.sendto(b"q", (ADDRESS, 53))
        assert again.recv(100) == b"q"
