"""Ports of the host, kept by sockets: in a network namespace of the test's own."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing

import pytest

from knarr.runtime import hostports

ANY = "0.0.0.0"


pytestmark = pytest.mark.usefixtures("nethost")


def is_free(protocol: str, address: str, port: int) -> bool:
    try:
        hostports.bind(protocol, address, port).close()
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
        return False
    return True


def kept(*ports: tuple[str, str, int]) -> int:
    keeper = hostports.Keeper()
    for each in ports:
        keeper.add(hostports.bind(*each))
    return keeper.detach()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("address", "others", "free"),
    [
        (ANY, (ANY, "127.0.0.1"), ("::", "::1")),
        ("127.0.0.1", (ANY, "127.0.0.1"), ("::", "127.0.0.2")),
        ("::", ("::", "::1"), (ANY,)),
    ],
)
def test_one_descriptor_keeps_a_port_until_it_is_closed(
    protocol: str, address: str, others: tuple[str, ...], free: tuple[str, ...]
) -> None:
    handle = kept((protocol, address, 8080))
    assert not [other for other in others if is_free(protocol, other, 8080)]
    assert all(is_free(protocol, other, 8080) for other in free)
    os.close(handle)
    assert all(is_free(protocol, other, 8080) for other in others)


def test_one_descriptor_keeps_thousands() -> None:
    before = len(os.listdir("/proc/self/fd"))
    handle = kept(*(("tcp", ANY, port) for port in range(10000, 13000)))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert not any(is_free("tcp", ANY, port) for port in (10000, 11500, 12999))
    os.close(handle)
    assert all(is_free("tcp", ANY, port) for port in (10000, 11500, 12999))


def test_a_port_that_another_program_has_is_not_had() -> None:
    with closing(socket.create_server(("127.0.0.1", 8080))):
        assert not is_free("tcp", ANY, 8080)
        assert is_free("udp", ANY, 8080)


def test_nobody_else_gets_a_port_that_is_kept_not_even_with_reuse() -> None:
    handle = kept(("tcp", ANY, 8080))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", 8080))
    os.close(handle)


def test_connections_of_a_server_that_is_gone_do_not_hold_its_port() -> None:
    with closing(socket.create_server(("127.0.0.1", 8080))) as server:
        client = socket.create_connection(("127.0.0.1", 8080))
        peer, _ = server.accept()
        peer.close()  # first: it is the server's end that waits its time
        assert client.recv(1) == b""
        client.close()
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind((ANY, 8080))
    handle = kept(("tcp", ANY, 8080))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind((ANY, 8080))
            other.listen()
    assert not is_free("tcp", ANY, 8080)
    os.close(handle)


def test_datagrams_that_come_to_a_kept_port_are_dropped() -> None:
    sock = hostports.bind("udp", "127.0.0.1", 5353)
    with closing(sock), socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 5353))  # over lo it has arrived when this returns
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_what_is_kept_again_after_a_kill_and_what_is_lost() -> None:
    bindings = [
        {"proto": "tcp", "host_ip": ANY, "host_port": 8080, "ip": "172.17.0.2", "port": 80},
        {"proto": "udp", "host_ip": "::", "host_port": 53, "ip": "fd00::2", "port": 53},
    ]
    with closing(socket.create_server(("127.0.0.1", 8080))):
        handle, lost = hostports.keep_again(bindings)
        assert not is_free("udp", "::", 53)
    assert [each.partition(":")[0] for each in lost] == ["8080/tcp at 0.0.0.0"]
    os.close(handle)


def test_a_free_port_is_one_of_those_that_the_kernel_gives_out() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write("40000 40009")
    with open("/proc/sys/net/ipv4/ip_local_reserved_ports", "w") as file:
        file.write("40000-40004")
    with closing(hostports.bind("tcp", ANY, 0)) as sock:
        assert 40005 <= sock.getsockname()[1] <= 40009


def test_sctp_is_said_to_be_missing_where_the_kernel_lacks_it() -> None:
    try:
        sock = hostports.bind("sctp", ANY, 9)
    except OSError as error:
        assert error.errno == errno.EPROTONOSUPPORT
    else:
        with closing(sock):
            assert not is_free("sctp", ANY, 9)
