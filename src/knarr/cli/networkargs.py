"""``--network`` and the other flags that join a container to networks, as Docker reads them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from knarr.cli import values
from knarr.cli.exitcodes import BadFlag
from knarr.cli.flags import NUMBER, Args, Flag, Kind
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.model import OTHER
from knarr.errors import InvalidArgument

_LONG = re.compile(r"\w+=\w+(,\w+=\w+)*", re.ASCII)
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}\Z")
_DOTTED = re.compile(r"[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\Z")
_OWN = ("default", "bridge", "host", "none")  # networks that nobody made


def network(text: str) -> EndpointConfig:
    """Return what one ``--network`` says: a name, or ``name=…,alias=…,ip=…``. Raises ValueError."""
    if not _LONG.search(text):
        return EndpointConfig(text)
    found = EndpointConfig("")
    for entry in next(csv.reader([text]), []):
        key, equals, value = entry.lower().partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key:
            raise ValueError(f"invalid field {entry}")
        if key not in _FIELDS:
            raise ValueError(f"invalid field key {key}")
        found = _FIELDS[key](found, value)
    if not found.network:
        raise ValueError("network name/id is not specified")
    return found


def _alias(config: EndpointConfig, value: str) -> EndpointConfig:
    return replace(config, aliases=(*config.aliases, value))


def _local(config: EndpointConfig, value: str) -> EndpointConfig:
    return replace(config, link_local=(*config.link_local, str(ip_address(value))))


def _option(config: EndpointConfig, value: str) -> EndpointConfig:
    key, equals, text = value.partition("=")
    if not equals or not key:
        raise ValueError("invalid key value pair format in driver options")
    return replace(config, options={**config.options, key.strip(): text.strip()})


def _priority(config: EndpointConfig, value: str) -> EndpointConfig:
    try:
        return replace(config, priority=int(value))
    except ValueError:
        raise ValueError(f"invalid gw-priority ({value}): invalid syntax") from None


_FIELDS: dict[str, Callable[[EndpointConfig, str], EndpointConfig]] = {
    "name": lambda config, value: replace(config, network=value),
    "alias": _alias,
    "ip": lambda config, value: replace(config, ip=str(ip_address(value))),
    "ip6": lambda config, value: replace(config, ip6=str(ip_address(value))),
    "mac-address": lambda config, value: replace(config, mac=value),
    "link-local-ip": _local,
    "driver-opt": _option,
    "gw-priority": _priority,
}


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f'failed to parse IP: "{text}"') from None


def _local_address(text: str) -> str:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        raise ValueError(f"IP address is not correctly formatted: {text}") from None


def egress(text: str) -> tuple[str, ...]:
    """Return the entries of one ``--egress-allow``. Raises ValueError for what is none."""
    from knarr.networks import egress as entries

    found = tuple(each.strip() for each in text.split(","))
    try:
        entries.parse(found)
    except InvalidArgument as error:
        raise ValueError(str(error)) from None
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(next(csv.reader([text]), []))


NETWORKS = Kind("network", network, many=True)
ADDRESS = Kind("ip", _address)
LOCAL_ADDRESSES = Kind("list", _local_address, many=True)
WORDS = Kind("strings", _words, many=True)  # each may be several, between commas
RATE = Kind("rate", values.rate)
_TEXTS = Kind("list", str, many=True)
_TEXT = Kind("string", str)

EGRESS = Kind("egress", egress, many=True)

EGRESS_FLAG = Flag(
    "egress-allow", EGRESS, "All that the container may reach outside its networks: names "
    "(example.org, *.example.org) and networks (10.1.0.0/16), with a port (:443, :443/tcp) or "
    "all of them; none for nothing", example="--egress-allow example.org:443,10.1.0.0/16",
)  # fmt: skip
RUN_FLAGS = (
    Flag("ip", ADDRESS, "IPv4 address in the network", example="--ip 172.30.100.104"),
    Flag("ip6", ADDRESS, "IPv6 address in the network", example="--ip6 2001:db8::33"),
    Flag("link-local-ip", LOCAL_ADDRESSES, "Link-local address beside those of the network",
         example="--link-local-ip 169.254.34.68"),
    Flag("mac-address", _TEXT, "Ethernet address of the container's interface",
         example="--mac-address 92:d0:c6:0a:29:33"),
    Flag("network", NETWORKS, "Network to join, which may be given several times: its name, or "
         "name=…,alias=…,ip=…,ip6=…,mac-address=…,link-local-ip=…,driver-opt=…,gw-priority=…; "
         "or none, host, or container:NAME for another's (default bridge)",
         metavar="network", example="--network host", aliases=("net",)),
    Flag("network-alias", _TEXTS, "Further name of the container in the network",
         example="--network-alias db", aliases=("net-alias",)),
    Flag("network-rate-in", RATE, "Limit of what the container receives over each of its "
         "interfaces, in bits a second: 10mbit, 500kbit; or bytes: 2mbps",
         example="--network-rate-in 10mbit"),
    Flag("network-rate-out", RATE, "Limit of what it sends", example="--network-rate-out 2mbit"),
)  # fmt: skip

CONNECT_FLAGS = (
    Flag("alias", WORDS, "Further name of the container in this network", example="--alias db"),
    Flag("driver-opt", WORDS, "Option of the network's driver for this endpoint",
         example="--driver-opt com.docker.network.endpoint.ifname=net0"),
    Flag("gw-priority", NUMBER, "The network with the highest has the container's default route",
         default=0, example="--gw-priority 10"),
    RUN_FLAGS[0],
    RUN_FLAGS[1],
    Flag("link-local-ip", WORDS, "Link-local address beside those of the network",
         example="--link-local-ip 169.254.34.68"),
)  # fmt: skip


def of_run(args: Args) -> dict[str, Any]:
    """Return network and endpoints as ``run`` and ``create`` say it: fields of a configuration.

    endpoints is None where the network alone says it all. Raises BadFlag in Docker's words.
    """
    given: Sequence[EndpointConfig] = args.many("network")
    first = given[0] if given else EndpointConfig("default")
    configs = [_with_flags(first, args), *given[1:]]
    for config in configs:
        _check(config)
    names = [config.network for config in configs]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise BadFlag(f'network "{name}" is specified multiple times')
    if len({_is_own(name) for name in names}) > 1:
        raise BadFlag(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    mode = None if names[0] == "default" else names[0]
    if len(configs) == 1 and configs[0] == EndpointConfig(names[0]):
        return {"network": mode, "endpoints": None}
    configs = [replace(each, mac=_mac(each.mac)) for each in configs]
    return {"network": mode, "endpoints": tuple(configs)}


def limits(args: Args) -> dict[str, Any]:
    """Return what limits a container's network: fields of a configuration, None without."""
    return {
        "network_rate_in": args.number("network-rate-in"),
        "network_rate_out": args.number("network-rate-out"),
        "egress_allow": flat(args, "egress-allow") if args.many("egress-allow") else None,
    }


