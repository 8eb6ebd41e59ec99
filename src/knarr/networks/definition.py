"""``Definition``: a network as it was created, a value that never changes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

DEFAULT = "bridge"
# Names that mean something else than a network that somebody made.
PREDEFINED = frozenset({"bridge", "default", "host", "none"})


@dataclass(frozen=True, slots=True)
class Pool:
    """A subnet of a network. Addresses and subnets as text; "" where there is none.

    range: the part of it from which containers' addresses are taken. auxiliary: name -> address
    of others that are never given to a container.
    """

    subnet: str
    range: str = ""
    gateway: str = ""
    auxiliary: dict[str, str] = field(default_factory=dict)

    @property
    def network(self) -> Subnet:
        """The subnet."""
        return ip_network(self.subnet)

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.subnet else 4

    @property
    def prefix(self) -> int:
        """The length of the subnet's prefix in bits."""
        return int(self.subnet.rpartition("/")[2])

    @property
    def reserved(self) -> list[Address]:
        """The addresses that are no container's: the gateway's and the auxiliary ones."""
        texts = [self.gateway, *self.auxiliary.values()]
        return [ip_address(text) for text in dict.fromkeys(texts) if text]


@dataclass(frozen=True, slots=True)
class Definition:
    """A network. created: ns since the epoch. ipv4, ipv6: whether containers get addresses of it.

    options: the driver's, under Docker's names.
    """

    id: str
    name: str
    driver: str
    created: int
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    pools: tuple[Pool, ...] = ()

    @property
    def predefined(self) -> bool:
        """Whether it is always there, and has no names of containers."""
        return self.name in PREDEFINED

    def of_version(self, version: int) -> Pool | None:
        """Return the pool of IPv4 or IPv6, None without one."""
        return next((pool for pool in self.pools if pool.version == version), None)

    def to_json(self) -> str:
        """Return all but id, name and time, which have columns of their own."""
        return json.dumps({name: value for name, value in asdict(self).items()
                           if name not in ("id", "name", "created")})  # fmt: skip

    @classmethod
    def from_json(cls, id: str, name: str, created: int, text: str) -> Definition:
        """Return the network that :meth:`to_json` wrote; unknown members are ignored."""
        value: dict[str, Any] = json.loads(text)
        known = {key: entry for key, entry in value.items() if key in cls.__dataclass_fields__}
        known["pools"] = tuple(Pool(**pool) for pool in known.get("pools", ()))
        return cls(id=id, name=name, created=created, **known)
