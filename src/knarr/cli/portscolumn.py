"""PORTS of ``ps``: ``0.0.0.0:8080->80/tcp, 9000-9002/udp``, joined and ordered as Docker does."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

Ports = Mapping[str, Sequence[Mapping[str, str]] | None]
# The container's port, the host's address or "", its port, the protocol.
_Entry = tuple[int, str, int, str]


def text(ports: Ports) -> str:
    """Return the column. ports: ``Container.ports``.

    Ports that follow each other are one range, if the host's are the same; others stand alone,
    behind them.
    """
    spans: dict[tuple[str, str], tuple[int, int]] = {}
    done: list[str] = []
    moved: list[str] = []
    for port, address, outside, protocol in sorted(_entries(ports), key=_order):
        if address and outside != port:
            moved.append(f"{joined(address, outside)}->{port}/{protocol}")
            continue
        key = (address, protocol)
        first, last = spans.get(key, (port, port))
        if key in spans and port != last + 1:
            done.append(_span(key, first, last))
            first = port
        spans[key] = first, port
    done += [_span(key, first, last) for key, (first, last) in spans.items()]
    return ", ".join(done + moved)


def joined(address: str, port: int | str) -> str:
    """Return ADDRESS:PORT, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _entries(ports: Ports) -> list[_Entry]:
    found: list[_Entry] = []
    for key, places in ports.items():
        number, _, protocol = key.partition("/")
        if not places:
            found.append((int(number), "", 0, protocol))
        for place in places or ():
            found.append((int(number), place["HostIp"], int(place["HostPort"]), protocol))
    return found


def _order(entry: _Entry) -> tuple[int, tuple[int, bytes], int, str]:
    port, address, outside, protocol = entry
    packed = ipaddress.ip_address(address).packed if address else b""
    return port, (len(packed), packed), outside, protocol


def _span(key: tuple[str, str], first: int, last: int) -> str:
    address, protocol = key
    ports = str(first) if first == last else f"{first}-{last}"
    return f"{joined(address, ports)}->{ports}/{protocol}" if address else f"{ports}/{protocol}"