def _is_own(name: str) -> bool:
    return name in _OWN or name.startswith(OTHER)


def _with_flags(config: EndpointConfig, args: Args) -> EndpointConfig:
    """Return the first network with what the flags that are not of one network say."""
    given: list[tuple[str, str, str, Any]] = [
        ("aliases", "--network-alias", "alias", args.many("network-alias")),
        ("ip", "--ip", "IPv4 address", args.text("ip")),
        ("ip6", "--ip6", "IPv6 address", args.text("ip6")),
        ("mac", "--mac-address", "MAC address", args.text("mac-address") or None),
        ("link_local", "--link-local-ip", "link-local IP addresses", args.many("link-local-ip")),
    ]
    for name, flag, what, value in given:
        if not value:
            continue
        if getattr(config, name):
            raise BadFlag(f"conflicting options: cannot specify both {flag} and per-network {what}")
        config = replace(config, **{name: value})
    return config


def _check(config: EndpointConfig) -> None:
    if not config.network.strip():
        raise BadFlag("no name set for network")
    if _is_own(config.network) and config.aliases:
        raise BadFlag("network-scoped aliases are only supported for user-defined networks")
    if config.ip is not None and not isinstance(ip_address(config.ip), IPv4Address):
        raise BadFlag(f"invalid IPv4 address: {config.ip}")
    if config.ip6 is not None and not isinstance(ip_address(config.ip6), IPv6Address):
        raise BadFlag(f"invalid IPv6 address: {config.ip6}")
    _mac(config.mac)


def _mac(text: str | None) -> str | None:
    """Return an Ethernet address as it is usually written. Raises BadFlag."""
    if text is None:
        return None
    bare = text.strip()
    if not (_MAC.match(bare) or _DOTTED.match(bare)):
        raise BadFlag(f"{text} is not a valid mac address")
    digits = re.sub("[^0-9a-f]", "", bare.lower())
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def of_connect(args: Args, network_name: str) -> EndpointConfig:
    """Return what the flags of ``network connect`` say. Raises BadFlag."""
    config = EndpointConfig(
        network_name,
        aliases=_flat(args.many("alias")),
        ip=args.text("ip"),
        ip6=args.text("ip6"),
        priority=args.number("gw-priority") or 0,
    )
    for text in _flat(args.many("link-local-ip")):
        try:
            config = _local(config, text)
        except ValueError:
            raise BadFlag(f"IP address is not correctly formatted: {text}") from None
    for text in _flat(args.many("driver-opt")):
        key, equals, _ = text.partition("=")
        if not equals or not key.strip():
            raise BadFlag("invalid key/value pair format in driver options")
        config = _option(config, text)
    return config


def _flat(given: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(text for each in given for text in each)


def flat(args: Args, name: str) -> tuple[str, ...]:
    """Return the words of a flag of which each value may be several."""
    return _flat(args.many(name))
