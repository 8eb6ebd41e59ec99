from __future__ import annotations

import pytest

from knarr.engine.security.seccomp_default import conditional_profile, default_profile
from knarr.spec import capabilities
from tests.support.bpf import numbers


def allowed(*caps: str, machine: str = "x86_64", kernel: tuple[int, int] = (6, 1)) -> set[str]:
    """Return the calls that are allowed whatever their arguments."""
    return {
        name
        for rule in default_profile(caps, machine, kernel)["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


def test_never_allowed() -> None:
    everything = allowed(*capabilities.NAMES)
    for name in (
        "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "add_key", "keyctl",
        "request_key", "kexec_load", "kexec_file_load", "swapon", "swapoff", "nfsservctl", "uselib",
        "ustat", "sysfs", "_sysctl", "create_module", "move_pages", "migrate_pages", "vm86",
        "pivot_root", "open_tree_attr",
    ):  # fmt: skip
        assert name not in everything, name


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("CAP_SYS_ADMIN", {"mount", "umount2", "unshare", "setns", "clone", "clone3", "fsopen"}),
        ("CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd", "process_madvise"}),
        ("CAP_SYS_BOOT", {"reboot"}),
        ("CAP_SYS_MODULE", {"init_module", "finit_module", "delete_module"}),
        ("CAP_SYS_TIME", {"clock_settime", "settimeofday"}),
        ("CAP_DAC_READ_SEARCH", {"open_by_handle_at"}),
        ("CAP_SYS_CHROOT", {"chroot"}),
        ("CAP_SYS_NICE", {"mbind", "set_mempolicy"}),
        ("CAP_BPF", {"bpf"}),
        ("CAP_PERFMON", {"perf_event_open"}),
        ("CAP_SYSLOG", {"syslog"}),
        ("CAP_SYS_RAWIO", {"iopl", "ioperm"}),
        ("CAP_SYS_PACCT", {"acct"}),
        ("CAP_SYS_TTY_CONFIG", {"vhangup"}),
    ],
)
def test_what_a_capability_opens(capability: str, names: set[str]) -> None:
    assert not allowed() & names
    assert names <= allowed(capability)


def test_ptrace_needs_a_kernel_that_checks_after_the_tracer() -> None:
    assert "ptrace" in allowed(kernel=(4, 8))
    assert "ptrace" not in allowed(kernel=(4, 7))
    assert "ptrace" in allowed("CAP_SYS_PTRACE", kernel=(4, 7))


def test_architectures() -> None:
    assert "arch_prctl" in allowed()
    assert "arch_prctl" not in allowed(machine="aarch64")
    assert "set_tls" in allowed(machine="aarch64")
    assert "riscv_flush_icache" in allowed(machine="riscv64")
    assert default_profile((), "x86_64")["architectures"] == [
        "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32",
    ]  # fmt: skip


def test_s390_has_the_flags_of_clone_second() -> None:
    def clone_index(machine: str) -> list[int]:
        return [
            argument["index"]
            for rule in default_profile((), machine)["syscalls"]
            if rule["names"] == ["clone"]
            for argument in rule["args"]
        ]

    assert clone_index("x86_64") == clone_index("aarch64") == [0]
    assert clone_index("s390x") == [1]


def test_every_name_is_a_system_call_somewhere() -> None:
    known = {
        name for table in ("x86_64", "x86", "x32", "aarch64", "arm") for name in numbers(table)
    }
    elsewhere = {
        "swapcontext", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr",
        "riscv_flush_icache", "riscv_hwprobe", "arm_sync_file_range", "sync_file_range2",
        "fstatat64", "umount", "_newselect", "recv", "send",
    }  # fmt: skip
    named = {name for rule in conditional_profile()["syscalls"] for name in rule["names"]}
    assert named - known <= elsewhere


def test_same_question_same_object() -> None:
    assert default_profile(["CAP_KILL"], "x86_64") is default_profile(("CAP_KILL",), "x86_64")
