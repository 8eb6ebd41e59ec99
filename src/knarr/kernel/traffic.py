"""tc(8) and ip-rule(8) over rtnetlink: a program looks at what comes in, and rules of routing.

Functions return messages for ``Netlink.ask``, except ``rules``. Formats: linux/pkt_sched.h,
linux/pkt_cls.h, linux/fib_rules.h.
"""

import struct

from knarr.kernel import netlink as nl

RTM_NEWQDISC, RTM_NEWTFILTER = 36, 44
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
TABLE_LOCAL = 255
TO_TABLE, PROHIBIT = 1, 8

_TCMSG = struct.Struct("=BxxxiIII")
_TC_H_CLSACT, _CLSACT_HANDLE, _TC_H_INGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS = 6, 7, 8
_DIRECT = 1  # the program's result is the verdict
_FIRST_FOR_ALL = 1 << 16 | 0x0300  # preference 1, ETH_P_ALL in the network's order

PROGRAM_TYPE = 3  # BPF_PROG_TYPE_SCHED_CLS

_RULE = struct.Struct("=BBBBBBBBI")
_PRIORITY, _FWMARK, _TABLE, _FWMASK, _PROTOCOL = 6, 10, 15, 16, 21
_RTPROT_KERNEL = 2
# Addresses, interfaces, tunnel, l3mdev, users, protocol of IP, ports.
_SELECTORS = frozenset((1, 2, 3, 12, 17, 19, 20, 22, 23, 24))


def classifier(index: int) -> bytearray:
    """Return the message that has an interface's packets looked at as they come in."""
    header = _TCMSG.pack(0, index, _CLSACT_HANDLE, _TC_H_CLSACT, 0)
    flags = nl.NLM_F_CREATE | nl.NLM_F_EXCL
    return nl.message(RTM_NEWQDISC, flags, header, nl.text(_TCA_KIND, "clsact"))


def program(index: int, fd: int, name: str) -> bytearray:
    """Return the message that has a loaded program do that, before everything else."""
    options = nl.u32(_TCA_BPF_FD, fd) + nl.text(_TCA_BPF_NAME, name)
    options += nl.u32(_TCA_BPF_FLAGS, _DIRECT)
    header = _TCMSG.pack(0, index, 1, _TC_H_INGRESS, _FIRST_FOR_ALL)
    body = nl.text(_TCA_KIND, "bpf") + nl.nested(_TCA_OPTIONS, options)
    return nl.message(RTM_NEWTFILTER, nl.NLM_F_CREATE | nl.NLM_F_EXCL, header, body)


class Rule:
    """A rule of routing. Its action is TO_TABLE, PROHIBIT or another; mark is under mask.

    special: it is about some packets only, and by more than their mark.
    """

    __slots__ = ("action", "mark", "mask", "priority", "special", "table")

    def __init__(
        self,
        action: int,
        *,
        priority: int = 0,
        table: int = 0,
        mark: int = 0,
        mask: int = 0,
        special: bool = False,
    ) -> None:
        self.action, self.priority, self.table = action, priority, table
        self.mark, self.mask, self.special = mark, mask, special

    def _body(self, family: int) -> bytes:
        table = self.table if self.table < 256 else 0
        found = _RULE.pack(family, 0, 0, 0, table, 0, 0, self.action, 0)
        found += nl.u32(_PRIORITY, self.priority) + nl.u8(_PROTOCOL, _RTPROT_KERNEL)
        if self.table:
            found += nl.u32(_TABLE, self.table)
        if self.mask:
            found += nl.u32(_FWMARK, self.mark) + nl.u32(_FWMASK, self.mask)
        return found

    def new(self, family: int) -> bytearray:
        """Return the message that adds the rule, behind those of the same priority.

        It says that the kernel made it: who manages a host's rules leaves such ones alone.
        """
        return nl.message(RTM_NEWRULE, nl.NLM_F_CREATE, self._body(family))

    def delete(self, family: int) -> bytearray:
        """Return the message that deletes the first such rule."""
        return nl.message(RTM_DELRULE, 0, self._body(family))


def rules(sock: nl.Netlink, family: int) -> "list[Rule]":
    """Return the rules in their order."""
    found = []
    header = _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    for kind, body in sock.dump(nl.message(RTM_GETRULE, 0, header)):
        if kind != RTM_NEWRULE:
            continue
        parts = _RULE.unpack_from(body)
        fields = nl.attrs(body, _RULE.size)

        def number(which: int, default: int = 0, fields: "dict[int, bytes]" = fields) -> int:
            raw = fields.get(which)
            return default if raw is None else struct.unpack("=I", raw)[0]

        found.append(
            Rule(
                parts[7], priority=number(_PRIORITY), table=number(_TABLE, parts[4]),
                mark=number(_FWMARK), mask=number(_FWMASK),
                special=any(parts[1:4]) or parts[8] != 0 or bool(_SELECTORS & fields.keys()),
            )
        )  # fmt: skip
    return found
