"""Expressions of nf_tables' rules, each a small function that returns its bytes.

A rule loads what it looks at into registers, compares it, and ends with a verdict or an
action. Registers are counted in units of four bytes from 8 (NFT_REG32_00) to 23.
"""

import struct

from knarr.kernel.netlink import be32, nested, text, u8
from knarr.kernel.nftables import value, verdict

REGISTER = 8
_VERDICT_REGISTER = 0

NFPROTO, L4PROTO, IIFNAME, OIFNAME, MARK = 15, 16, 6, 7, 3
NETWORK, TRANSPORT = 1, 2
_CT_STATE, _CT_STATUS = 0, 2
ESTABLISHED, RELATED = 2, 4
DNATED = 0x20  # IPS_DST_NAT
_FIB_TYPE, _FIB_DADDR, _RTN_LOCAL = 3, 2, 2
_CHECKSUM_INET = 1
_EQUAL, _UNEQUAL, _AT_MOST, _AT_LEAST = 0, 1, 3, 5
_TO_NETWORK = 1
TCP_RESET, _REJECT_ANY, _PROHIBITED = 1, 2, 3


def _expression(name: str, *attributes: bytes) -> bytes:
    return text(1, name) + nested(2, *attributes)


def meta(key: int, register: int = REGISTER) -> bytes:
    """Load a property of the packet: NFPROTO, L4PROTO, IIFNAME, OIFNAME, MARK."""
    return _expression("meta", be32(2, key), be32(1, register))


def unmarked() -> "tuple[bytes, bytes]":
    """Take the packet's mark away."""
    return immediate(bytes(4)), _expression("meta", be32(2, MARK), be32(3, REGISTER))


def payload(base: int, offset: int, length: int, register: int = REGISTER) -> bytes:
    """Load bytes of the NETWORK or TRANSPORT header."""
    parts = (be32(1, register), be32(2, base), be32(3, offset), be32(4, length))
    return _expression("payload", *parts)


def set_payload(offset: int, length: int, checksum: int, register: int = REGISTER) -> bytes:
    """Write a register to the transport header and mend the checksum at that offset."""
    parts = (be32(5, register), be32(2, TRANSPORT), be32(3, offset), be32(4, length))
    return _expression("payload", *parts, be32(6, _CHECKSUM_INET), be32(7, checksum), be32(8, 0))


def equals(data: bytes, register: int = REGISTER) -> bytes:
    """Go on only when the register has this value."""
    return _compare(_EQUAL, data, register)


def between(first: bytes, last: bytes) -> "tuple[bytes, bytes]":
    """Go on only when the first register has one of these values (in the network's order)."""
    return _compare(_AT_LEAST, first), _compare(_AT_MOST, last)


def _compare(how: int, data: bytes, register: int = REGISTER) -> bytes:
    return _expression("cmp", be32(1, register), be32(2, how), nested(3, value(data)))


def differs(mask: int, number: int) -> "tuple[bytes, bytes]":
    """Go on only when the first register's bits of a mask are others (in the machine's order)."""
    bits = nested(4, value(struct.pack("=I", mask)))
    none = nested(5, value(bytes(4)))
    masked = _expression("bitwise", be32(1, REGISTER), be32(2, REGISTER), be32(3, 4), bits, none)
    return masked, _compare(_UNEQUAL, struct.pack("=I", number))


def to_network() -> bytes:
    """Have four bytes of the first register, in the machine's order, in the network's."""
    parts = (be32(1, REGISTER), be32(2, REGISTER), be32(3, _TO_NETWORK), be32(4, 4), be32(5, 4))
    return _expression("byteorder", *parts)


def tracked(bits: int) -> "tuple[bytes, ...]":
    """Go on only when the connection is in one of the states ESTABLISHED, RELATED."""
    return (_expression("ct", be32(2, _CT_STATE), be32(1, REGISTER)), *differs(bits, 0))


def redirected() -> "tuple[bytes, ...]":
    """Go on only when the connection's destination was translated."""
    return (_expression("ct", be32(2, _CT_STATUS), be32(1, REGISTER)), *differs(DNATED, 0))


def to_local() -> "tuple[bytes, ...]":
    """Go on only when the packet's destination is an address of this host."""
    found = _expression("fib", be32(2, _FIB_TYPE), be32(3, _FIB_DADDR), be32(1, REGISTER))
    return found, equals(struct.pack("=I", _RTN_LOCAL))


def contained(set_name: str, *, inverted: bool = False) -> bytes:
    """Go on only when the registers' value is in a set (or is not)."""
    parts = [text(1, set_name), be32(2, REGISTER)]
    if inverted:
        parts.append(be32(5, 1))
    return _expression("lookup", *parts)


def mapped(set_name: str) -> bytes:
    """Replace the registers' value by what a map has for it; go on only when it has it."""
    parts = (text(1, set_name), be32(2, REGISTER), be32(3, REGISTER))
    return _expression("lookup", *parts)


def judged(set_name: str) -> bytes:
    """Do what a verdict map has for the registers' value; go on when it has nothing."""
    parts = (text(1, set_name), be32(2, REGISTER), be32(3, _VERDICT_REGISTER))
    return _expression("lookup", *parts)


def immediate(data: bytes, register: int = REGISTER) -> bytes:
    """Load a constant."""
    return _expression("immediate", be32(1, register), nested(2, value(data)))


def then(code: int, target: str = "") -> bytes:
    """End the rule with a verdict."""
    return _expression("immediate", be32(1, _VERDICT_REGISTER), nested(2, verdict(code, target)))


def refuse(kind: int = _REJECT_ANY) -> bytes:
    """Drop the packet and tell its sender: that it is prohibited, or with TCP_RESET by that."""
    return _expression("reject", be32(1, kind), u8(2, 0 if kind == TCP_RESET else _PROHIBITED))


def dnat(family: int, port_register: int) -> bytes:
    """Send the connection to the address in the first register and the port in another."""
    parts = (be32(1, 1), be32(2, family), be32(3, REGISTER), be32(5, port_register))
    return _expression("nat", *parts)


def masquerade() -> bytes:
    """Give the connection the address of the interface that it leaves by."""
    return _expression("masq")
