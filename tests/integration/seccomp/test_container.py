"""The walls of a real container, seen from inside it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, ExecConfig, errors
from knarr.runtime import init
from knarr.spec import capabilities

if TYPE_CHECKING:
    from knarr import Engine


def run(engine: Engine, script: str, **options: object) -> str:
    """Run a shell script in busybox and return its output; its exit code must be 0."""
    config = ContainerConfig("busybox", ("sh", "-c", script), auto_remove=True, **options)  # type: ignore[arg-type]
    result = engine.containers.run(config)
    assert result.exit_code == 0, result.stderr
    return result.text


def status(engine: Engine, **options: object) -> dict[str, str]:
    """Return the fields of /proc/self/status in a container (proc_pid_status(5))."""
    lines = run(engine, "cat /proc/self/status", **options).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_rights_of_the_process(engine: Engine) -> None:
    found = status(engine)
    default = f"{capabilities.mask(capabilities.DEFAULT):016x}"
    assert found["CapBnd"] == found["CapPrm"] == found["CapEff"] == default
    assert found["CapInh"] == found["CapAmb"] == "0" * 16
    assert found["Seccomp"] == "2"
    assert found["Seccomp_filters"] == "1"
    assert found["NoNewPrivs"] == "0"


def test_rights_are_tuned(engine: Engine) -> None:
    found = status(
        engine, cap_drop=("ALL",), cap_add=("KILL",), security_opt=("no-new-privileges",)
    )
    assert found["CapBnd"] == found["CapEff"] == f"{1 << 5:016x}"
    assert found["NoNewPrivs"] == "1"
    assert status(engine, security_opt=("seccomp=unconfined",))["Seccomp"] == "0"


def test_filter_of_ones_own(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    for option in (f"seccomp={path}", f"seccomp={path.read_text()}"):
        output = run(engine, "mkdir /x 2>&1 || :", security_opt=(option,))
        assert "No space left on device" in output


def test_bad_filter_is_refused_at_creation(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("true",), security_opt=("seccomp=/no/such/file",))
    with pytest.raises(errors.InvalidArgument, match="opening seccomp profile"):
        engine.containers.create(config)


@pytest.mark.parametrize(
    "command", ["unshare -m true", "mount -t tmpfs x /mnt", "mknod /dev/x b 8 0 && cat /dev/x"]
)
def test_what_the_filter_and_the_namespace_refuse(engine: Engine, command: str) -> None:
    output = run(engine, f"mkdir -p /mnt; ({command}) 2>&1 && echo done || :")
    assert "done" not in output
    assert "not permitted" in output or "denied" in output


def test_kernel_files_are_hidden_or_cannot_be_written(engine: Engine) -> None:
    script = """
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
            if [ -e $f ]; then wc -c < $f; fi
        done
        ls /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -v : | grep -c .
        for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do
            if [ -e $f ]; then (echo 1 > $f) 2>/dev/null && echo written $f; fi
        done
        true
    """
    assert set(run(engine, script).split()) <= {"0"}


def test_only_harmless_devices(engine: Engine) -> None:
    found = set(run(engine, "ls /dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm"} <= found
    assert not [
        name for name in found if name.startswith(("sd", "vd", "nvme", "mem", "kmsg", "loop"))
    ]
    assert run(engine, "head -c 3 /dev/zero | wc -c; echo x > /dev/null").strip() == "3"


def test_low_ports_and_ping_need_no_rights(engine: Engine) -> None:
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
    start, low, high = run(engine, script, network="none").split()
    assert (start, low) == ("0", "0")
    assert int(high) >= 65535


def test_root_inside_is_nobody_outside(engine: Engine) -> None:
    inside, outside, size = run(engine, "cat /proc/self/uid_map").split()[:3]
    if outside == "0":
        pytest.skip("this machine gives containers no user namespace")
    assert (inside, size) == ("0", "65536")
    assert int(outside) >= 65536


def test_init_is_ours_and_from_memory(engine: Engine) -> None:
    script = "head -c 4096 /proc/1/exe | wc -c; readlink /proc/1/exe; cat /proc/1/comm; exit 0"
    size, target, name = run(engine, script, init=True).split("\n")[:3]
    assert int(size) == len(init.blob())
    assert target.startswith("/memfd:")
    assert name
    machine = struct.unpack_from("<H", init.blob(), 18)[0]
    assert machine in (62, 183)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_init_passes_the_exit_code_on(engine: Engine, script: str, code: int) -> None:
    config = ContainerConfig("busybox", ("sh", "-c", script), init=True, auto_remove=True)
    assert engine.containers.run(config).exit_code == code


def test_init_reaps_orphans(engine: Engine) -> None:
    script = """
        (sh -c 'true & exec true' &)
        while [ -n "$(grep -l '^State:.*zombie' /proc/[0-9]*/status 2>/dev/null)" ]; do :; done
        echo clean
    """
    assert run(engine, script, init=True) == "clean\n"


def bounding() -> int:
    """What this process can pass on."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapBnd"))


def test_privileged_has_what_this_machine_gives(engine: Engine) -> None:
    found = status(engine, privileged=True)
    assert found["Seccomp"] == "0"
    assert int(found["CapEff"], 16) == bounding() & capabilities.ALL_MASK


@pytest.mark.parametrize("userns", [None, "host"])
def test_all_capabilities_are_the_same_for_run_and_exec(engine: Engine, userns: str | None) -> None:
    """In a user namespace all there are, for what is inside; else what we have ourselves."""
    private = userns is None and engine.machine.private_users()
    expected = capabilities.ALL_MASK & (capabilities.ALL_MASK if private else bounding())
    assert int(status(engine, cap_add=("ALL",), userns=userns)["CapEff"], 16) == expected
    config = ContainerConfig("busybox", ("sleep", "100"), userns=userns, auto_remove=True)
    container, attachment = engine.containers.launch(config)
    assert attachment is not None
    with attachment:
        show = ExecConfig(("grep", "Cap[EB]", "/proc/self/status"), privileged=True)
        words = container.exec_run(show).text.split()
        container.kill()
        container.finish(attachment)
    assert words[::2] == ["CapEff:", "CapBnd:"]
    assert {int(word, 16) for word in words[1::2]} == {expected}


def test_one_that_we_lack_is_refused_by_name(engine: Engine) -> None:
    """Where only a user namespace of its own could give it."""
    lacking = capabilities.from_mask(capabilities.ALL_MASK & ~bounding())
    if not lacking:
        pytest.skip("nothing is missing from the bounding set here")
    if engine.machine.private_users():
        assert status(engine, cap_add=lacking[:1])["CapEff"]
    with pytest.raises(errors.InvalidArgument, match=f'current environment: "{lacking[0]}"'):
        status(engine, cap_add=lacking[:1], userns="host")
