"""The table of the firewall: its sets, chains and rules, as messages.

Nothing here depends on which networks and ports there are; those are elements of the sets.
Why each rule is there: docs/design/firewall.md.
"""

from __future__ import annotations

from functools import cache

from knarr.kernel import nfexpr as nx
from knarr.kernel import nftables as nft
from knarr.kernel.nftables import (
    ACCEPT,
    ADDRESS4,
    ADDRESS6,
    DROP,
    GOTO,
    INET,
    INTERFACE,
    JUMP,
    RETURN,
    Set,
)
from knarr.runtime import egress, portmap

BRIDGES = Set("bridges", (INTERFACE,))
INTERNAL = Set("internal", (INTERFACE,))
WITHIN = Set("within", (INTERFACE, INTERFACE))  # a bridge twice: its containers may talk
INTO = Set("into", (INTERFACE,), None)  # what becomes of what wants to a bridge
MASQUERADED4 = Set("masquerade4", (ADDRESS4,), interval=True)
MASQUERADED6 = Set("masquerade6", (ADDRESS6,), interval=True)
HOME4 = Set("home4", (ADDRESS4, INTERFACE), interval=True)  # subnets and their bridges
HOME6 = Set("home6", (ADDRESS6, INTERFACE), interval=True)
UNREACHABLE6 = Set("unreachable6", (ADDRESS6,), None)  # has ::1 where nothing comes back to it
FLAT_SETS = (BRIDGES, INTERNAL, WITHIN, INTO, MASQUERADED4, MASQUERADED6)
NETWORK_SETS = (*FLAT_SETS, HOME4, HOME6)
LOOPBACK6 = bytes(15) + b"\1"

GUARDED, GUARDING = "guarded", 2  # how many rules it has
_PUBLISHED = "published"
_EGRESS, _REFUSED = "egress", "refused"
_LEADING = {_PUBLISHED: 2, _REFUSED: 2}  # rules that lead to a chain
_RAW, _DSTNAT, _FILTER, _SRCNAT = -300, -100, 0, 100
_TRACKED = -199  # connections are known, and nothing was translated or marked by others yet
CHAINS: dict[str, tuple[str, int, int] | None] = {
    "raw": ("filter", nft.PREROUTING, _RAW),
    _EGRESS: ("filter", nft.PREROUTING, _TRACKED),
    _REFUSED: None,
    "forward": ("filter", nft.FORWARD, _FILTER),
    "prerouting": ("nat", nft.PREROUTING, _DSTNAT),
    "output": ("nat", nft.OUTPUT, _DSTNAT),
    "postrouting": ("nat", nft.POSTROUTING, _SRCNAT),
    GUARDED: None,
    _PUBLISHED: None,
}

_ONLY4 = (nx.meta(nx.NFPROTO), nx.equals(bytes((nft.IPV4,))))
_ONLY6 = (nx.meta(nx.NFPROTO), nx.equals(bytes((nft.IPV6,))))
_SOURCE4, _DESTINATION4 = (12, 4), (16, 4)
_SOURCE6, _DESTINATION6 = (8, 16), (24, 16)
_LOOPBACK = nx.equals(bytes((127,)))
_TCP, _ICMPV6 = 6, 58
_NEIGHBOURS = bytes((135,)), bytes((136,))  # solicitation, advertisement


def _from_loopback() -> tuple[bytes, ...]:
    return (*_ONLY4, nx.payload(nx.NETWORK, 12, 1), _LOOPBACK)


def _to_loopback() -> tuple[bytes, ...]:
    return (*_ONLY4, nx.payload(nx.NETWORK, 16, 1), _LOOPBACK)


def _address6(place: tuple[int, int]) -> list[bytes]:
    """Load an address of an IPv6 packet."""
    return [*_ONLY6, nx.payload(nx.NETWORK, *place)]


