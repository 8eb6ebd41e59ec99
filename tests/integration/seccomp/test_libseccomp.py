"""Our filters against those of libseccomp, instruction by instruction of each program.

Where the library is installed it compiles the same profile; both programs are run for
every call. Two answers differ on purpose: calls newer than the profile (ENOSYS with us; the
runtimes that use the library add that themselves) and architectures the profile does not list
(we kill the process, the library the thread).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import tempfile
from typing import Any

import pytest

from knarr.engine.security.seccomp_default import default_profile
from knarr.runtime.seccomp import compile  # noqa: A004
from knarr.spec import capabilities
from tests.support import bpf

pytestmark = pytest.mark.peer

TOKENS = {
    "SCMP_ARCH_X86_64": bpf.X86_64,
    "SCMP_ARCH_X86": bpf.X86,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": bpf.AARCH64,
    "SCMP_ARCH_ARM": bpf.ARM,
}
OPERATORS = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
SPACES = {
    "x86_64": [(bpf.X86_64, 0), (bpf.X86, 0), (bpf.X86_64, bpf.X32_BIT)],
    "aarch64": [(bpf.AARCH64, 0), (bpf.ARM, 0)],
}
ARGUMENTS = [
    (word, word, 0, 0, 0, 0)
    for word in (0, 1, 8, 17, 38, 39, 40, 41, 0x20000, 0x20008, 0xFFFFFFFF, 0x7E020000, 0x10000011)
]


class Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def action_of(action: str, errno: int | None) -> int:
    return bpf._answer(action, errno)


def compile_with_library(
    library: ctypes.CDLL, value: dict[str, Any], machine: str
) -> tuple[bytes, set[str]]:
    """Return libseccomp's program and the names it knows."""
    default = action_of(value["defaultAction"], value.get("defaultErrnoRet"))
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    native = TOKENS["SCMP_ARCH_X86_64" if machine == "x86_64" else "SCMP_ARCH_AARCH64"]
    if bpf.NATIVE[os.uname().machine] != native:
        library.seccomp_arch_add(context, ctypes.c_uint32(native))
        library.seccomp_arch_remove(context, ctypes.c_uint32(bpf.NATIVE[os.uname().machine]))
    for name in value["architectures"]:
        library.seccomp_arch_add(context, ctypes.c_uint32(TOKENS[name]))
    known = set()
    for rule in value["syscalls"]:
        answer = action_of(rule["action"], rule.get("errnoRet"))
        if answer == default:
            continue
        args = (Comparison * 6)(
            *(
                Comparison(
                    a["index"],
                    OPERATORS.index(a["op"].removeprefix("SCMP_CMP_")),
                    a["value"],
                    a.get("valueTwo", 0),
                )
                for a in rule.get("args") or ()
            )
        )
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number != -1:
                known.add(name)
                library.seccomp_rule_add_array(
                    context, ctypes.c_uint32(answer), number, len(rule.get("args") or ()), args
                )
    with tempfile.TemporaryFile() as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        library.seccomp_release(context)
        file.seek(0)
        return file.read(), known


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    "caps", [capabilities.DEFAULT, (), capabilities.NAMES], ids=["default", "none", "all"]
)
def test_default_profile_answers_as_libseccomps(machine: str, caps: tuple[str, ...]) -> None:
    path = ctypes.util.find_library("seccomp")
    if path is None or os.uname().machine not in bpf.NATIVE:
        pytest.skip("libseccomp is not installed")
    value = default_profile(caps, machine)
    theirs, known = compile_with_library(ctypes.CDLL(path), value, machine)
    their_program, our_program = bpf.Program(theirs), bpf.Program(compile(value, machine))
    assert len(our_program.code) < len(their_program.code)
    named = {name for rule in value["syscalls"] for name in rule["names"]}
    for audit, base in SPACES[machine]:
        table = bpf.numbers(
            "x32" if base else {bpf.X86_64: "x86_64", bpf.X86: "x86",
                                bpf.AARCH64: "aarch64", bpf.ARM: "arm"}[audit]
        )  # fmt: skip
        newer = {table[name] for name in (named - known) & set(table)}
        # The library learned of it when the kernel had it for 64 bits alone.
        newer.add(table["map_shadow_stack"])
        for number in range(base, base + 467):
            if number not in newer:
                for args in ARGUMENTS:
                    ours, their = (p.run(audit, number, args) for p in (our_program, their_program))
                    assert ours == their, (hex(audit), number, args)
