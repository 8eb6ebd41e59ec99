"""``knarr network create``: a network for containers."""

from __future__ import annotations

from knarr.cli import networkargs
from knarr.cli.command import Command
from knarr.cli.container_config import pairs
from knarr.cli.context import Context
from knarr.cli.flags import LABELS, LIST, SWITCH, TEXT, Args, Flag
from knarr.errors import InvalidArgument

_SWARM = "knarr runs containers on one machine only"
_OPTIONS = (
    "com.docker.network.bridge.name, .enable_icc, .enable_ip_masquerade, .host_binding_ipv4; "
    "com.docker.network.driver.mtu; of macvlan parent, macvlan_mode; of ipvlan "
    "parent, ipvlan_mode, ipvlan_flag"
)


def run(context: Context, args: Args) -> int:
    """Print the network's id."""
    from knarr.networks import pools

    if args.text("ipam-driver") != "default":
        raise InvalidArgument(f'invalid ipam driver: "{args.text("ipam-driver")}"')
    network = context.engine.networks.create(
        args.rest[0],
        driver=args.text("driver") or "bridge",
        pools=pools.of_texts(
            networkargs.flat(args, "subnet"),
            networkargs.flat(args, "ip-range"),
            networkargs.flat(args, "gateway"),
            {name: text for name, text in pairs(args.many("aux-address")).items() if text},
        ),
        ipv4=args.on("ipv4"),
        ipv6=args.on("ipv6"),
        internal=args.on("internal"),
        attachable=args.on("attachable"),
        options=pairs(args.many("opt")),
        labels=pairs(args.many("label")),
    )
    print(network.id)
    return 0


COMMAND = Command(
    name="network create",
    summary="Create a network",
    usage=("[OPTIONS] NETWORK",),
    run=run,
    examples=(
        ("knarr network create front",
         "Make a network whose containers find each other by name"),
        ("knarr network create --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 office",
         "Choose its addresses"),
        ("knarr network create --internal --ipv6 back",
         "Make one that leads nowhere else, with IPv6"),
        ("knarr network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 lan",
         "Put containers on the network of one of the host's interfaces"),
        ("knarr network create -o com.docker.network.bridge.enable_icc=false guests",
         "Make one whose containers do not reach each other"),
    ),
    flags=(
        Flag("attachable", SWITCH, "Note that containers may be connected by hand, which they "
             "always may here; 'network inspect' shows it", example="--attachable"),
        Flag("aux-address", LIST, "Address that no container gets: NAME=ADDRESS",
             example="--aux-address printer=10.9.0.5", metavar="map"),
        Flag("driver", TEXT, "Driver of the network: bridge, macvlan or ipvlan", short="d",
             default="bridge", example="-d bridge"),
        Flag("gateway", networkargs.WORDS, "Address of the host in a subnet; with macvlan and "
             "ipvlan that of a router",
             example="--gateway 10.9.0.254"),
        Flag("internal", SWITCH, "Nothing goes in or out", example="--internal"),
        Flag("ip-range", networkargs.WORDS, "Part of a subnet from which containers get addresses",
             example="--ip-range 10.9.0.128/25"),
        Flag("ipam-driver", TEXT, "What chooses addresses: default", default="default",
             example="--ipam-driver default"),
        Flag("ipv4", SWITCH, "Give containers IPv4 addresses", default=True,
             example="--ipv4=false"),
        Flag("ipv6", SWITCH, "Give containers IPv6 addresses", example="--ipv6"),
        Flag("label", LABELS, "Set a label on the network", example="--label tier=web"),
        Flag("opt", LIST, f"Option of the driver ({_OPTIONS})", short="o", metavar="map",
             example="-o com.docker.network.driver.mtu=1400"),
        Flag("subnet", networkargs.WORDS, "Subnet, one of IPv4 and one of IPv6; otherwise one "
             "that is free is chosen", example="--subnet 10.9.0.0/24"),
    ),
    arguments=(1, 1),
    missing={
        "config-from": "networks that are only configuration are Swarm's; " + _SWARM,
        "config-only": "networks that are only configuration are Swarm's; " + _SWARM,
        "ingress": _SWARM,
        "ipam-opt": "the default driver of addresses has no options",
        "scope": _SWARM,
    },
    details="""\
A network gets its subnet when it is created: the first of 172.17.0.0/16 to 172.31.0.0/16, then of
192.168.0.0/20 and on, then of 10.0.0.0/24 and on, that overlaps with no other network and no
route of the host; with --ipv6 a /64 of this machine's own unique local addresses. A subnet that
overlaps is refused. On the host there is nothing of it before a container starts on it.""",
)  # fmt: skip
