"""``-p`` and ``--expose`` as Docker's command reads them (go-connections' ``nat``), and its texts.

``[[ADDRESS:][PORT[-PORT]]:]PORT[-PORT][/tcp|udp|sctp]``, an IPv6 address in brackets; or
``published=PORT,target=PORT[,protocol=…]``.
"""

from __future__ import annotations

import _socket
from collections.abc import Iterable

from knarr.engine.model import PROTOCOLS, HostPort
from knarr.errors import InvalidArgument

LAST = 65535
_DIGITS = 20  # no number that is in range has more


def published(texts: Iterable[str]) -> tuple[HostPort, ...]:
    """Return what ``--publish`` says, a range as its ports. Raises InvalidArgument."""
    return tuple(port for text in texts for port in _published(_standard(text)))


def exposed(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the ports of ``--expose`` as ``80/tcp``. Raises InvalidArgument."""
    found = []
    for text in texts:
        numbers, _, protocol = text.partition("/")
        try:
            first, last = _span(numbers)
        except ValueError as error:
            raise InvalidArgument(
                f"invalid range format for --expose: {numbers}, error: {error}"
            ) from None
        found += [f"{number}/{_protocol(protocol)}" for number in range(first, last + 1)]
    for port in found:
        if port.startswith("0/"):
            raise InvalidArgument(f'invalid port specification: "{port}"')
    return tuple(dict.fromkeys(found))


def ports(text: str) -> set[str]:
    """Return the ports of ``80``, ``80/udp`` or ``80-90/tcp`` as ``80/tcp``. Raises ValueError."""
    numbers, _, protocol = text.partition("/")
    first, last = _span(numbers)
    if protocol.lower() not in ("", *PROTOCOLS):
        raise ValueError(f"invalid proto: {protocol}")
    return {f"{number}/{protocol.lower() or 'tcp'}" for number in range(first, last + 1)}


def address(text: str) -> str:
    """Return an IP address as it is written usually; empty for what is none."""
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            packed = _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        if packed[:12] == b"\0" * 10 + b"\xff\xff":  # of IPv4, in IPv6's clothes
            return _socket.inet_ntop(_socket.AF_INET, packed[12:])
        return _socket.inet_ntop(family, packed)
    return ""


def _standard(text: str) -> str:
    """Return the short form of ``published=…,target=…``, others as they are."""
    if "=" not in text:
        return text
    said = {"protocol": "tcp"}
    for part in text.split(","):
        name, mark, value = part.partition("=")
        if not mark or not name:
            raise InvalidArgument(
                f"invalid publish opts format (should be name=value but got '{part}')"
            )
        said[name] = value
    return f"{said.get('published', '')}:{said.get('target', '')}/{said['protocol']}"


def _published(text: str) -> list[HostPort]:
    head, _, inside = text.rpartition(":")
    host, _, outside = head.rpartition(":")
    numbers, _, protocol = inside.partition("/")
    if not numbers:
        raise InvalidArgument(f"no port specified: {text}<empty>")
    protocol = _protocol(protocol)
    host = _host(host)
    try:
        first, last = _span(numbers)
    except ValueError:
        raise InvalidArgument(f"invalid containerPort: {numbers}") from None
    low = high = 0
    if outside:
        try:
            low, high = _span(outside)
        except ValueError:
            raise InvalidArgument(f"invalid hostPort: {outside}") from None
    if outside and last > first and last - first != high - low:
        raise InvalidArgument(
            f"invalid ranges specified for container and host Ports: {numbers} and {outside}"
        )
    if first == last:  # any of the host's range
        return [HostPort(first, protocol, host, low, high)]
    steps = range(last - first + 1)
    outer = [low + step if outside else 0 for step in steps]
    return [HostPort(first + s, protocol, host, outer[s], outer[s]) for s in steps]


def _host(text: str) -> str:
    """Return the address to listen at. Raises InvalidArgument in Docker's words."""
    if not text:
        return ""
    bare = text
    if text.startswith("["):
        bare, mark, rest = text[1:].partition("]")
        if not mark or rest:
            missing = "port" if mark else "']'"
            raise InvalidArgument(
                f"invalid IP address {text}: address {text}:: missing {missing} in address"
            )
    found = address(bare)
    if not found:
        raise InvalidArgument(f"invalid IP address: {bare}")
    return found


def _protocol(text: str) -> str:
    lower = text.lower() or "tcp"
    if lower not in PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {lower}")
    return lower


def _span(text: str) -> tuple[int, int]:
    """Return first and last of ``80`` or ``80-90``. Raises ValueError in Docker's words."""
    if not text:
        raise ValueError("empty string specified for ports")
    first, dash, last = text.partition("-")
    low = _number(first)
    high = _number(last) if dash else low
    if high < low:
        raise ValueError(f"invalid range specified for port: {text}")
    return low, high


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if len(text) > _DIGITS or int(text) > LAST:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
