"""What is said where the kernel has no netfilter."""

from __future__ import annotations

import errno
from typing import Any

from knarr.kernel import process, seccomp
from knarr.kernel.libc import MACHINE, syscall
from knarr.kernel.netlink import NETFILTER
from knarr.networks.firewall import Firewall, NetworkRules
from knarr.runtime.seccomp.compiler import compile as compiled
from tests.support.processes import refused

AF_NETLINK = 16


def _refusing(call: str, number: int, **args: int) -> dict[str, Any]:
    """Return a profile under which a call with these arguments fails as in such a kernel."""
    wanted = [
        {"index": int(name[1:]), "value": value, "op": "SCMP_CMP_EQ"}
        for name, value in args.items()
    ]
    rule = {"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": wanted}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


def test_a_kernel_without_netfilter_is_named() -> None:
    profile = _refusing("socket", errno.EPROTONOSUPPORT, a0=AF_NETLINK, a2=NETFILTER)

    def act() -> None:
        process.set_no_new_privs()
        program = seccomp.FilterProgram(compiled(profile, MACHINE))
        syscall("seccomp", seccomp.SECCOMP_SET_MODE_FILTER, 0, program.argument)
        Firewall("knarr").add_network(NetworkRules("a" * 64, "br-a", ["10.0.1.0/24"]))

    said = refused(act)
    assert said.startswith(f"{errno.EPROTONOSUPPORT} ")
    assert "this kernel has no nf_tables" in said
