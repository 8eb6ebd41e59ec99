"""The architectures a filter can tell apart (seccomp(2), include/uapi/linux/audit.h)."""

from knarr.runtime.seccomp.syscalls import aarch64, arm, x32, x86, x86_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

X32_BIT = 0x40000000


class Arch:
    """One system call table: the audit value the kernel reports and the numbers of the calls.

    wide: arguments are 64 bits; the high words of narrow ones are always zero. timeless: first
    number of, and first behind, a range whose numbers say nothing about a call's age.
    """

    __slots__ = ("audit", "name", "numbers", "timeless", "wide")

    def __init__(
        self,
        name: str,
        audit: int,
        numbers: "Mapping[str, int]",
        wide: bool,
        timeless: "tuple[int, int]" = (0, 0),
    ) -> None:
        self.name = name
        self.audit = audit
        self.numbers = numbers
        self.wide = wide
        self.timeless = timeless


# x32 shares the audit value of x86_64: its numbers carry X32_BIT instead.
ARCHES = {
    "SCMP_ARCH_X86_64": Arch("x86_64", 0xC000003E, x86_64.NUMBERS, True),
    "SCMP_ARCH_X86": Arch("x86", 0x40000003, x86.NUMBERS, False),
    "SCMP_ARCH_X32": Arch("x32", 0xC000003E, x32.NUMBERS, True, (X32_BIT | 512, X32_BIT | 548)),
    "SCMP_ARCH_AARCH64": Arch("aarch64", 0xC00000B7, aarch64.NUMBERS, True),
    "SCMP_ARCH_ARM": Arch("arm", 0x40000028, arm.NUMBERS, False, (0xF0000, 0xF0100)),
}

# Machine as uname(2) names it -> its own table first, then those its kernel also serves.
FAMILIES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

# What the OCI runtime spec knows beyond ours: valid in a profile, without meaning here.
FOREIGN = frozenset(
    "SCMP_ARCH_" + name
    for name in (
        "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64",
        "MIPSEL64N32", "PARISC", "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64", "S390",
        "S390X", "SH", "SHEB", "SHEB64", "SHLE", "SHLE64",
    )
)  # fmt: skip


def select(machine: str, wanted: "Sequence[str]") -> "list[Arch]":
    """Return the tables to filter: the machine's own, and those of ``wanted`` it can run.

    Raises ValueError for a machine without table and for names the OCI spec lacks.
    """
    family = FAMILIES.get(machine)
    if family is None:
        raise ValueError(f"seccomp: no system call table for machine {machine!r}")
    for name in wanted:
        if name not in ARCHES and name not in FOREIGN and name != "SCMP_ARCH_NATIVE":
            raise ValueError(f"seccomp: unknown architecture {name!r}")
    return [ARCHES[name] for name in family if name == family[0] or name in wanted]
