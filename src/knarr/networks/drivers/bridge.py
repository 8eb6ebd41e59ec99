"""A bridge on the host, on which each container is by a pair of interfaces.

The bridge has the gateway's addresses; the rules for what leaves it, comes in and goes to
published ports are the firewall's. Options under Docker's names; one that this driver does not
know is refused, since a network without it would be another than was asked for.
"""

from __future__ import annotations

import errno
import hashlib
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument, Unsupported
from knarr.kernel import links
from knarr.kernel.netlink import Netlink, NetlinkError
from knarr.networks import hostsettings
from knarr.networks.firewall import NetworkRules
from knarr.networks.options import MTU, PREFIX, mtu

if TYPE_CHECKING:
    from knarr.networks.definition import Definition, Pool
    from knarr.networks.driver import Endpoint
    from knarr.networks.firewall import Firewall

_BRIDGE = "com.docker.network.bridge."
NAME = f"{_BRIDGE}name"
ICC = f"{_BRIDGE}enable_icc"
MASQUERADE = f"{_BRIDGE}enable_ip_masquerade"
BINDING = f"{_BRIDGE}host_binding_ipv4"
DEFAULT_BRIDGE = f"{_BRIDGE}default_bridge"
_GATEWAY_MODES = (f"{_BRIDGE}gateway_mode_ipv4", f"{_BRIDGE}gateway_mode_ipv6")
KNOWN = frozenset({NAME, ICC, MASQUERADE, BINDING, DEFAULT_BRIDGE, MTU, PREFIX, *_GATEWAY_MODES})
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Bridge:
    """The driver ``bridge``."""

    addressed = True
    single = False
    paired = True
    ethernet = True

    def check(self, network: Definition) -> None:
        """Raise InvalidArgument in Docker's words, Unsupported for an option there is not."""
        if not (network.ipv4 or network.ipv6):
            raise InvalidArgument("IPv4 or IPv6 must be enabled")
        for version in (4, 6):
            if sum(pool.version == version for pool in network.pools) > 1:
                raise InvalidArgument("bridge driver doesn't support multiple subnets")
        for name in sorted(network.options.keys() - KNOWN):
            raise Unsupported(f"network {network.name}: driver bridge has no option {name}")
        for name in (ICC, MASQUERADE, DEFAULT_BRIDGE):
            _switch(network, name)
        for name in _GATEWAY_MODES:
            mode = network.options.get(name, "nat")
            if mode != "nat":
                raise Unsupported(f"network {network.name}: gateway mode {mode}: only nat is there")
        mtu(network)
        _check_binding(network.options.get(BINDING))
        _check_name("bridge", interface(network))
        _check_name("interface", f"{network.options.get(PREFIX, 'eth')}0")

    def conflict(self, network: Definition, other: Definition) -> str:
        """Return, as Docker does, that both have the same bridge, which went with the first."""
        name = interface(network)
        if interface(other) != name:
            return ""
        return (
            f"conflicts with network {other.id} ({name}), called {other.name}: networks have "
            "same bridge name"
        )

    def gateway(self, network: Definition, pool: Pool) -> str:
        """Return the host's address, or that of another machine on the bridge."""
        del network
        return pool.auxiliary.get(f"DefaultGatewayIPv{pool.version}", pool.gateway)

    def interface(self, network: Definition) -> str:
        """Return the name of the bridge."""
        return interface(network)

    def plug(self, sock: Netlink, network: Definition, index: int, own: int) -> None:
        """Make an interface a port of the bridge. Raises OSError."""
        isolated = not _switch(network, ICC)
        port = links.set_port(index, isolated=isolated, hairpin=hostsettings.bridge_filters())
        sock.ask(links.set_master(index, own), links.set_up(index), port)

    def is_made(self, network: Definition, firewall: Firewall, note: str) -> bool:
        """Return whether the bridge is still the one that was made, and the rules are there."""
        try:
            index = links.index_of(interface(network))
        except OSError:
            return False
        return note == str(index) and firewall.present()

    def make(self, network: Definition, firewall: Firewall) -> str:
        """Make bridge, addresses and rules; return the bridge's number. Raises OSError."""
        name = interface(network)
        hostsettings.forward(ipv6=network.ipv6)
        with Netlink() as sock:
            ours = _make_link(sock, network)
            try:
                index = links.index_of(name)
                hostsettings.of_bridge(name, ipv6=network.ipv6)
                _give_addresses(sock, index, network)
                firewall.add_network(_rules(network))
                hostsettings.route_loopback(name)  # the rules keep containers from using it
                if network.ipv6:
                    sock.ask(links.loopback_route(index))
            except BaseException:  # also a signal's: half a bridge must not stay
                if ours:
                    _delete(sock, name)
                raise
        return str(index)

    def unmake(self, network: Definition, firewall: Firewall) -> None:
        """Take rules and bridge away; one that somebody else made and named to us stays."""
        firewall.remove_network(network.id)
        if _is_foreign(network):
            return
        with Netlink() as sock:
            _delete(sock, interface(network))

    def attachment(self, network: Definition, endpoint: Endpoint) -> dict[str, Any] | None:
        """Return the pair of interfaces that the maker makes."""
        return {
            "network": network.id,
            "driver": "bridge",
            "bridge": interface(network),
            "host_if": endpoint.host_interface,
            "name": endpoint.interface,
            "mac": endpoint.mac,
            "addresses": list(endpoint.addresses),
            "gateways": list(endpoint.gateways),
            "mtu": mtu(network),
            "isolated": not _switch(network, ICC),
            "hairpin": hostsettings.bridge_filters(),
        } | ({"binding": network.options[BINDING]} if BINDING in network.options else {})

    def rules(self, network: Definition) -> NetworkRules | None:
        """Return what the firewall has to know."""
        return _rules(network)


