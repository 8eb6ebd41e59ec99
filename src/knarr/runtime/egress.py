"""What a container may reach outside its networks: a mark on all it sends, elements of sets.

Whatever comes out of such a container's interfaces is marked at their ends on the host, by a
program that no change of rules takes away (runtime/fence.py). The host routes nothing that is
marked. The firewall's chain ``egress`` takes the mark off what is allowed: so without our table
nothing passes. Why it is done so: docs/design/egress.md.

A plan is ``{"container": id, "table": "knarr", "mark": 0x6b…, "networks": [[first address, last
address, protocol, port], …]}``; protocol and port are 0 where any is allowed.
"""

import _socket
import errno
import os
import struct

from knarr.kernel import links, nftables, traffic
from knarr.kernel.netlink import Netlink, NetlinkError
from knarr.kernel.nftables import (
    ADDRESS4,
    ADDRESS6,
    INET,
    MARK,
    PORT,
    PROTOCOL,
    Nftables,
    Set,
    pack,
)
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.fence import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Plan = dict[str, Any]
    Contents = dict[str, list[bytes]]

# Marks of ours have this first byte, and three that are the container's.
PREFIX, MASK = 0x6B000000, 0xFF000000

_WHERE4, _WHERE6 = (MARK, ADDRESS4), (MARK, ADDRESS6)
_WHAT4, _WHAT6 = (*_WHERE4, PROTOCOL, PORT), (*_WHERE6, PROTOCOL, PORT)
LIMITED = Set("limited", (MARK,))  # whose mark it is stands in the comment
NETS4 = Set("egress_nets4", _WHERE4, interval=True)
NETS6 = Set("egress_nets6", _WHERE6, interval=True)
NETPORTS4 = Set("egress_netports4", _WHAT4, interval=True)
NETPORTS6 = Set("egress_netports6", _WHAT6, interval=True)
NAMES4 = Set("egress_names4", _WHERE4, timed=True)
NAMES6 = Set("egress_names6", _WHERE6, timed=True)
NAMEPORTS4 = Set("egress_nameports4", _WHAT4, timed=True)
NAMEPORTS6 = Set("egress_nameports6", _WHAT6, timed=True)
_NAMED = (NAMES4, NAMES6, NAMEPORTS4, NAMEPORTS6)
SETS = (LIMITED, NETS4, NETS6, NETPORTS4, NETPORTS6, *_NAMED)

_PROGRAM = "knarr_egress"
_OURS = b"\x02\x42"  # first bytes of a bridge's address that was set (networks/drivers/bridge.py)
_GUARD = traffic.Rule(traffic.PROHIBIT, mark=PREFIX, mask=MASK)
_LOCAL = traffic.Rule(traffic.TO_TABLE, table=traffic.TABLE_LOCAL)
_NONE_SUCH = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPFNOSUPPORT)


def guard() -> None:
    """Have the host route nothing that is marked, not even to itself. Raises OSError.

    So the rule stands before that of the table ``local``, which is therefore put in again behind
    it before it is deleted where it was: a host is never without. Both stay, as ip_forward does.
    """
    with Netlink() as sock:
        _guard(sock, _socket.AF_INET)
        try:
            _guard(sock, _socket.AF_INET6)
        except NetlinkError as error:
            if error.errno not in _NONE_SUCH:  # a kernel without IPv6
                raise


def _guard(sock: Netlink, family: int) -> None:
    found = traffic.rules(sock, family)
    ours = next((at for at, rule in enumerate(found) if _is(rule, _GUARD)), -1)
    if ours < 0:
        sock.ask(_GUARD.new(family))
        ours = len([rule for rule in found if not rule.priority])
    before = [rule for rule in found[:ours] if rule.table == _LOCAL.table]
    if not before or not all(_is(rule, _LOCAL) for rule in before):
        return  # or somebody has arranged this otherwise, which is his business
    if not any(_is(rule, _LOCAL) for rule in found[ours:]):
        sock.ask(_LOCAL.new(family))
    sock.ask(*(_LOCAL.delete(family) for _ in before))


def _is(one: traffic.Rule, other: traffic.Rule) -> bool:
    """Tell whether two rules are the same."""
    names = ("action", "priority", "mark", "mask", "special")
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and other.table in (0, one.table)


