"""The rules that networks of the bridge driver live by: one table, changed in whole batches.

What differs between networks is in sets and maps keyed by the name of the bridge, what differs
between ports in maps keyed by port; the rules (networks/ruleset.py) are always the same, and
accept whatever is not about our bridges. Every element of a network has the network's id as
its comment. Why each rule is there: docs/design/firewall.md.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network

from knarr.kernel import nftables as nft
from knarr.kernel.netlink import NetlinkError
from knarr.kernel.nftables import DROP, GOTO, INET, RETURN, Nftables
from knarr.networks import hostsettings, ruleset
from knarr.networks.ruleset import (
    BRIDGES,
    GUARDED,
    HOME4,
    HOME6,
    INTERNAL,
    INTO,
    LOOPBACK6,
    MASQUERADED4,
    MASQUERADED6,
    UNREACHABLE6,
    WITHIN,
)
from knarr.runtime import egress, portmap

_ATTEMPTS = 50  # of a change that rests on what was read, while others change other things
_LOOPBACK = nft.element(LOOPBACK6, data=nft.verdict(RETURN))
_FAMILIES = {nft.INET: "inet", nft.IPV4: "ip", nft.IPV6: "ip6"}
_INTERFACE = 16  # bytes of an interface's name in a key


class NetworkRules:
    """What the firewall has to know of a network.

    internal: nothing from and to elsewhere; masquerade: connections to elsewhere get the
    host's address; icc: its containers reach each other.
    """

    __slots__ = ("bridge", "icc", "id", "internal", "masquerade", "subnets4", "subnets6")

    def __init__(
        self,
        id: str,
        bridge: str,
        subnets4: Sequence[str] = (),
        subnets6: Sequence[str] = (),
        *,
        internal: bool = False,
        masquerade: bool = True,
        icc: bool = True,
    ) -> None:
        self.id, self.bridge = id, bridge
        self.subnets4, self.subnets6 = tuple(subnets4), tuple(subnets6)
        self.internal, self.masquerade, self.icc = internal, masquerade, icc


class Firewall:
    """The table ``inet NAME`` of the calling thread's network namespace.

    Whatever changes it is one batch: done or not done. Raises OSError, with EPERM or
    EOPNOTSUPP and a text that says so when nf_tables may not be changed or is not there.
    """

    __slots__ = ("table",)

    def __init__(self, table: str) -> None:
        self.table = table

    def present(self) -> bool:
        """Tell whether the table is there with all its rules; which elements is not looked at."""
        with Nftables() as link:
            there = all(
                link.uses(INET, self.table, chain) == number
                for chain, number in ruleset.uses().items()
            )
            # Elements lead to this one, too, as many as there are networks.
            return there and link.rules(INET, self.table, GUARDED) == ruleset.GUARDING

    def obstacles(self) -> list[str]:
        """Return a line for each chain of others that drops what networks forward.

        Of the three families that see packets of IP; what iptables-legacy has is not seen.
        """
        with Nftables() as link:
            dropping = link.dropping(nft.FORWARD)
        return [
            f"table {_FAMILIES[family]} {owner}: chain {chain} drops what none of its rules "
            "accepts, so containers on bridges are cut off unless it has rules for them"
            for family, owner, chain in dropping
            if family in _FAMILIES
        ]

    def install(
        self,
        networks: Iterable[NetworkRules],
        bindings: Iterable[Mapping[str, str | int]] = (),
        plans: Iterable[egress.Plan] = (),
    ) -> None:
        """Make the table anew, in place of the old: networks, published ports, limits of egress."""
        contents: dict[str, list[bytes]] = {}
        for network in networks:
            for name, elements in _elements(network).items():
                contents.setdefault(name, []).extend(elements)
        contents.update(portmap.elements(bindings))
        for plan in plans:
            for name, elements in egress.elements(plan).items():
                contents.setdefault(name, []).extend(elements)
        with Nftables() as link:
            self._create(link, contents)

    def add_network(self, network: NetworkRules) -> None:
        """Add a network, in place of what the table has for its id; make the table if need be."""
        with Nftables() as link:
            for _ in range(_ATTEMPTS):
                generation = link.generation()
                try:
                    messages = self._deletions(link, network.id)
                except NetlinkError as error:
                    if error.errno != errno.ENOENT:
                        raise
                    done = self._create(link, _elements(network), generation)
                else:
                    messages += self._additions(_elements(network)) + self._loopback(link)
                    done = self._commit(link, messages, generation)
                if done:
                    return
        raise self._busy()

    def remove_network(self, network_id: str) -> None:
        """Take away what the table has for a network, the table itself with its last one."""
        with Nftables() as link:
            for _ in range(_ATTEMPTS):
                generation = link.generation()
                try:
                    there = link.list_elements(INET, self.table, BRIDGES.name)
                    if any(each.comment != network_id for each in there):
                        messages = self._deletions(link, network_id)
                    else:
                        messages = [nft.delete_table(INET, self.table)]
                except NetlinkError as error:
                    if error.errno == errno.ENOENT:
                        return
                    raise
                if self._commit(link, messages, generation):
                    return
        raise self._busy()

    def networks(self) -> set[str]:
        """Return the ids of the networks that the table knows; none when it is not there."""
        with Nftables() as link:
            try:
                return {each.comment for each in link.list_elements(INET, self.table, BRIDGES.name)}
            except NetlinkError as error:
                if error.errno == errno.ENOENT:
                    return set()
                raise

    def _create(
        self, link: Nftables, contents: dict[str, list[bytes]], generation: int | None = None
    ) -> bool:
        """Make the table with these elements, where there is one in its place."""
        additions = self._additions(contents)
        if hostsettings.bridge_filters(ipv6=True):
            additions += self._additions({UNREACHABLE6.name: [_LOOPBACK]})
        try:
            messages = ruleset.create(self.table, replace=False) + additions
            return self._commit(link, messages, generation)
        except FileExistsError:
            messages = ruleset.create(self.table, replace=True) + additions
            return self._commit(link, messages, generation)

    def _loopback(self, link: Nftables) -> list[bytearray]:
        """Return the messages after which ::1 has no published ports, or has, as it must be."""
        there = link.find(INET, self.table, UNREACHABLE6.name, LOOPBACK6) is not None
        if there == hostsettings.bridge_filters(ipv6=True):
            return []
        change = nft.delete if there else nft.add
        return change(INET, self.table, UNREACHABLE6.name, [_LOOPBACK])

    def _additions(self, contents: dict[str, list[bytes]]) -> list[bytearray]:
        return [
            message
            for name, elements in contents.items()
            for message in nft.add(INET, self.table, name, elements)
        ]

    def _commit(
        self, link: Nftables, messages: Sequence[bytearray], generation: int | None = None
    ) -> bool:
        """Carry it out; return False when something else was changed since that generation."""
        try:
            link.commit(messages, generation=generation)
        except NetlinkError as error:
            if error.errno == errno.ERESTART and generation is not None:
                return False
            raise OSError(error.errno, f"table inet {self.table}: {error.strerror}") from None
        return True

    def _busy(self) -> OSError:
        return OSError(errno.EAGAIN, f"table inet {self.table}: nf_tables is changed all the time")

    def _deletions(self, link: Nftables, network_id: str) -> list[bytearray]:
        """Return messages that delete a network's elements. Raises NetlinkError: ENOENT."""
        messages: list[bytearray] = []
        ends: dict[bytes, bytes] = {}
        for what in (HOME4, HOME6, *ruleset.FLAT_SETS):
            gone: list[bytes] = []
            for each in link.list_elements(INET, self.table, what.name):
                if each.comment != network_id:
                    continue
                gone.append(nft.element(each.key, end=each.end))
                if each.end:
                    first, last = (part[:-_INTERFACE] for part in (each.key, each.end))
                    ends[first] = _after(last)
                elif what.interval and ends.get(each.key):
                    gone.append(nft.element(ends[each.key], flags=nft.INTERVAL_END))
            messages += nft.delete(INET, self.table, what.name, gone)
        return messages