DRIVER = Bridge()


def _rules(network: Definition) -> NetworkRules:
    pools = {pool.version: pool for pool in network.pools}
    return NetworkRules(
        network.id,
        interface(network),
        (pools[4].subnet,) if 4 in pools else (),
        (pools[6].subnet,) if 6 in pools else (),
        internal=network.internal,
        masquerade=_switch(network, MASQUERADE),
        icc=_switch(network, ICC),
    )


def interface(network: Definition) -> str:
    """Return the name of a network's bridge."""
    return network.options.get(NAME) or f"br-{network.id[:12]}"


def own_address(network: Definition) -> str:
    """Return the Ethernet address of a bridge that we make, by which we know it again.

    A bridge without one of its own changes it whenever a port comes or goes.
    """
    tail = hashlib.sha256(network.id.encode()).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + tail)


def _switch(network: Definition, name: str) -> bool:
    """Return an option that is on unless it says otherwise. Raises InvalidArgument."""
    text = network.options.get(name, "true")
    if text not in (*_TRUE, *_FALSE):
        raise InvalidArgument(
            f"failed to parse {name} value: {text} "
            f'(strconv.ParseBool: parsing "{text}": invalid syntax)'
        )
    return text in _TRUE


def _check_binding(text: str | None) -> None:
    """Raise InvalidArgument for what is no address to publish ports on."""
    if text is None:
        return
    try:
        ip_address(text)
    except ValueError:
        raise InvalidArgument(f"failed to parse {BINDING} value: {text} (nil ip)") from None


def _check_name(what: str, name: str) -> None:
    """Raise InvalidArgument for what no interface can be called (dev_valid_name() in Linux)."""
    if len(os.fsencode(name)) > links.NAME_LIMIT or name in (".", "..", "all", "default"):
        raise InvalidArgument(
            f"invalid {what} name {name!r}: at most 15 characters, and no . or .."
        )
    if any(letter in "/:" or not letter.isprintable() or letter.isspace() for letter in name):
        raise InvalidArgument(f"invalid {what} name {name!r}: no slash, colon or space in it")


def _make_link(sock: Netlink, network: Definition) -> bool:
    """Make the bridge; return whether it is new. Raises OSError.

    One that the caller named, and that somebody else made, is used as it is.
    """
    name, address = interface(network), own_address(network)
    message = links.new_bridge(name, address=address, mtu=mtu(network) or 0)
    try:
        sock.ask(message)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
    else:
        return True
    if hostsettings.ethernet_address(name) == address:
        return False
    if _is_foreign(network):
        if links.kind_of(sock, name) != "bridge":
            raise OSError(errno.EEXIST, f"interface {name} exists, and is no bridge")
        return False
    _delete(sock, name)  # it has our name, and is of a data root that is gone
    sock.ask(message)
    return True


def _is_foreign(network: Definition) -> bool:
    """Return whether the bridge is one that the caller named and somebody else made."""
    if NAME not in network.options or network.predefined:
        return False
    try:
        return hostsettings.ethernet_address(interface(network)) != own_address(network)
    except OSError:
        return False  # it is not there


def _give_addresses(sock: Netlink, index: int, network: Definition) -> None:
    """Give the bridge the gateways' addresses, where it has them not. Raises OSError."""
    for pool in network.pools:
        if not pool.gateway:
            continue
        try:
            sock.ask(links.new_address(index, pool.gateway, pool.prefix))
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise


def _delete(sock: Netlink, name: str) -> None:
    try:
        sock.ask(links.delete_link(name))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
