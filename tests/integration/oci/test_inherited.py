"""Containers that share namespaces of their caller or of others, the mount namespace as well."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.waiting import wait_until

KINDS = ("mnt", "pid", "net", "ipc", "uts", "cgroup")


def changed(
    oci: Oci, *args: str, namespaces: Any, more: list[dict[str, Any]] | None = None, **changes: Any
) -> str:
    """Return a bundle with these namespaces, and nothing that needs one of its own."""
    bundle = oci.bundle(*args, **changes)
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["linux"]["namespaces"] = namespaces
    config["mounts"] += more or []
    if not any(entry["type"] == "uts" for entry in namespaces):
        config.pop("hostname", None)
    file.write_text(json.dumps(config))
    return str(bundle)


def links(pid: int | str) -> dict[str, str]:
    """Return the namespaces of a process."""
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def mounts_of(oci: Oci, pid: int | str) -> list[str]:
    """Return what is mounted at or below a container's root as a process sees it."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4].startswith(str(oci.rootfs))]


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process with mount and UTS namespaces of its own."""
    words = ["unshare", "--mount", "--uts", "sh", "-c", "echo; exec sleep 1000"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_without_any_namespace(oci: Oci) -> None:
    """Mounts, masks and root are there, and neither before nor after on the host."""
    look = "ls -d /proc/1 /dev/pts/ptmx /bin/busybox; ls -A /proc/acpi /sys/firmware; touch /x; pwd"
    name = oci.name("all")
    bundle = changed(oci, "sh", "-c", f"({look}) 2>&1; exec sleep 1000", namespaces=[])
    out = oci.folder / "said"
    with out.open("w") as file:
        subprocess.run([str(oci.program), "create", "-b", bundle, name], stdout=file, check=True)
    pid = oci.state(name)["pid"]
    assert links(pid) == links("self")
    oci("start", name)
    wait_until(lambda: out.read_text().endswith("/\n"))
    said = out.read_text().splitlines()
    assert said[:3] == ["/bin/busybox", "/dev/pts/ptmx", "/proc/1"]
    assert not any(line.startswith("/sys/firmware/") for line in said)
    assert mounts_of(oci, "self") == []
    oci("kill", name, "KILL")
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    oci("delete", name)


def test_a_mount_namespace_by_path(oci: Oci, other: subprocess.Popen[str]) -> None:
    name = oci.name("path")
    space = {"type": "mount", "path": f"/proc/{other.pid}/ns/mnt"}
    bundle = changed(oci, "sleep", "1000", namespaces=[{"type": "pid"}, space])
    oci("run", "--detach", "-b", bundle, name)
    pid = oci.state(name)["pid"]
    assert links(pid)["mnt"] == links(other.pid)["mnt"]
    assert Path(f"/proc/{pid}/root/proc/1/comm").read_text() == "sleep\n"
    assert Path(f"/proc/{pid}/root/bin/busybox").exists()
    assert mounts_of(oci, other.pid) == []


def test_hooks_of_a_container_without_a_mount_namespace(oci: Oci) -> None:
    """Those of the container's start are found in its root, the others on the host."""
    log = oci.folder / "log"
    log.mkdir()
    here = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo create >>{log}/order"]}]
    inside = [{"path": "/bin/busybox", "args": ["busybox", "sh", "-c", "echo start >>/log/order"]}]
    bundle = changed(
        oci, "sh", "-c", "echo program >>/log/order", namespaces=[],
        hooks={"createContainer": here, "startContainer": inside},
        more=[{"destination": "/log", "source": str(log), "options": ["bind"]}],
    )  # fmt: skip
    oci("run", "-b", bundle, oci.name("hooks"))
    assert (log / "order").read_text().split() == ["create", "start", "program"]


@pytest.mark.parametrize("namespaces", [[], [{"type": "pid"}, {"type": "uts"}]])
def test_a_further_process_is_in_the_root(oci: Oci, namespaces: list[dict[str, str]]) -> None:
    """Entering the namespaces of such a container does not lead there."""
    name = oci.name("further")
    bundle = changed(oci, "sleep", "1000", namespaces=namespaces)
    oci("run", "--detach", "-b", bundle, name)
    inside = oci(
        "exec", name, "/bin/busybox", "sh", "-c", "stat -c %d:%i / /.. .; cat /proc/1/comm"
    )
    pid = oci.state(name)["pid"]
    root = Path(f"/proc/{pid}/root").stat()
    assert inside.split()[:3] == [f"{root.st_dev}:{root.st_ino}"] * 3
    assert (inside.split()[3] == "sleep") == bool(namespaces)
    assert os.stat("/").st_ino != root.st_ino or os.stat("/").st_dev != root.st_dev


def test_a_host_name_in_a_namespace_by_path(oci: Oci, other: subprocess.Popen[str]) -> None:
    space = {"type": "uts", "path": f"/proc/{other.pid}/ns/uts"}
    bundle = changed(oci, "hostname", namespaces=[{"type": "mount"}, space], hostname="elsewhere")
    assert oci("run", "-b", bundle, oci.name("uts")) == "elsewhere\n"
    words = ["nsenter", f"--uts=/proc/{other.pid}/ns/uts", "hostname"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"elsewhere\n"
    assert os.uname().nodename != "elsewhere"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"namespaces": [{"type": "user"}]}, "a user namespace needs a new mount"),
        ({"namespaces": [{"type": "mount", "path": "/proc/self/ns/pid"}]}, "namespace of kind pid"),
        ({"namespaces": [], "hostname": "x"}, "hostname: needs a uts namespace"),
        ({"namespaces": [], "more": [{"destination": "/x", "type": "tmpfs", "source": "x",
                                      "options": ["unbindable"]}]}, "].options: unbindable"),
    ],
)  # fmt: skip
def test_what_cannot_be(oci: Oci, changes: dict[str, Any], said: str) -> None:
    bundle = Path(changed(oci, "true", **changes))
    if "hostname" in changes:
        config = json.loads((bundle / "config.json").read_text())
        config["hostname"] = "x"
        (bundle / "config.json").write_text(json.dumps(config))
    assert said in oci("create", "-b", str(bundle), oci.name("not"), check=False)
    assert oci("list", "-q") == ""
