"""Its network: interfaces with their ends at the host, routes, networks, ports, name servers."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from knarr.engine import sharing
from knarr.engine.networks import shown as networks
from knarr.engine.ports import shown as ports
from knarr.errors import NotFound
from knarr.kernel import links, linkstate
from knarr.kernel.netlink import Netlink
from knarr.runtime.network import Inside

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject
    from knarr.kernel.linkstate import Interface

HOST = "host"
_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_LONGEST = 65536  # of a resolv.conf


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``Network``. Interfaces and routes are there while it runs, in a network of its own.

    Mode: ``none``, ``host``, ``container:NAME`` or the networks that it is on.
    """
    engine, record, config = subject.engine, subject.record, subject.config
    image = engine.image_defaults(record.image_id)
    found: dict[str, Any] = {
        "Mode": _mode(subject),
        "HostName": "",
        "Interfaces": [],
        "Routes": [],
        "Networks": networks.networks(engine, record, running=subject.running),
        "Ports": ports.published(config, image, subject.state),
        "Egress": None if config.egress_allow is None else list(config.egress_allow),
        "Resolver": _resolver(subject),
    }
    found["HostName"] = subject.spec.get("hostname", "")
    if subject.running and subject.inode("net") != subject.inode("net", "thread-self"):
        found |= _look(subject.state.pid, subject.state.start_time)
    return found


def _mode(subject: Subject) -> str:
    config = subject.config
    if config.network == HOST:
        return HOST
    other = sharing.others(config).get("network")
    if other is not None:
        try:
            return f"container:{subject.engine.table.find(other).name}"
        except NotFound:
            return f"container:{other}"
    names = networks.names(subject.engine, subject.record)
    return ", ".join(names) or "none"


def _look(pid: int, began: int) -> dict[str, Any]:
    """Return interfaces and routes as they are inside, with the other ends outside.

    Raises ProcessLookupError, FileNotFoundError when the process has ended.
    """
    with Netlink() as host:
        outside = {each.index: each for each in linkstate.interfaces(host)}
    namespace = Inside(pid, began)
    try:
        with namespace, Netlink() as sock:
            inside = linkstate.interfaces(sock)
            addresses = links.addresses(sock)
            routes = linkstate.routes(sock)
    finally:
        namespace.close()
    own: dict[int, list[str]] = {each.index: [] for each in inside}
    for family, index, raw, prefix in addresses:
        own.setdefault(index, []).append(f"{socket.inet_ntop(family, raw)}/{prefix}")
    names = {each.index: each.name for each in inside}
    return {
        "Interfaces": [_interface(each, own[each.index], outside) for each in inside],
        "Routes": [
            {"Destination": to, "Gateway": via, "Interface": names.get(index, "")}
            for to, via, index in routes
        ],
    }


def _interface(
    each: Interface, addresses: list[str], outside: dict[int, Interface]
) -> dict[str, Any]:
    """Return one interface. Peer: the host's interface that it is joined to, and its bridge."""
    peer = outside.get(each.link) if each.elsewhere else None
    bridge = outside.get(peer.master) if peer else None
    return {
        "Name": each.name,
        "Kind": each.kind or ("loopback" if each.name == "lo" else ""),
        "Index": each.index,
        "Up": each.up,
        "Mac": each.address,
        "Mtu": each.mtu,
        "Addresses": addresses,
        "Peer": peer.name if peer else "",
        "PeerIndex": peer.index if peer else 0,
        "Bridge": bridge.name if bridge else "",
    }


def _resolver(subject: Subject) -> dict[str, Any]:
    """Return what its resolv.conf says, by the file that is mounted there."""
    sources = {each["destination"]: each["source"] for each in subject.spec.get("mounts") or ()}
    path = {**subject.paths.files, **sources}.get("/etc/resolv.conf", "")
    servers, search, options = [], [], []
    try:
        with open(os.open(path, _LOOK), encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
    except OSError:
        text = ""  # its container was removed, what was bound there has gone or is no file
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver":
            servers += rest[:1]
        elif word == "search":
            search = rest
        elif word == "options":
            options += rest
    return {"File": path, "Servers": servers, "Search": search, "Options": options}
