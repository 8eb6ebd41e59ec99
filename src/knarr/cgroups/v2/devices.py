"""Which devices a group may use: a BPF program made from the rules, attached to its directory.

Kernel include/uapi/linux/bpf.h: BPF_PROG_TYPE_CGROUP_DEVICE with bpf_cgroup_dev_ctx, the
instruction set in Documentation/bpf/standardization/instruction-set.rst.
"""

import os
import struct

from knarr.cgroups import devicerules
from knarr.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.devicerules import Rule

NAME = "knarr_devices"
TYPES = {"b": 1, "c": 2}
# Registers: the kernel passes the context in R1 and takes the verdict from R0.
_VERDICT, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)
_LOAD_WORD, _MOVE, _AND, _SHIFT_RIGHT = 0x61, 0xBF, 0x54, 0x74
_SET, _EXIT = 0xB4, 0x95
_JUMP_NOT_EQUAL, _JUMP_ANY_BIT, _JUMP = 0x55, 0x45, 0x05


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, offset, value)


def _end(allowed: bool) -> bytes:
    return _instruction(_SET, _VERDICT, value=int(allowed)) + _instruction(_EXIT)


def program(rules: "list[Rule]") -> bytes:
    """Return the BPF instructions that decide as the rules say. Pure.

    The rules are asked from the last to the first. R3 holds the kinds of access that
    are still undecided: a matching allow rule clears its own and permits when none is
    left, a matching deny rule refuses when one of its own is left. What is left at the
    end is refused.
    """
    code = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
        _instruction(_MOVE, _ACCESS, _TYPE),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
        _instruction(_AND, _TYPE, value=0xFFFF),
    ]
    for rule in reversed(rules):
        if rule[1] == "a":
            # Decides all that is left; the verifier refuses instructions nobody reaches.
            return b"".join(code) + _end(rule[0])
        code.append(_rule(rule))
    return b"".join(code) + _end(allowed=False)


def _rule(rule: "Rule") -> bytes:
    allow, kind, major, minor, access = rule
    if allow:
        body = (
            _instruction(_AND, _ACCESS, value=~access & 0xF)
            + _instruction(_JUMP_NOT_EQUAL, _ACCESS, offset=2, value=0)
            + _end(allowed=True)
        )
    else:
        body = (
            _instruction(_JUMP_ANY_BIT, _ACCESS, offset=1, value=access)
            + _instruction(_JUMP, offset=2)
            + _end(allowed=False)
        )
    tests = [(_TYPE, TYPES[kind]), (_MAJOR, major), (_MINOR, minor)]
    # From the back, so that each test knows how far the next rule is.
    for register, number in reversed(tests):
        if number is not None:
            skip = len(body) // 8
            body = _instruction(_JUMP_NOT_EQUAL, register, offset=skip, value=number) + body
    return body


def load(resources: "Mapping[str, Any]", held: int | None = None) -> int | None:
    """Return a descriptor of the loaded program, None when ``devices`` is absent or empty.

    The caller closes it. held: from ``hold``, in this process or in one that it forked.
    Raises ValueError for bad rules, OSError when the kernel refuses the program or has no BPF.
    """
    if resources.get("devices") == devicerules.USUAL:
        return _open_usual(held)
    rules = devicerules.parse(resources)
    return _load(program(rules)) if rules else None


def _load(code: bytes) -> int:
    return bpf.load(bpf.PROG_TYPE_CGROUP_DEVICE, code, NAME)


def _open_usual(held: int | None) -> int:
    if held is not None:
        try:
            return bpf.open_id(held)
        except FileNotFoundError:
            held = None  # who held it has ended
    return _load(_usual)


def hold() -> int:
    """Load the program of the usual devices for as long as this process lives; return its id.

    To check and compile it takes the kernel 0.2 ms, which those who are forked from here
    need not wait for. Raises OSError as ``load``.
    """
    return bpf.identity(_load(_usual))


_usual = program(devicerules.parse({"devices": devicerules.USUAL}))


def attach(directory: str, program_fd: int, replace: bool = True) -> None:
    """Attach a program to a group and, to replace it, detach the one that was ours before.

    Programs of others (systemd, an outer engine) stay: all must allow. The new one is
    attached before the old one goes, so that at no moment everything is allowed.
    """
    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        old = bpf.attached(group, bpf.CGROUP_DEVICE) if replace else ()
        bpf.attach(group, program_fd, bpf.CGROUP_DEVICE, bpf.F_ALLOW_MULTI)
        for number in old:
            _detach_ours(group, number)
    finally:
        os.close(group)


def _detach_ours(group: int, number: int) -> None:
    try:
        fd = bpf.open_id(number)
    except FileNotFoundError:
        return  # somebody else detached it meanwhile
    try:
        if bpf.name(fd) == NAME:
            bpf.detach(group, fd, bpf.CGROUP_DEVICE)
    finally:
        os.close(fd)
