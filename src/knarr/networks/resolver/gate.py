"""Names for a container that may not reach everything (``--egress-allow``).

Only names that were allowed are asked for elsewhere. The addresses in an answer are put into the
firewall's sets before the container sees it, for as long as it may believe them and longer.
An answer never opens what is not of the public world: whoever answers for a name does not decide
what is reached behind the host's back. Why: docs/design/egress.md.
"""

import _socket
import errno
import sys
import time

from knarr.kernel.nftables import Nftables
from knarr.networks.resolver import message
from knarr.networks.resolver.names import pack
from knarr.networks.resolver.records import Records
from knarr.runtime import egress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Ports = tuple[tuple[int, int], ...]

# Seconds: that a client may keep an answer at most; that an address is open at least; and how
# much longer than the client may keep it, for what it begins in the last moment.
LONGEST, LEAST, MORE = 3600, 300, 60
ADDRESSES = 4096  # of one container, at a time
_UNKNOWN = b"not in the container's --egress-allow"
_WITHIN = b"its addresses are not of the public world: allow their network"

# Networks of IPv4 that are no part of the public world (RFC 6890): first bytes, bits.
_CLOSED = tuple(
    (int.from_bytes(_socket.inet_aton(text.partition("/")[0]), "big"), int(text.partition("/")[2]))
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
    )
)  # fmt: skip
_TRANSLATED = bytes.fromhex("0064ff9b0000000000000000")  # NAT64: an address of IPv4 follows
_SIX_TO_FOUR, _TEREDO = b"\x20\x02", b"\x20\x01\0\0"


def is_public(address: bytes) -> bool:
    """Return whether an address is of the public world, also if it stands for one of IPv4."""
    if len(address) == 4:
        number = int.from_bytes(address, "big")
        return not any(number >> 32 - bits == first >> 32 - bits for first, bits in _CLOSED)
    if address.startswith(_TRANSLATED):
        return is_public(address[12:])
    if address.startswith(_SIX_TO_FOUR):
        return is_public(address[2:6])
    return address[0] >> 5 == 1 and not address.startswith(_TEREDO)


class Opener:
    """The way into the firewall's sets: one socket, since closing one takes time."""

    __slots__ = ("_link",)

    def __init__(self) -> None:
        self._link: Nftables | None = None

    def commit(self, messages: "Sequence[bytearray]") -> None:
        """Carry out what ``runtime.egress.opened`` returns. Raises OSError."""
        if self._link is None:
            self._link = Nftables()
        try:
            self._link.commit(messages)
        except OSError:
            self._link.close()
            self._link = None
            raise


class Gate:
    """One container's: which names it may ask for, and what their answers have opened.

    told: ``{"table", "mark", "names": [{"name", "below", "ports"}], "networks"}``. Raises KeyError,
    TypeError, ValueError, OSError for what makes no sense.
    """

    __slots__ = ("_below", "_exact", "_mark", "_networks", "_open", "_opener", "_table")

    def __init__(self, told: "dict[str, Any]", opener: Opener) -> None:
        self._table, self._mark = str(told["table"]), int(told["mark"])
        self._opener = opener
        self._exact: dict[bytes, Ports] = {}
        self._below: dict[bytes, Ports] = {}
        for each in told["names"]:
            key = message.wire(str(each["name"]))
            if key is None:
                raise ValueError(f"{each['name']}: no name")
            names = self._below if each["below"] else self._exact
            ports = tuple((int(protocol), int(port)) for protocol, port in each["ports"])
            names[key] = _both(names.get(key), ports)
        self._networks = [(pack(first), pack(last)) for first, last, *_ in told["networks"]]
        self._open: dict[tuple[bytes, Ports], float] = {}  # until when

    def ports(self, query: message.Query) -> "Ports | None":
        """Return what may be reached at the addresses of a name: () is all, None: no such name."""
        if query.foreign:
            return None
        key = query.key
        found = self._exact.get(key)
        at = 0
        while key[at]:
            at += key[at] + 1
            below = self._below.get(key[at:])
            found = found if below is None else _both(found, below)
        return found

    def blocked(self, query: message.Query) -> bytes:
        """Return the answer for a name that was not allowed.

        That it does not exist is what all clients believe at once; those who can are told why.
        """
        return message.answer(query, [], message.LARGEST, message.NXDOMAIN, why=_UNKNOWN)

    def passed(self, query: message.Query, reply: bytes, ports: "Ports", limit: int) -> bytes:
        """Open what a server's answer leads to; return the answer for the container.

        limit: bytes that it may have.
        """
        if message.code(reply) != message.NOERROR:
            return reply
        try:
            found = Records(reply, query.key)
            usable = [each for each in found.addresses if self._is_usable(each[0])]
            self._admit([each for each in usable if is_public(each[0])], ports)
        except (OSError, ValueError) as error:
            print(f"knarr resolver: an answer is left out: {error}", file=sys.stderr, flush=True)
            return message.failed(query)
        if len(usable) == len(found.addresses):
            return found.bounded(reply, LONGEST)
        kept = [
            message.record(message.A if len(address) == 4 else message.AAAA, address, ttl)
            for address, ttl in usable
        ]
        return message.answer(query, kept, limit, why=b"" if kept else _WITHIN)

    def _is_usable(self, address: bytes) -> bool:
        """Tell whether an address is one that an answer may lead to."""
        if is_public(address):
            return True
        return any(
            len(first) == len(address) and first <= address <= last
            for first, last in self._networks
        )

    def _admit(self, addresses: "Iterable[tuple[bytes, int]]", ports: "Ports") -> None:
        """Have addresses open for at least their TTLs. Raises OSError."""
        now = time.monotonic()
        wanted = {address: max(min(ttl, LONGEST), LEAST) + MORE for address, ttl in addresses}
        if len(self._open) + len(wanted) > ADDRESSES:
            self._open = {key: until for key, until in self._open.items() if until > now}
            if len(self._open) + len(wanted) > ADDRESSES:
                raise OSError(errno.ENOSPC, f"more than {ADDRESSES} addresses of one container")
        if not wanted:
            return
        self._set(wanted, ports)
        for address, seconds in wanted.items():
            self._open[address, ports] = max(self._open.get((address, ports), 0), now + seconds)

    def _set(self, wanted: "dict[bytes, int]", ports: "Ports") -> None:
        by_time: dict[int, list[bytes]] = {}
        now = time.monotonic()
        for address, seconds in wanted.items():
            left = int(self._open.get((address, ports), 0) - now)
            by_time.setdefault(max(seconds, left), []).append(address)
        messages: list[bytearray] = []
        for seconds, addresses in by_time.items():
            messages += egress.opened(self._table, self._mark, addresses, ports, seconds)
        self._opener.commit(messages)

    def again(self) -> None:
        """Open once more what is open: the sets were made anew."""
        now = time.monotonic()
        for ports in {ports for _, ports in self._open}:
            left = {
                address: int(until - now)
                for (address, those), until in self._open.items()
                if those == ports and until >= now + 1
            }
            try:
                if left:
                    self._set(left, ports)
            except OSError as error:
                print(f"knarr resolver: egress: {error}", file=sys.stderr, flush=True)


def _both(one: "Ports | None", other: "Ports") -> "Ports":
    """Return what two entries allow together."""
    if one is None:
        return other
    return tuple(sorted({*one, *other})) if one and other else ()
