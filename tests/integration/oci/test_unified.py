"""linux.resources where all controllers are on cgroup v2, by directories and by systemd's scopes.

What this file asks for, the kernel is asked about: the values are those of the control files.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from knarr.cgroups import files, mounts
from tests.integration.oci.test_cgroups import create, disk
from tests.integration.oci.test_control import SLEEP, linux_of, places, running, stopped
from tests.support.bundles import Oci
from tests.support.waiting import wait_until

MIB = 1 << 20
SYSTEMD = Path("/run/systemd/system")
ROOT = Path("/sys/fs/cgroup")


def has_all_controllers() -> bool:
    if any(one.version == 1 for one in mounts.parse(files.read("/proc/self/mountinfo"))):
        return False
    return {"memory", "cpu", "io", "pids"} <= set((ROOT / "cgroup.controllers").read_text().split())


@pytest.fixture(params=["cgroupfs", "systemd"])
def oci(request: pytest.FixtureRequest, oci: Oci) -> Oci:
    """The command with one of the managers of control groups."""
    if not has_all_controllers():
        pytest.skip("needs cgroup v2 alone, with its controllers")
    if request.param == "systemd" and not SYSTEMD.is_dir():
        pytest.skip("needs systemd as process 1")
    oci.always("--cgroup-manager", request.param)
    return oci


def group(oci: Oci, name: str) -> Path:
    return Path(places(oci, name)["unified"])


def said(oci: Oci, name: str, *names: str) -> list[str]:
    return [(group(oci, name) / one).read_text().strip() for one in names]


def update(oci: Oci, name: str, resources: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(oci.program), "update", "-r", "-", name], input=json.dumps(resources).encode(),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip


def test_values_of_v1_are_converted(oci: Oci) -> None:
    """And what ``update`` changes of them; what it does not name stays."""
    name = oci.name("limits")
    create(
        oci, name,
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB,
                       "kernel": 8 * MIB, "useHierarchy": True, "checkBeforeUpdate": True},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 77},
        },
    )  # fmt: skip
    memory = ("memory.max", "memory.swap.max", "memory.low")
    cpu = ("cpu.weight", "cpu.max", "cpuset.cpus", "cpuset.mems", "pids.max")
    assert said(oci, name, *memory) == [str(64 * MIB), str(32 * MIB), str(32 * MIB)]
    assert said(oci, name, *cpu) == ["59", "20000 50000", "0", "0", "77"]

    oci("update", "--memory-swap", "128M", "--cpu-period", "100000", "--cpu-share", "1024", name)
    assert said(oci, name, *memory[:2]) == [str(64 * MIB), str(64 * MIB)]
    assert said(oci, name, *cpu) == ["100", "20000 100000", "0", "0", "77"]
    oci("update", "--memory", "-1", "--cpu-quota", "-1", "--cpu-share", "262144",
        "--pids-limit", "-1", name)  # fmt: skip
    assert said(oci, name, *memory[:2]) == ["max", "max"]
    assert said(oci, name, *cpu) == ["10000", "max 100000", "0", "0", "max"]
    oci("update", "--cpu-share", "2", "--pids-limit", "0", "--memory-reservation", "1M", name)
    assert said(oci, name, "cpu.weight", "pids.max", "memory.low") == ["1", "1", str(MIB)]


def test_refused_update_changes_nothing(oci: Oci) -> None:
    name = oci.name("whole")
    running(oci, name, linux=linux_of(oci, resources={"memory": {"limit": 64 * MIB}}))
    kept = ("memory.max", "memory.swap.max", "pids.max", "cpu.weight")
    before = said(oci, name, *kept)
    words = ("--memory", "80M", "--memory-swap", "90M", "--pids-limit", "9", "--cpu-share", "77",
             "--cpuset-cpus", "4000")  # fmt: skip
    assert "cpu.cpus cannot be set" in oci("update", *words, name, check=False)
    assert said(oci, name, *kept) == before
    done = update(oci, name, {"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    assert b"memory.limit cannot be set to 4096" in done.stderr
    assert said(oci, name, *kept) == before
    assert oci.state(name)["status"] == "running"


def test_bursts_and_idle_groups(oci: Oci) -> None:
    """Since Linux 5.14 and 5.15; older ones say which field it is."""
    name = oci.name("burst")
    wanted = {"cpu": {"quota": 20000, "period": 50000, "burst": 10000}}
    if not _has(oci, "cpu.max.burst"):
        text = create(oci, name, wanted, check=False)
        assert "linux.resources.cpu.burst: this kernel does not support it" in text
        assert oci("list", "-q") == ""
        return
    create(oci, name, wanted)
    assert said(oci, name, "cpu.max", "cpu.max.burst") == ["20000 50000", "10000"]
    oci("update", "--cpu-quota", "5000", "--cpu-burst", "2000", name)
    assert said(oci, name, "cpu.max", "cpu.max.burst") == ["5000 50000", "2000"]
    if (group(oci, name) / "cpu.idle").exists():
        oci("update", "--cpu-idle", "1", "--cpu-share", "300", name)  # which it has no use for
        assert said(oci, name, "cpu.idle") == ["1"]
        oci("update", "--cpu-idle", "0", "--cpu-share", "1024", name)
        assert said(oci, name, "cpu.idle", "cpu.weight") == ["0", "100"]


def _has(oci: Oci, file: str) -> bool:
    """Whether groups of this kernel have a file: a container without limits is asked."""
    name = oci.name("asked")
    create(oci, name, {})
    found = (group(oci, name) / file).exists()
    oci("delete", "--force", name)
    return found


def test_disk_is_throttled(oci: Oci) -> None:
    if (found := disk()) is None:
        pytest.skip("needs a disk")
    major, minor = found
    name = oci.name("disk")
    here = {"major": major, "minor": minor}
    create(
        oci, name,
        {"blockIO": {
            "throttleReadBpsDevice": [here | {"rate": MIB}],
            "throttleWriteBpsDevice": [here | {"rate": 2 * MIB}],
            "throttleReadIOPSDevice": [here | {"rate": 300}],
            "throttleWriteIOPSDevice": [here | {"rate": 400}],
        }},
    )  # fmt: skip
    limits = f"rbps={MIB} wbps={2 * MIB} riops=300 wiops=400"
    assert said(oci, name, "io.max") == [f"{major}:{minor} {limits}"]
    # One that is refused half-way leaves both devices as they were.
    nobody = {"major": 4095, "minor": 9, "rate": 1}
    done = update(oci, name, {"blockIO": {"throttleReadBpsDevice": [here | {"rate": 77}, nobody]}})
    assert done.returncode == 1
    assert b"blockIO.throttleReadBpsDevice" in done.stderr
    assert said(oci, name, "io.max") == [f"{major}:{minor} {limits}"]
    done = update(oci, name, {"blockIO": {"throttleReadBpsDevice": [here | {"rate": 77}]}})
    assert done.returncode == 0
    assert said(oci, name, "io.max") == [f"{major}:{minor} rbps=77{limits[limits.index(' ') :]}"]


def test_weight_of_disks(oci: Oci) -> None:
    """As the scheduler has it that is there; none of both is an error with the field."""
    name = oci.name("weight")
    there = [one for one in ("io.bfq.weight", "io.weight") if _has(oci, one)]
    text = create(oci, name, {"blockIO": {"weight": 505}}, check=bool(there))
    if not there:
        assert "blockIO.weight: no I/O scheduler with weights" in text
    for file, weight in (("io.bfq.weight", "505"), ("io.weight", "5000")):
        if file in there:
            assert said(oci, name, file)[0].splitlines()[0] == f"default {weight}"


def test_huge_pages(oci: Oci) -> None:
    if "hugetlb" not in (ROOT / "cgroup.controllers").read_text():
        pytest.skip("needs huge pages and their controller")
    name = oci.name("huge")
    create(oci, name, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})
    assert said(oci, name, "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max") == [str(4 * MIB)] * 2
    data = json.loads(oci("events", "--stats", name))["data"]
    assert data["hugetlb"]["2MB"] == {"usage": 0, "max": 0, "failcnt": 0}


def test_rdma_device_that_is_not_there(oci: Oci) -> None:
    if "rdma" not in (ROOT / "cgroup.controllers").read_text():
        pytest.skip("needs the controller of RDMA devices")
    text = create(oci, oci.name("rdma"), {"rdma": {"mlx5_9": {"hcaHandles": 2}}}, check=False)
    assert "linux.resources: rdma.mlx5_9 cannot be set" in text
    assert oci.groups() == []


def test_files_of_v2_are_written_as_they_are(oci: Oci) -> None:
    """After, and so instead of, what was converted."""
    name = oci.name("files")
    create(
        oci, name,
        {
            "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
            "cpu": {"shares": 1024},
            "unified": {"memory.high": str(48 * MIB), "memory.max": str(80 * MIB),
                        "memory.oom.group": "1", "cpu.weight": "7", "cpuset.cpus": "0",
                        "pids.max": "33", "cgroup.max.descendants": "5"},
        },
    )  # fmt: skip
    memory = ("memory.high", "memory.max", "memory.swap.max", "memory.oom.group")
    assert said(oci, name, *memory) == [str(48 * MIB), str(80 * MIB), "0", "1"]
    others = ("cpu.weight", "cpuset.cpus", "pids.max", "cgroup.max.descendants")
    assert said(oci, name, *others) == ["7", "0", "33", "5"]
    assert update(oci, name, {"unified": {"pids.max": "44"}}).returncode == 0
    bad = {"unified": {"memory.high": "max", "pids.max": "55", "cpu.nosuch": "1"}}
    assert b"unified.cpu.nosuch: this kernel does not" in update(oci, name, bad).stderr
    assert said(oci, name, "memory.high", "pids.max") == [str(48 * MIB), "44"]


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"unified": {"nosuch.max": "1"}}, "unified.nosuch.max: cgroup controller nosuch is not"),
        ({"unified": {"memory.nosuch": "1"}}, "unified.memory.nosuch: this kernel does not"),
        ({"unified": {"memory.max": "much"}}, "unified.memory.max cannot be set to 'much'"),
        ({"unified": {"cgroup.procs": "1"}}, "unified: cgroup.procs is not a resource"),
        ({"memory": {"limit": 64 * MIB, "swap": MIB}}, "memory.swap: 1048576 is below"),
        ({"memory": {"swappiness": 60}}, "memory.swappiness: cgroup v2 has no such"),
        ({"memory": {"useHierarchy": False}}, "memory.useHierarchy: cgroup v2 is always"),
        ({"cpu": {"period": 1, "quota": 5}}, "cpu.quota cannot be set to '5 1'"),
        ({"cpu": {"cpus": "4000"}}, "cpu.cpus cannot be set to '4000'"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugepageLimits 3MB"),
    ],
)
def test_what_cannot_be_is_named(oci: Oci, resources: dict[str, Any], text: str) -> None:
    found = create(oci, oci.name("bad"), resources, check=False)
    assert "linux.resources" in found
    assert text in found
    assert oci("list", "-q") == ""
    assert oci.groups() == []


def test_devices_are_kept_out_and_let_in(oci: Oci) -> None:
    """By a program on the group: seen by opening them, also after an update."""
    disks = sorted(Path("/sys/block").glob("*/dev"))
    if len(disks) < 2:
        pytest.skip("needs two disks that can be opened")
    name = oci.name("devices")
    first, other = ([int(part) for part in one.read_text().split(":")] for one in disks[:2])
    nodes = [{"path": f"/dev/{name}", "type": "b", "major": major, "minor": minor}
             for name, (major, minor) in (("first", first), ("other", other))]  # fmt: skip

    def rules(disk: list[int]) -> list[dict[str, Any]]:
        numbers = {"major": disk[0], "minor": disk[1]}
        return [{"allow": False, "access": "rwm"},
                {"allow": True, "type": "b", "access": "r", **numbers}]  # fmt: skip

    rootfs = oci.folder / "rootfs"
    oci.copy_root(rootfs)
    linux = linux_of(oci, resources={"devices": rules(first)}, devices=nodes)
    running(oci, name, linux=linux, root={"path": str(rootfs)})
    script = "for one in zero first other; do (: </dev/$one) 2>/dev/null && echo $one; done; :"
    assert oci("exec", name, "sh", "-c", script) == "zero\nfirst\n"
    oci("update", "--pids-limit", "50", name)
    assert oci("exec", name, "sh", "-c", script) == "zero\nfirst\n"
    assert update(oci, name, {"devices": rules(other)}).returncode == 0
    assert oci("exec", name, "sh", "-c", script) == "zero\nother\n"


def test_limits_cannot_be_raised_from_inside(oci: Oci) -> None:
    """A container may have a group that it can write to, and still not its limits."""
    if "nsdelegate" not in Path("/proc/mounts").read_text():
        pytest.skip("needs control groups that are mounted with nsdelegate")
    name = oci.name("inside")
    config = json.loads((oci.bundle(*SLEEP) / "config.json").read_text())
    for entry in config["mounts"]:
        if entry["type"] == "cgroup":
            entry["options"] = ["nosuid", "noexec", "nodev", "rw"]
    resources = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    linux = linux_of(oci, resources=resources)
    running(oci, name, linux=linux, mounts=config["mounts"])
    at = "/sys/fs/cgroup"
    assert oci("exec", name, "cat", f"{at}/memory.max", f"{at}/pids.max") == f"{64 * MIB}\n20\n"
    for file in ("memory.max", "pids.max"):
        oci("exec", name, "sh", "-c", f"echo max >{at}/{file}", check=False)
    assert said(oci, name, "memory.max", "pids.max") == [str(64 * MIB), "20"]
    oci("exec", name, "mkdir", f"{at}/own")  # and it goes with the container
    where = group(oci, name)
    oci("delete", "--force", name)
    assert not where.exists()


def test_container_that_hands_controllers_down(oci: Oci) -> None:
    """As systemd does inside: its own group has no room for processes then."""
    name = oci.name("inner")
    config = json.loads((oci.bundle(*SLEEP) / "config.json").read_text())
    for entry in config["mounts"]:
        if entry["type"] == "cgroup":
            entry["options"] = ["nosuid", "noexec", "nodev", "rw"]
    at = "/sys/fs/cgroup"
    script = (f"mkdir {at}/init && echo 1 >{at}/init/cgroup.procs"
              f" && echo '+pids' >{at}/cgroup.subtree_control; exec sleep 1000")  # fmt: skip
    running(oci, name, "sh", "-c", script, mounts=config["mounts"])
    where = group(oci, name)
    wait_until(lambda: "pids" in (where / "cgroup.subtree_control").read_text())
    assert oci("exec", name, "cat", "/proc/self/cgroup") == "0::/init\n"
    assert len(json.loads(oci("ps", "-f", "json", name))) == 1
    oci("pause", name)
    assert (where / "init/cgroup.events").read_text().endswith("frozen 1\n")
    oci("resume", name)
    oci("kill", "--all", name, "KILL")
    wait_until(lambda: stopped(oci, name))
    oci("delete", name)
    assert not where.exists()
