"""A host's network of a test's own, with an outside world behind it.

The test enters a new network namespace, in which everything of knarr then runs that it
starts. So nothing touches this machine's network, and tests of networks run side by side.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from knarr.kernel import links
from knarr.kernel import netlink as nl
from knarr.kernel.namespaces import CLONE_NEWNET, setns, unshare
from knarr.kernel.netlink import Netlink

HOST4, OUTSIDE4, PREFIX4 = "198.51.100.1", "198.51.100.2", 24
HOST6, OUTSIDE6, PREFIX6 = "2001:db8::1", "2001:db8::2", 64
UPLINK = "uplink"


def new_namespace() -> int:
    """Return a descriptor of a new network namespace; the caller stays where it is."""
    before = current()
    try:
        unshare(CLONE_NEWNET)
        _use_addresses_at_once()
        return current()
    finally:
        setns(before, CLONE_NEWNET)
        os.close(before)


def _use_addresses_at_once() -> None:
    """Have nobody wait a second to see whether somebody else has his IPv6 address."""
    with contextlib.suppress(FileNotFoundError):  # no IPv6
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0", encoding="ascii")


def current() -> int:
    """Return a descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in a network namespace: sockets made and programs started here are of it."""
    before = current()
    setns(namespace, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(before, CLONE_NEWNET)
        os.close(before)


@dataclass(frozen=True, slots=True)
class NetHost:
    """host, outside: descriptors of the namespaces; the test itself is in the first."""

    host: int
    outside: int

    @contextmanager
    def beyond(self) -> Iterator[None]:
        """Be in the outside world."""
        with inside(self.outside):
            yield


def _address(sock: Netlink, name: str, address4: str, address6: str) -> int:
    """Set an interface up; its peer has to be up before it can carry anything."""
    index = links.index_of(name)
    sock.ask(
        links.set_up(1),
        links.set_up(index),
        links.new_address(index, address4, PREFIX4),
        links.new_address(index, address6, PREFIX6),
    )
    return index


@pytest.fixture
def nethost() -> Iterator[NetHost]:
    """Be on a host with an uplink to an outside world, whose only way back is that host."""
    with private() as made:
        yield made


@contextmanager
def private() -> Iterator[NetHost]:
    """Be, with this thread and what it starts, on such a host."""
    before = current()
    unshare(CLONE_NEWNET)
    _use_addresses_at_once()
    host = current()
    outside = new_namespace()
    try:
        with Netlink() as sock:
            sock.ask(links.new_veth(UPLINK, "eth0", netns_fd=outside))
            index = _address(sock, UPLINK, HOST4, HOST6)
            sock.ask(links.new_route(index, OUTSIDE4), links.new_route(index, OUTSIDE6))
        with inside(outside), Netlink() as sock:
            _address(sock, "eth0", OUTSIDE4, OUTSIDE6)
        yield NetHost(host, outside)
    finally:
        setns(before, CLONE_NEWNET)
        for fd in (before, host, outside):
            os.close(fd)


def sysctl(name: str) -> str:
    """Return a setting of the network namespace that the caller is in."""
    return Path(f"/proc/sys/net/{name}").read_text().strip()


def qdiscs() -> list[bytes]:
    """Return the kinds of what stands before the interfaces of this namespace."""
    request = nl.message(38, 0, bytes(20))  # RTM_GETQDISC
    with Netlink() as sock:
        return [nl.attrs(body, 20)[1].rstrip(b"\0") for _, body in sock.dump(request)]


def answers(address: str, port: int) -> bool:
    """Return whether somebody there says what was said."""
    try:
        with socket.create_connection((address, port), timeout=1) as sock:
            sock.sendall(b"hello\n")
            return sock.recv(10) == b"hello\n"
    except OSError:
        return False