def fence(
    sock: Netlink,
    index: int,
    bridge: int,
    number: int,
    addresses: "Sequence[str]",
    sources: "Sequence[str]" = (),
) -> None:
    """Mark what comes in at an interface that is about to be a bridge's, and drop disguises.

    index, bridge: their numbers. addresses: the container's there, with prefixes. sources: all
    of the container's. Raises RuntimeFailure where the kernel cannot.
    """
    from knarr.kernel import bpf  # nobody else here needs it

    address = links.address_of(sock, bridge)
    # Addresses of the link only are of no network: what else is there may be beyond the host.
    networks = [each for each in addresses if not each.startswith("169.254.")]
    hosts = [raw for _, where, raw, _ in links.addresses(sock) if where == bridge]
    code = program(number, address, sources or addresses, networks, hosts)
    try:
        if not address.startswith(_OURS):  # else it would change as ports come and go
            sock.ask(links.set_address(bridge, address))
        loaded = bpf.load(traffic.PROGRAM_TYPE, code, _PROGRAM)
        try:
            sock.ask(traffic.classifier(index), traffic.program(index, loaded, _PROGRAM))
        finally:
            os.close(loaded)
    except OSError as error:
        text = (
            "--egress-allow: what the container sends cannot be marked: "
            f"{error.strerror} (the kernel needs CONFIG_NET_CLS_BPF and CONFIG_BPF_SYSCALL)"
        )
        raise RuntimeFailure("error", "network", text, error.errno or 0) from error


def elements(plan: "Plan") -> "Contents":
    """Return name of a set -> elements that allow a container's networks. Raises OSError."""
    number: int = plan["mark"]
    found = {LIMITED.name: [nftables.element(_own_order(number), comment=plan["container"])]}
    wire = struct.pack(">I", number)
    for first, last, protocol, port in plan["networks"]:
        family, lowest = links.packed(first)
        rest = (bytes((protocol,)), struct.pack(">H", port)) if port else ()
        v4 = family == _socket.AF_INET
        where = (NETPORTS4 if v4 else NETPORTS6) if port else (NETS4 if v4 else NETS6)
        key, end = (pack(wire, each, *rest) for each in (lowest, links.packed(last)[1]))
        found.setdefault(where.name, []).append(nftables.element(key, end=end))
    return found


def allow(plan: "Plan") -> None:
    """Let a container reach its networks, and nothing else. Raises OSError, RuntimeFailure.

    To be done before it has interfaces.
    """
    guard()
    table: str = plan["table"]
    with Nftables() as link:
        link.commit(_messages(nftables.add, table, elements(plan)))
        whose = link.find(INET, table, LIMITED.name, _own_order(plan["mark"]))
    if whose is None or whose.comment != plan["container"]:
        text = (
            f"--egress-allow: container {whose.comment[:12] if whose else '?'} has the mark "
            f"{plan['mark']:#x}, too: remove this container and create it again"
        )
        raise RuntimeFailure("error", "network", text, errno.EEXIST)


def withdraw(plan: "Plan") -> None:
    """Take back what ``allow`` and ``names`` did, if it is this container's. Raises OSError."""
    number, table = plan["mark"], plan["table"]
    own = _own_order(number)
    with Nftables() as link:
        whose = link.find(INET, table, LIMITED.name, own)
        if whose is None or whose.comment != plan["container"]:
            return
        gone = elements(plan)
        for each in _NAMED:
            keys = [one.key for one in link.list_elements(INET, table, each.name)]
            gone[each.name] = [nftables.element(key) for key in keys if key.startswith(own)]
        # What is missing, or has ended since it was read, is made first: else nothing is deleted.
        made = _messages(nftables.add, table, gone)
        link.commit(made + _messages(nftables.delete, table, gone))


def opened(
    table: str,
    number: int,
    addresses: "Iterable[bytes]",
    ports: "Sequence[tuple[int, int]]",
    seconds: int,
) -> "list[bytearray]":
    """Return the messages after which a container may reach addresses for so many seconds.

    ports: protocols with ports; none is all. An element that is there already does not
    get another end by being added, so it goes first, and that it is there is seen to before.
    """
    found: Contents = {}
    own = _own_order(number)
    for address in addresses:
        v4 = len(address) == 4
        if not ports:
            where = (NAMES4 if v4 else NAMES6).name
            found.setdefault(where, []).append(_timed(pack(own, address), seconds))
        for protocol, port in ports:
            where = (NAMEPORTS4 if v4 else NAMEPORTS6).name
            key = pack(own, address, bytes((protocol,)), struct.pack(">H", port))
            found.setdefault(where, []).append(_timed(key, seconds))
    added = _messages(nftables.add, table, found)
    return added + _messages(nftables.delete, table, found) + _messages(nftables.add, table, found)


def _timed(key: bytes, seconds: int) -> bytes:
    return nftables.element(key, timeout=seconds * 1000)


def _own_order(number: int) -> bytes:
    """Return a mark as the packet has it; in sets of ranges it is in the network's order."""
    return struct.pack("=I", number)


def _messages(verb: "Any", table: str, contents: "Contents") -> "list[bytearray]":
    return [each for name, some in contents.items() for each in verb(INET, table, name, some)]
