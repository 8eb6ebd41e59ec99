"""What is read of a filter is what it does when it is run."""

from __future__ import annotations

import itertools

import pytest

from knarr.engine.security.seccomp_default import default_profile
from knarr.runtime.seccomp import arches, compiler, reading
from knarr.spec import capabilities
from tests.support import bpf

NAMES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("granted", [capabilities.DEFAULT, ("CAP_SYS_ADMIN",), ()])
def test_answers_are_those_of_the_machine(machine: str, granted: tuple[str, ...]) -> None:
    program = compiler.compile(default_profile(list(granted), machine, (6, 1)), machine)
    code = reading.instructions(program)
    native = arches.ARCHES[NAMES[machine]]
    runner = bpf.Program(program)
    for name, number in native.numbers.items():
        found = reading.answers(code, native.audit, number)
        tried = {
            runner.run(native.audit, number, args)
            for args in itertools.product((0, 0x10000, 0xFFFFFFFF, 40, 8), repeat=2)
        }
        assert tried <= found, name
        if len(found) == 1:
            assert tried == found, name


def test_both_ways_of_an_argument_are_found() -> None:
    rule = {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}  # fmt: skip
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "syscalls": [rule]}
    code = reading.instructions(compiler.compile(profile, "x86_64"))
    native = arches.ARCHES["SCMP_ARCH_X86_64"]
    found = reading.answers(code, native.audit, native.numbers["personality"])
    assert sorted(map(reading.describe, found)) == ["allow", "errno EACCES"]
    assert {reading.passes(answer) for answer in found} == {True, False}
    other = reading.answers(code, native.audit, native.numbers["uname"])
    assert [reading.describe(answer) for answer in other] == ["errno EACCES"]
    # Newer than the newest call of the profile: its author cannot have judged it.
    newer = reading.answers(code, native.audit, native.numbers["mount"])
    assert [reading.describe(answer) for answer in newer] == ["errno ENOSYS"]
    foreign = reading.answers(code, 0x40000003, 1)
    assert [reading.describe(answer) for answer in foreign] == ["kill_process"]


def test_another_instruction_is_refused() -> None:
    with pytest.raises(ValueError, match="0x7"):
        reading.answers([(0x07, 0, 0, 0), (0x06, 0, 0, 0)], 0, 0)