def _elements(network: NetworkRules) -> dict[str, list[bytes]]:
    """Return name of a set -> what a network adds to it."""
    comment = network.id
    bridge = BRIDGES.packed(os.fsencode(network.bridge))
    one = [nft.element(bridge, comment=comment)]
    fate = nft.verdict(DROP) if network.internal else nft.verdict(GOTO, GUARDED)
    found = {BRIDGES.name: one, INTO.name: [nft.element(bridge, data=fate, comment=comment)]}
    if network.internal:
        found[INTERNAL.name] = one
    if network.icc:
        found[WITHIN.name] = [nft.element(bridge + bridge, comment=comment)]
    for subnets, home, outward in (
        (network.subnets4, HOME4, MASQUERADED4),
        (network.subnets6, HOME6, MASQUERADED6),
    ):
        for subnet in map(ip_network, subnets):
            first, last = subnet.network_address.packed, subnet.broadcast_address.packed
            element = nft.element(first + bridge, end=last + bridge, comment=comment)
            found.setdefault(home.name, []).append(element)
            if network.masquerade and not network.internal:
                found.setdefault(outward.name, []).extend(_range(first, last, comment))
    return found


def _range(first: bytes, last: bytes, comment: str) -> list[bytes]:
    """Return what stands for a range in a set whose keys are not concatenated."""
    elements = [nft.element(first, comment=comment)]
    if after := _after(last):
        elements.append(nft.element(after, flags=nft.INTERVAL_END))
    return elements


def _after(address: bytes) -> bytes:
    """Return the next address, nothing after the last."""
    number = int.from_bytes(address, "big") + 1
    return b"" if number >> 8 * len(address) else number.to_bytes(len(address), "big")
