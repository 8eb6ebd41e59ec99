"""What a container sees of control groups when it has no cgroup namespace of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

IDS = [{"containerID": 0, "hostID": 0, "size": 65536}]
LOOK = (
    "cat /sys/fs/cgroup/pids/pids.max; ls -d /sys/fs/cgroup/pids/*/; readlink /proc/self/ns/cgroup"
)


def bundle_of(oci: Oci, *options: str, userns: bool = False) -> str:
    bundle = oci.bundle("sh", "-c", f"({LOOK}) 2>&1; echo 7 >/sys/fs/cgroup/pids/pids.max")
    file = bundle / "config.json"
    config: dict[str, Any] = json.loads(file.read_text())
    kinds = ["pid", "mount", "ipc", "uts", "network", *(["user"] if userns else [])]
    config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    config["linux"]["resources"] = {"pids": {"limit": 77}}
    if userns:
        config["linux"] |= {"uidMappings": IDS, "gidMappings": IDS}
    for entry in config["mounts"]:
        if entry["type"] == "cgroup":
            entry["options"] = ["nosuid", "noexec", "nodev", *options]
    file.write_text(json.dumps(config))
    return str(bundle)


def needs_v1() -> None:
    if not Path("/sys/fs/cgroup/pids").is_dir():
        pytest.skip("this machine has no hierarchy of cgroup v1 for pids")


def test_only_its_own_groups(oci: Oci) -> None:
    """As with runc: others' groups are nothing that a writable mount should offer."""
    needs_v1()
    said = oci("run", "-b", bundle_of(oci), oci.name("own")).splitlines()
    assert said[0] == "77"
    assert "No such file" in said[1]
    assert said[2] == str(Path("/proc/self/ns/cgroup").readlink())


def test_read_only(oci: Oci) -> None:
    needs_v1()
    said = oci("run", "-b", bundle_of(oci, "ro"), oci.name("ro"), check=False)
    assert said.startswith("77\n")
    assert "Read-only file system" in said


def test_in_a_user_namespace_the_hosts_and_read_only(oci: Oci) -> None:
    """The kernel mounts none for it there; what it is given cannot be written to, by no root."""
    needs_v1()
    said = oci("run", "-b", bundle_of(oci, userns=True), oci.name("user"), check=False)
    assert "Read-only file system" in said
