"""The program at the host's end of a limited container's interface: a mark, and no disguises.

It sees each frame before bridge and rules do, and stays whatever becomes of those. It marks what
it lets pass, and lets pass: ARP; packets of IP whose source is an address of the container, to the
bridge, from where the host's rules go on by the mark, or, past the bridge, to addresses of the
same network that are not the host's. So no sibling passes anything on in the container's name, or
answers to somebody in the world whom the container pretends to be. Why: docs/design/egress.md.
Instructions: the kernel's bpf/standardization/instruction-set.rst, linux/bpf.h.
"""

import struct
import sys

from knarr.kernel.links import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK, _PROTOCOL = 8, 16  # in struct __sk_buff
_IP, _IPV6, _ARP = (
    int.from_bytes(kind, sys.byteorder) for kind in (b"\x08\0", b"\x86\xdd", b"\x08\x06")
)
_ETHERNET = 14
_SOURCE4, _SOURCE6 = _ETHERNET + 12, _ETHERNET + 8  # the destination follows
_OK, _SHOT = 0, 2  # TC_ACT_*
_ALL = 0xFFFFFFFF
# Where peers are beside the network's own subnets: several at once, and on this link.
_GROUPS4 = ((b"\xe0\0\0\0", 4), (b"\xff\xff\xff\xff", 32))
_LINK6 = (b"\xfe\x80" + bytes(14), 10)
_GROUPS6 = ((b"\xff" + bytes(15), 8), _LINK6)
_NOT_YET = (bytes(16), 128)  # who looks whether an address is free

_INSTRUCTION = struct.Struct("=BBhI")

Prefix = tuple[bytes, int]


class _Code:
    """Instructions with labels to jump to; all jumps go forward."""

    __slots__ = ("_labels", "_lines", "_unnamed")

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, int | str, int]] = []
        self._labels: dict[str, int] = {}
        self._unnamed = 0

    def add(self, code: int, registers: int = 0, offset: "int | str" = 0, number: int = 0) -> None:
        self._lines.append((code, registers, offset, number))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def new(self) -> str:
        self._unnamed += 1
        return f"otherwise {self._unnamed}"

    def load(self, offset: int, size: int = 4) -> None:
        """Have bytes of the frame in r0, as a number. A frame that ends before ends the program.

        With _OK, and marked: nobody takes less than a header for a packet.
        """
        self.add(0x20 if size == 4 else 0x28, number=offset)

    def within(self, offset: int, prefix: Prefix, target: str) -> None:
        """Go to a label when the address at an offset has the prefix."""
        address, bits = prefix
        otherwise = self.new()
        for at in range(0, len(address), 4):
            here = min(32, bits - 8 * at)
            if here <= 0:
                break
            mask = _ALL << 32 - here & _ALL
            self.load(offset + at)
            if mask != _ALL:
                self.add(0x54, 0, 0, mask)  # w0 &= mask
            word = int.from_bytes(address[at : at + 4], "big") & mask
            self.add(0x56, 0, otherwise, word)  # if w0 != word
        self.add(0x05, 0, target)
        self.label(otherwise)

    def packed(self) -> bytes:
        """Return the program."""
        return b"".join(
            _INSTRUCTION.pack(
                code,
                registers,
                self._labels[offset] - at - 1 if isinstance(offset, str) else offset,
                number,
            )
            for at, (code, registers, offset, number) in enumerate(self._lines)
        )


def program(
    mark: int,
    bridge: bytes,
    sources: "Sequence[str]",
    networks: "Sequence[str]",
    gateways: "Sequence[bytes]",
) -> bytes:
    """Return the instructions.

    bridge: its Ethernet address. sources: the container's addresses. networks: addresses with
    the prefixes in which siblings are. gateways: addresses there that are the host's.
    """
    own = [packed(each.partition("/")[0])[1] for each in sources]
    beside = [_prefix(each) for each in networks]
    code = _Code()
    code.add(0xBF, 0x16)  # r6 = r1
    code.add(0x61, 0x62, _PROTOCOL)  # w2 = r6[_PROTOCOL]
    code.add(0x16, 2, "pass", _ARP)  # if w2 == _ARP
    code.add(0xB4, 3, 0, mark)  # w3 = mark
    code.add(0x63, 0x36, _MARK)  # r6[_MARK] = w3
    code.add(0x16, 2, "IPv4", _IP)
    code.add(0x16, 2, "IPv6", _IPV6)
    code.add(0x05, 0, "drop")
    for size, label, offset, more, groups in (
        (4, "IPv4", _SOURCE4, (), _GROUPS4),
        (16, "IPv6", _SOURCE6, (_LINK6, _NOT_YET), _GROUPS6),
    ):
        code.label(label)
        known, past = code.new(), code.new()
        for address in own:
            if len(address) == size:
                code.within(offset, (address, 8 * size), known)
        for prefix in more:
            code.within(offset, prefix, known)
        code.add(0x05, 0, "drop")
        code.label(known)
        code.load(0)
        code.add(0x56, 0, past, int.from_bytes(bridge[:4], "big"))
        code.load(4, 2)
        code.add(0x16, 0, "pass", int.from_bytes(bridge[4:], "big"))
        code.label(past)
        for address in gateways:
            if len(address) == size:
                code.within(offset + size, (address, 8 * size), "drop")
        for prefix in (*beside, *groups):
            if len(prefix[0]) == size:
                code.within(offset + size, prefix, "pass")
        code.add(0x05, 0, "drop")
    code.label("drop")
    code.add(0xB7, 0, 0, _SHOT)
    code.add(0x95)
    code.label("pass")
    code.add(0xB7, 0, 0, _OK)
    code.add(0x95)
    return code.packed()


def _prefix(text: str) -> Prefix:
    address, _, bits = text.partition("/")
    return packed(address)[1], int(bits)
