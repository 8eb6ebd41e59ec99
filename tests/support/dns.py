"""Asking DNS servers, and being one: with sockets and a few lines that are not knarr's own."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

A, PTR, MX, TXT, AAAA, OPT, HTTPS, ANY = 1, 12, 15, 16, 28, 41, 65, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
RESOLVER = ("127.0.0.11", 53)


def name(text: str) -> bytes:
    """Return a name as it is on the wire."""
    labels = [label.encode() for label in text.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(
    text: str, kind: int = A, *, edns: int | None = None, number: int = 0x1234, group: int = 1
) -> bytes:
    """Return a query."""
    extra = b"" if edns is None else b"\0" + struct.pack(">HHIH", OPT, edns, 0, 0)
    head = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 1 if extra else 0)
    return head + name(text) + struct.pack(">HH", kind, group) + extra


def reply(
    asked: bytes, records: list[tuple[int, bytes]], code: int = NOERROR, flags: int = 0
) -> bytes:
    """Return an answer to a query, records being (kind, data) of the name asked for."""
    end = asked.index(b"\0", 12) + 5
    answers = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records
    )
    head = struct.pack(">HHHHH", 0x8180 | flags | code, 1, len(records), 0, 0)
    return asked[:2] + head + asked[12:end] + answers


@dataclass(frozen=True)
class Answer:
    """What came back. values: texts of addresses and names."""

    code: int
    truncated: bool
    values: list[str]
    ttls: set[int]
    edns: int | None
    size: int
    question: bytes


def _name_at(packet: bytes, offset: int) -> tuple[str, int]:
    labels = []
    end = 0
    while packet[offset]:
        if packet[offset] & 0xC0:
            end = end or offset + 2
            offset = struct.unpack_from(">H", packet, offset)[0] & 0x3FFF
            continue
        length = packet[offset]
        labels.append(packet[offset + 1 : offset + 1 + length].decode())
        offset += length + 1
    return ".".join(labels), end or offset + 1


def read(packet: bytes) -> Answer:
    """Read an answer."""
    _, flags, _, answers, authorities, additional = struct.unpack_from(">HHHHHH", packet)
    assert flags & 0x8000
    _, offset = _name_at(packet, 12) if len(packet) > 12 else ("", 12)
    question = packet[12 : offset + 4]
    offset += 4
    values, ttls, edns = [], set(), None
    for index in range(answers + authorities + additional):
        _, offset = _name_at(packet, offset)
        kind, size, ttl, length = struct.unpack_from(">HHIH", packet, offset)
        offset += 10
        data = packet[offset : offset + length]
        if kind == OPT:
            edns = size
        elif index < answers:
            ttls.add(ttl)
            if kind in (A, AAAA):
                values.append(str(ipaddress.ip_address(data)))
            else:
                values.append(_name_at(packet, offset)[0] if kind == PTR else data.hex())
        offset += length
    return Answer(flags & 15, bool(flags & 0x0200), values, ttls, edns, len(packet), question)


def exchange(packet: bytes, *, tcp: bool = False, patience: float = 20.0) -> bytes:
    """Send a packet to the resolver of the namespace that the caller is in; return what comes."""
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(patience)
        sock.connect(RESOLVER)
        if not tcp:
            sock.send(packet)
            return sock.recv(65535)
        sock.sendall(struct.pack(">H", len(packet)) + packet)
        return receive(sock)


def receive(sock: socket.socket) -> bytes:
    """Return the next message of a connection, nothing at its end."""
    with sock.makefile("rb", buffering=0) as file:
        size = _exactly(file.read, 2)
        return _exactly(file.read, struct.unpack(">H", size)[0]) if size else b""


def _exactly(read_some: Callable[[int], bytes | None], size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = read_some(size - len(data))
        if not more:
            return b""
        data += more
    return data


def ask(text: str, kind: int = A, *, tcp: bool = False, edns: int | None = None) -> Answer:
    """Ask the resolver of the namespace that the caller is in."""
    return read(exchange(query(text, kind, edns=edns), tcp=tcp))


@dataclass
class Upstream:
    """A server of a test. asked: the queries that came, with how they came."""

    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)


def _pair(
    address: str, family: socket.AddressFamily, port: int
) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a listening TCP socket of one port; 0: one that nobody has."""
    while True:
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, port))
        try:
            return udp, socket.create_server((address, udp.getsockname()[1]), family=family)
        except OSError:
            udp.close()  # somebody has that port for TCP


@contextmanager
def upstream(
    respond: Callable[[bytes, str], bytes | None], address: str = "127.0.0.1", port: int = 0
) -> Iterator[Upstream]:
    """Be a server in the caller's namespace.

    respond: called with a query and ``udp`` or ``tcp``; returns the answer, or None for silence.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp, tcp = _pair(address, family, port)
    port = udp.getsockname()[1]
    told = Upstream(port)
    kept: list[socket.socket] = []

    def seen(packet: bytes, how: str) -> bytes | None:
        told.asked.append((_name_at(packet, 12)[0], how))
        return respond(packet, how)

    def datagrams() -> None:
        while True:
            packet, peer = udp.recvfrom(65535)
            if packet == b"end":
                return
            answer = seen(packet, "udp")
            if answer is not None:
                udp.sendto(answer, peer)

    def connections() -> None:
        while True:
            sock, _ = tcp.accept()
            kept.append(sock)
            packet = receive(sock)
            if not packet:
                return
            answer = seen(packet, "tcp")
            if answer is not None:
                sock.sendall(struct.pack(">H", len(answer)) + answer)

    threads = [threading.Thread(target=each) for each in (datagrams, connections)]
    enders = [socket.socket(family, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        enders[0].sendto(b"end", (address, port))
        enders[1].connect((address, port))
        enders[1].close()
        for thread in threads:
            thread.join()
        for sock in (udp, tcp, enders[0], *kept):
            sock.close()