def _translate(maps: Set, only: tuple[bytes, ...], address: tuple[int, int] | None) -> list[bytes]:
    """Return the rule that sends a connection where a map of ports says."""
    register = nx.REGISTER
    parts = list(only)
    if address is not None:
        offset, size = address
        parts.append(nx.payload(nx.NETWORK, offset, size))
        register += size // 4
    parts.append(nx.meta(nx.L4PROTO, register))
    parts.append(nx.payload(nx.TRANSPORT, 2, 2, register + 1))
    v4 = maps.data[0] is ADDRESS4 if maps.data else False
    family, size = (nft.IPV4, 4) if v4 else (nft.IPV6, 16)
    return [*parts, nx.mapped(maps.name), nx.dnat(family, nx.REGISTER + size // 4)]


def _reached(what: Set, *, ports: bool = False, named: bool = False) -> list[bytes]:
    """Return the rule that takes the mark off what goes where a set allows it."""
    v4 = what.key[1] is ADDRESS4
    only, place = (_ONLY4, _DESTINATION4) if v4 else (_ONLY6, _DESTINATION6)
    parts = [*only, nx.meta(nx.MARK), *(() if named else (nx.to_network(),))]
    parts.append(nx.payload(nx.NETWORK, *place, nx.REGISTER + 1))
    if ports:
        register = nx.REGISTER + 1 + place[1] // 4
        parts.append(nx.meta(nx.L4PROTO, register))
        parts.append(nx.payload(nx.TRANSPORT, 2, 2, register + 1))
    return [*parts, nx.contained(what.name), *nx.unmarked(), nx.then(ACCEPT)]


def _egress() -> list[list[bytes]]:
    """Return the rules for what containers send of which not everything may pass."""
    from_elsewhere = [nx.meta(nx.IIFNAME), nx.contained(BRIDGES.name, inverted=True)]
    neighbours = [
        *_ONLY6, nx.meta(nx.L4PROTO), nx.equals(bytes((_ICMPV6,))),
        nx.payload(nx.TRANSPORT, 0, 1), *nx.between(*_NEIGHBOURS),
    ]  # fmt: skip
    on_link = [nx.payload(nx.NETWORK, _DESTINATION6[0], 2), nx.equals(b"\xff\x02")]
    passed = [*nx.unmarked(), nx.then(ACCEPT)]
    peers4 = [*_ONLY4, nx.payload(nx.NETWORK, *_DESTINATION4), nx.meta(nx.IIFNAME, nx.REGISTER + 1)]
    peers6 = [*_address6(_DESTINATION6), nx.meta(nx.IIFNAME, nx.REGISTER + 4)]
    return [
        [nx.meta(nx.MARK), *nx.differs(egress.MASK, egress.PREFIX), nx.then(ACCEPT)],
        [*from_elsewhere, nx.then(ACCEPT)],
        [*nx.tracked(nx.ESTABLISHED), *passed],
        [*neighbours, *nx.to_local(), *passed],
        [*neighbours, *on_link, *passed],
        _reached(egress.NETS4),
        _reached(egress.NETPORTS4, ports=True),
        _reached(egress.NETS6),
        _reached(egress.NETPORTS6, ports=True),
        [*nx.to_local(), nx.then(GOTO, _REFUSED)],
        _reached(egress.NAMES4, named=True),
        _reached(egress.NAMEPORTS4, ports=True, named=True),
        _reached(egress.NAMES6, named=True),
        _reached(egress.NAMEPORTS6, ports=True, named=True),
        [*peers4, nx.contained(HOME4.name), nx.then(ACCEPT)],
        [*peers6, nx.contained(HOME6.name), nx.then(ACCEPT)],
        [nx.then(GOTO, _REFUSED)],
    ]


def _forward() -> list[list[bytes]]:
    between = [nx.meta(nx.IIFNAME), nx.meta(nx.OIFNAME, nx.REGISTER + 4)]
    return [
        [*nx.tracked(nx.ESTABLISHED | nx.RELATED), nx.then(ACCEPT)],
        [*between, nx.contained(WITHIN.name), nx.then(ACCEPT)],
        [nx.meta(nx.IIFNAME), nx.contained(INTERNAL.name), nx.then(DROP)],
        [nx.meta(nx.OIFNAME), nx.judged(INTO.name)],
    ]


def _postrouting() -> list[list[bytes]]:
    to_us = [nx.meta(nx.OIFNAME), nx.contained(BRIDGES.name)]
    to_others = [nx.meta(nx.OIFNAME), nx.contained(BRIDGES.name, inverted=True)]
    from_loopback6 = [*_address6(_SOURCE6), nx.equals(LOOPBACK6)]
    rules = [
        [*_from_loopback(), *to_us, nx.masquerade()],
        [*from_loopback6, *to_us, nx.masquerade()],
    ]
    for only, (offset, size), outward, home in (
        (_ONLY4, _SOURCE4, MASQUERADED4, HOME4),
        (_ONLY6, _SOURCE6, MASQUERADED6, HOME6),
    ):
        source = [*only, nx.payload(nx.NETWORK, offset, size)]
        back = nx.meta(nx.OIFNAME, nx.REGISTER + size // 4)
        rules.append([*source, nx.contained(outward.name), *to_others, nx.masquerade()])
        rules.append([*nx.redirected(), *source, back, nx.contained(home.name), nx.masquerade()])
    return rules


def _rules() -> dict[str, list[list[bytes]]]:
    from_us = [nx.meta(nx.IIFNAME), nx.contained(BRIDGES.name)]
    published = [*nx.to_local(), nx.then(JUMP, _PUBLISHED)]
    return {
        "raw": [
            [*_to_loopback(), *from_us, nx.then(DROP)],
            [*_from_loopback(), *from_us, nx.then(DROP)],
        ],
        _EGRESS: _egress(),
        _REFUSED: [
            [nx.meta(nx.L4PROTO), nx.equals(bytes((_TCP,))), nx.refuse(nx.TCP_RESET)],
            [nx.refuse()],
        ],
        "forward": _forward(),
        GUARDED: [[*nx.redirected(), nx.then(ACCEPT)], [nx.then(DROP)]],
        "prerouting": [
            [*_to_loopback(), nx.then(RETURN)],
            [*_address6(_DESTINATION6), nx.equals(LOOPBACK6), nx.then(RETURN)],
            published,
        ],
        "output": [[*_address6(_DESTINATION6), nx.judged(UNREACHABLE6.name)], published],
        _PUBLISHED: [
            _translate(portmap.ONE4, _ONLY4, _DESTINATION4),
            _translate(portmap.ANY4, _ONLY4, None),
            _translate(portmap.ONE6, _ONLY6, _DESTINATION6),
            _translate(portmap.ANY6, _ONLY6, None),
        ],
        "postrouting": _postrouting(),
    }


def create(table: str, *, replace: bool) -> list[bytearray]:
    """Return the messages that make the table.

    replace: one that may be there goes, which costs 10 ms; otherwise EEXIST when there is one.
    """
    messages = [nft.table(INET, table, new=True)]
    if replace:
        messages = [nft.table(INET, table), nft.delete_table(INET, table), nft.table(INET, table)]
    messages += [
        nft.new_set(INET, table, each)
        for each in (*portmap.MAPS, *NETWORK_SETS, UNREACHABLE6, *egress.SETS)
    ]
    messages += [nft.chain(INET, table, name, base) for name, base in CHAINS.items()]
    for chain, rules in _rules().items():
        messages += [nft.rule(INET, table, chain, *expressions) for expressions in rules]
    return messages


@cache
def uses() -> dict[str, int]:
    """Return how many rules are in each chain, or lead to it, but for GUARDED."""
    rules = _rules()
    found = {chain: len(rules[chain]) for chain in rules if chain != GUARDED}
    for chain, number in _LEADING.items():
        found[chain] += number
    return found
