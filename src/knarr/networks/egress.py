"""What ``--egress-allow`` says: networks and names, each with or without a port; pure.

``example.org``, ``*.example.org`` (what is below, not itself), ``10.1.0.0/16``, ``192.0.2.7``,
``2001:db8::/32``; behind each ``:443`` for one port of TCP and UDP, ``:443/tcp`` or ``:443/udp``
for that of one of them, with an IPv6 address in brackets. ``none`` alone is nothing at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from knarr.errors import InvalidArgument
from knarr.runtime.egress import PREFIX

NONE = "none"
_PROTOCOLS = {"tcp": 6, "udp": 17}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_BELOW = "*."
_LONGEST = 253  # letters of a name

Network = IPv4Network | IPv6Network
Port = tuple[int, int]  # protocol, number


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a network or a name. ports: none is all, of every protocol.

    below: it is about the names below, not about the name.
    """

    network: Network | None = None
    name: str = ""
    below: bool = False
    ports: tuple[Port, ...] = ()


def parse(texts: Sequence[str]) -> tuple[Entry, ...]:
    """Return what the entries say. Raises InvalidArgument, with what can be said instead."""
    if NONE in texts:
        if len(texts) > 1:
            raise InvalidArgument("egress: none is nothing at all, and stands alone")
        return ()
    return tuple(_entry(text) for text in texts)


def _entry(text: str) -> Entry:
    said, port = _divided(text)
    ports = _ports(text, port)
    bare = said.lower()
    if ":" in bare or "/" in bare or bare.replace(".", "").isdigit():
        return Entry(network=_network(text, said), ports=ports)
    below = bare.startswith(_BELOW)
    name = bare.removeprefix(_BELOW).removesuffix(".")
    _check_name(text, name)
    return Entry(name=name, below=below, ports=ports)


def _divided(text: str) -> tuple[str, str]:
    """Return what is said before the port, and the port, "" without one."""
    if text.startswith("["):
        said, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in said or (rest and not rest.startswith(":")):
            raise _wrong(text, "an IPv6 network with a port is [2001:db8::/32]:443")
        return said, rest[1:]
    if text.count(":") > 1:
        return text, ""
    said, colon, port = text.partition(":")
    if colon and not port:
        raise _wrong(text, "there is no port behind the colon")
    return said, port


def _ports(text: str, port: str) -> tuple[Port, ...]:
    if not port:
        return ()
    number, slash, protocol = port.partition("/")
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 1 << 16):
        raise _wrong(text, "the port is a number from 1 to 65535")
    if not slash:
        return tuple((each, int(number)) for each in _PROTOCOLS.values())
    if protocol not in _PROTOCOLS:
        raise _wrong(text, "the protocol is tcp or udp")
    return ((_PROTOCOLS[protocol], int(number)),)


def _network(text: str, said: str) -> Network:
    try:
        found = ip_network(said)
    except ValueError as error:
        if said.partition("/")[2] in _PROTOCOLS:
            raise _wrong(text, f"a protocol needs a port: {said.replace('/', ':443/')}") from None
        raise _wrong(text, str(error)) from None
    if found.is_loopback or found.is_multicast:
        raise _wrong(text, "loopback and multicast never leave the container's networks")
    return found


def _check_name(text: str, name: str) -> None:
    labels = name.split(".")
    if not name.isascii():
        raise _wrong(text, "write the name in ASCII, as xn--…")
    if len(name) > _LONGEST or not all(map(_LABEL.match, labels)) or labels[-1].isdigit():
        raise _wrong(
            text, "it is neither a name (example.org, *.example.org) nor a network (10.1.0.0/16)"
        )


def _wrong(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"invalid egress {text!r}: {why}")


def mark(container: str) -> int:
    """Return the mark of all that a container sends."""
    return PREFIX | int(hashlib.sha256(container.encode()).hexdigest()[:6], 16)


def ranges(entries: Iterable[Entry]) -> list[list[Any]]:
    """Return the networks as ``runtime.egress`` takes them: none within another of its port."""
    found: dict[tuple[int, Port], list[Any]] = {}
    for entry in entries:
        if entry.network is not None:
            for port in entry.ports or ((0, 0),):
                found.setdefault((entry.network.version, port), []).append(entry.network)
    return [
        [str(each[0]), str(each[-1]), *port]
        for (_, port), networks in found.items()
        for each in collapse_addresses(networks)
    ]


def names(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the names as the resolver takes them."""
    return [
        {"name": each.name, "below": each.below, "ports": [list(port) for port in each.ports]}
        for each in entries
        if each.name
    ]
