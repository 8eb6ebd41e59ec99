"""The rules in a container's network namespace that lead port 53 of 127.0.0.11 to a resolver.

The resolver's sockets have ports that nobody else wants, so that a container may bind port 53
of all its addresses. Ports are rewritten in the packet, both ways, and not by a translation of
connections: that would have the container's namespace track every connection it has.
"""

import struct

from knarr.kernel import nfexpr as nx
from knarr.kernel import nftables as nft
from knarr.kernel.nftables import IPV4, Nftables

TABLE = "knarr-resolver"
_ADDRESS = bytes((127, 0, 0, 11))
_DNS = 53
_RAW = -300
_SOURCE, _DESTINATION = 12, 16  # offsets in the header of IPv4
_UDP, _TCP = (17, 6), (6, 16)  # protocol, offset of its checksum


def messages(udp: int, tcp: int, *, fresh: bool = False) -> "list[bytearray]":
    """Return the batch that makes the rules for sockets with these ports, in place of older.

    fresh: there are none yet. Deleting even an empty table takes 10 ms, making one a fortieth.
    """
    made = [nft.table(IPV4, TABLE)]
    if not fresh:
        made += [nft.delete_table(IPV4, TABLE), nft.table(IPV4, TABLE)]
    made.append(nft.chain(IPV4, TABLE, "output", ("filter", nft.OUTPUT, _RAW)))
    for (protocol, checksum), port in ((_UDP, udp), (_TCP, tcp)):
        there = (_DESTINATION, 2, _DNS, port)
        back = (_SOURCE, 0, port, _DNS)
        for address, offset, before, after in (there, back):
            made.append(
                nft.rule(
                    IPV4,
                    TABLE,
                    "output",
                    nx.payload(nx.NETWORK, address, 4),
                    nx.equals(_ADDRESS),
                    nx.meta(nx.L4PROTO),
                    nx.equals(bytes((protocol,))),
                    nx.payload(nx.TRANSPORT, offset, 2),
                    nx.equals(struct.pack(">H", before)),
                    nx.immediate(struct.pack(">H", after)),
                    nx.set_payload(offset, 2, checksum),
                )
            )
    return made


def install(udp: int, tcp: int, *, fresh: bool = False) -> None:
    """Make the rules in the calling thread's network namespace. Raises OSError."""
    with Nftables() as link:
        link.commit(messages(udp, tcp, fresh=fresh))
