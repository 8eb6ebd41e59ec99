"""Debian's podman, which drives a runtime through conmon."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from knarr.cgroups import files
from knarr.cgroups.manager import detect
from tests.integration.oci.test_control import places
from tests.support.bundles import Oci
from tests.support.podman import Podman
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman"),
]


def test_podman_runs_containers(podman: Podman, oci: Oci) -> None:
    assert podman.run("--rm", "box", "echo", "hello") == "hello\n"
    podman.run("--rm", "box", "sh", "-c", "exit 7", status=7)
    assert "executable file not found in $PATH" in podman.run("--rm", "box", "nosuch", status=127)
    assert podman.run("--rm", "--user", "1000", "box", "id", "-u") == "1000\n"
    assert podman.run("--rm", "--tty", "box", "tty").strip() == "/dev/pts/0"
    read_only = ("--read-only", "--read-only-tmpfs=false")
    assert podman.run("--rm", *read_only, "box", "sh", "-c", "echo >/x || echo no") == "no\n"
    # With its own tmpfs on /run, /tmp and /var/tmp, which begin with what the image has there.
    look = "echo >/x || echo no; echo >/tmp/x && stat -f -c %T /tmp"
    assert podman.run("--rm", "--read-only", "box", "sh", "-c", look) == "no\ntmpfs\n"
    assert oci("list", "-q") == ""


def test_podman_keeps_one_in_the_background(podman: Podman) -> None:
    podman.run("--detach", "--name", "away", "box", "sh", "-c", "echo said; exec sleep 1000")
    wait_until(lambda: podman("logs", "away") == "said\n")
    assert podman("inspect", "--format", "{{.State.Status}}", "away") == "running\n"
    podman("kill", "--signal", "KILL", "away")
    assert podman("wait", "away") == "137\n"
    podman("rm", "away")


def test_podman_pauses_and_goes_on(podman: Podman) -> None:
    podman.run("--detach", "--name", "still", "box", "sleep", "1000")
    podman("pause", "still")
    assert podman("inspect", "--format", "{{.State.Status}}", "still") == "paused\n"
    assert "paused" in podman("ps", "--all", "--format", "{{.Status}}").lower()
    podman("unpause", "still")
    assert podman("inspect", "--format", "{{.State.Status}}", "still") == "running\n"
    podman("pause", "still")
    podman("rm", "--force", "--time", "0", "still")


def test_podman_changes_limits(podman: Podman, oci: Oci) -> None:
    podman.run(
        "--detach", "--name", "limits", "--memory", "64m", "--pids-limit", "50", "box",
        "sleep", "1000",
    )  # fmt: skip
    podman("update", "--memory", "96m", "--memory-swap", "128m", "--cpu-shares", "512", "limits")
    podman(
        "update", "--cpu-period", "50000", "--cpu-quota", "20000", "--cpuset-cpus", "0", "limits"
    )
    (name,) = oci("list", "-q").split()
    paths = places(oci, name)
    if "memory" in paths:
        found = [files.read(f"{paths['memory']}/memory.limit_in_bytes"),
                 files.read(f"{paths['memory']}/memory.memsw.limit_in_bytes"),
                 files.read(f"{paths['cpu']}/cpu.cfs_quota_us")]  # fmt: skip
        assert [int(text) for text in found] == [96 << 20, 128 << 20, 20000]
        assert files.read(f"{paths['pids']}/pids.max") == "50\n"
    else:
        assert int(files.read(f"{paths['unified']}/memory.max")) == 96 << 20
        assert files.read(f"{paths['unified']}/cpu.max") == "20000 50000\n"
        assert files.read(f"{paths['unified']}/pids.max") == "50\n"
    assert podman.run("--rm", "box", "true") == ""


def test_podman_looks_at_processes_and_figures(podman: Podman) -> None:
    podman.run("--detach", "--name", "seen", "box", "sh", "-c", "sleep 1000 & exec sleep 1001")
    wait_until(lambda: "sleep 1001" in podman("top", "seen", "args"))
    assert podman("top", "seen", "pid").split()[0] == "PID"
    assert len(podman("top", "seen", "hpid").split()) == 3
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", "seen"))
    assert stats[0]["name"] == "seen"
    # It counts the whole scope, where systemd makes one, and so what keeps that.
    assert stats[0]["pids"] == ("3" if detect().name == "systemd" else "2")


def test_podman_signals(podman: Podman) -> None:
    script = "trap 'echo told' USR1; trap 'exit 6' TERM; echo on; while :; do sleep 0.05; done"
    podman.run("--detach", "--name", "trap", "box", "sh", "-c", script)
    wait_until(lambda: podman("logs", "trap") == "on\n")
    podman("kill", "--signal", "USR1", "trap")
    wait_until(lambda: podman("logs", "trap") == "on\ntold\n")
    podman("stop", "trap")
    assert podman("wait", "trap") == "6\n"
    assert "can only kill running containers" in podman("kill", "trap", status=125)


def test_podman_kills_all_in_the_hosts_namespace(podman: Podman) -> None:
    marker = "1000.5125"
    podman.run("--detach", "--pid", "host", "--name", "host", "box", "sh", "-c",
               f"sleep {marker} & exec sleep {marker}")  # fmt: skip
    podman("stop", "--time", "0", "host")
    wait_until(lambda: marker not in subprocess.check_output(["ps", "-ef"], text=True))


def test_podman_pod_shares_namespaces(podman: Podman) -> None:
    """Of network, IPC and UTS, by their paths in /proc; and a group for all."""
    podman(
        "pod", "create", "--name", "pod", "--infra-image", "box", "--infra-command", "sleep 1000",
        "--network", "none", "--hostname", "podhost", "--share", "net,ipc,uts,pid",
    )  # fmt: skip
    podman("run", "--detach", "--pod", "pod", "--name", "one", "box", "sleep", "1001")
    podman("run", "--detach", "--pod", "pod", "--name", "two", "box", "sleep", "1002")
    for kind in ("net", "ipc", "uts", "pid"):
        links = {
            podman("exec", name, "readlink", f"/proc/self/ns/{kind}") for name in ("one", "two")
        }
        assert len(links) == 1, kind
    assert podman("exec", "two", "hostname") == "podhost\n"
    assert "sleep 1001" in podman("exec", "two", "ps")
    podman("pod", "pause", "pod")
    states = podman("ps", "--all", "--format", "{{.Status}}").lower()
    assert states.count("paused") == 3
    podman("pod", "unpause", "pod")
    podman("pod", "kill", "pod")

    def removed() -> bool:
        """Whether it is gone: while a conmon ends, podman does not get rid of their group."""
        podman("pod", "rm", "--force", "--time", "0", "pod", status=None)
        return podman("pod", "ls", "--quiet") == ""

    wait_until(removed)


def test_podman_without_control_groups(podman: Podman) -> None:
    text = podman.run("--rm", "--cgroups", "disabled", "box", "cat", "/proc/self/cgroup")
    assert "libpod" not in text
    assert text
