"""linux.resources and linux.cgroupsPath at create, on the control groups that this machine has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.cgroups import files, mounts
from knarr.cgroups.manager import detect
from knarr.cgroups.v1.manager import Manager
from tests.integration.oci.test_control import SLEEP, linux_of, places, running, stopped, value
from tests.support.bundles import Oci
from tests.support.waiting import wait_until

MIB = 1 << 20


def create(oci: Oci, name: str, resources: dict[str, Any], *, check: bool = True) -> str:
    linux = linux_of(oci, resources=resources)
    return oci("create", "--bundle", str(oci.bundle(*SLEEP, linux=linux)), name, check=check)


@pytest.fixture
def v1(oci: Oci) -> Oci:
    if detect("cgroupfs").version != 1:
        pytest.skip("needs the files of cgroup v1")
    return oci


def test_memory_and_processors(v1: Oci) -> None:
    name = v1.name("limits")
    create(
        v1, name,
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB,
                       "swappiness": 20, "disableOOMKiller": True, "useHierarchy": True,
                       "kernel": 8 * MIB, "checkBeforeUpdate": True},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 10000,
                    "cpus": "0", "mems": "0"},
            "pids": {"limit": -1},
        },
    )  # fmt: skip
    for file, wanted in (
        ("memory.limit_in_bytes", 64 * MIB), ("memory.memsw.limit_in_bytes", 96 * MIB),
        ("memory.soft_limit_in_bytes", 32 * MIB), ("memory.swappiness", 20),
        ("cpu.shares", 512), ("cpu.cfs_quota_us", 20000), ("cpu.cfs_period_us", 50000),
        ("cpu.cfs_burst_us", 10000), ("cpuset.cpus", 0), ("cpuset.mems", 0), ("pids.max", "max"),
    ):  # fmt: skip
        assert value(v1, name, file, file) == str(wanted), file
    assert "oom_kill_disable 1" in value(v1, name, "memory.oom_control", "")


def test_no_further_process(oci: Oci) -> None:
    """With a limit of 0 the first is there, and no other."""
    name = oci.name("none")
    linux = linux_of(oci, resources={"pids": {"limit": 0}})
    out = oci.folder / "said"
    running(oci, name, "sh", "-c", "(true) || echo; exec sleep 1000", out=out, linux=linux)
    assert value(oci, name, "pids.max", "pids.max") == "1"
    wait_until(lambda: stopped(oci, name))  # the shell ends when it cannot fork


def test_idle_group(oci: Oci) -> None:
    """Which takes no shares: they are left out."""
    name = oci.name("idle")
    create(oci, name, {"cpu": {"idle": 1, "shares": 300}})
    assert value(oci, name, "cpu.idle", "cpu.idle") == "1"


def test_realtime(v1: Oci) -> None:
    name = v1.name("rt")
    resources = {"cpu": {"realtimePeriod": 800000, "realtimeRuntime": 10000}}
    machine = detect("cgroupfs")
    assert isinstance(machine, Manager)
    if not Path(machine.controllers["cpu"], "cpu.rt_runtime_us").exists():
        assert "cpu.realtimePeriod: this kernel" in create(v1, name, resources, check=False)
        return
    create(v1, name, resources)
    assert value(v1, name, "cpu.rt_period_us", "") == "800000"
    assert value(v1, name, "cpu.rt_runtime_us", "") == "10000"
    v1("update", "--cpu-rt-period", "10000", "--cpu-rt-runtime", "300", name)
    assert value(v1, name, "cpu.rt_runtime_us", "") == "300"
    v1("update", "--cpu-rt-period", "100000", "--cpu-rt-runtime", "20000", name)
    assert value(v1, name, "cpu.rt_period_us", "") == "100000"
    text = v1("update", "--cpu-rt-runtime", "200000", name, check=False)
    assert "cpu.realtimeRuntime cannot be set to '200000': Invalid argument" in text


def test_huge_pages_are_limited_when_they_are_reserved(oci: Oci) -> None:
    name = oci.name("huge")
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
    if detect("cgroupfs").unsupported(resources):
        pytest.skip("needs huge pages and their controller")
    create(oci, name, resources)
    for kind in ("", "rsvd."):
        v1, v2 = f"hugetlb.2MB.{kind}limit_in_bytes", f"hugetlb.2MB.{kind}max"
        assert value(oci, name, v1, v2) == str(4 * MIB)
    # A container that was not in that hierarchy joins it when it has to.
    other = oci.name("later")
    running(oci, other)
    pid = oci.state(other)["pid"]
    subprocess.run(
        [str(oci.program), "update", "-r", "-", other], input=json.dumps(resources).encode(),
        check=True, timeout=60,
    )  # fmt: skip
    assert value(oci, other, "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max") == str(4 * MIB)
    if directory := places(oci, other).get("unified"):
        assert str(pid) in files.read(f"{directory}/cgroup.procs").split()


def disk() -> tuple[int, int] | None:
    """A disk that takes limits."""
    for path in Path("/sys/block").iterdir():
        if (path / "device").exists():
            major, minor = (path / "dev").read_text().strip().split(":")
            return int(major), int(minor)
    return None


def test_disk_is_throttled(v1: Oci) -> None:
    if (found := disk()) is None:
        pytest.skip("needs a disk")
    name = v1.name("disk")
    major, minor = found
    here = {"major": major, "minor": minor}
    create(
        v1, name,
        {"blockIO": {
            "throttleReadBpsDevice": [here | {"rate": MIB}],
            "throttleWriteBpsDevice": [here | {"rate": 2 * MIB}],
            "throttleReadIOPSDevice": [here | {"rate": 300}],
            "throttleWriteIOPSDevice": [here | {"rate": 400}],
        }},
    )  # fmt: skip
    for file, rate in (
        ("read_bps", MIB), ("write_bps", 2 * MIB), ("read_iops", 300), ("write_iops", 400),
    ):  # fmt: skip
        said = value(v1, name, f"blkio.throttle.{file}_device", "")
        assert said == f"{major}:{minor} {rate}"
    # One that is refused half-way leaves both devices as they were.
    more = {"blockIO": {"throttleReadBpsDevice": [here | {"rate": 77}, {"major": 4095, "minor": 9,
                                                                       "rate": 1}]}}  # fmt: skip
    done = subprocess.run(
        [str(v1.program), "update", "-r", "-", name], input=json.dumps(more).encode(),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"blockIO.throttleReadBpsDevice" in done.stderr
    assert value(v1, name, "blkio.throttle.read_bps_device", "") == f"{major}:{minor} {MIB}"


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"unified": {"memory.max": "1000000"}}, "unified.memory.max: controller memory is not"),
        ({"unified": {"cgroup.nosuch": "1"}}, "unified.cgroup.nosuch: this kernel does not"),
        ({"unified": {"cgroup.procs": "1"}}, "unified: cgroup.procs is not a resource"),
        ({"unified": {"../x.y": "1"}}, "is not the name of a control file"),
        ({"rdma": {"mlx5_1": {"hcaHandles": 2}}}, "rdma.mlx5_1"),
        ({"rdma": {"mlx5_1": {}}}, "rdma.mlx5_1: needs hcaHandles"),
        ({"network": {"classID": 1048577}}, "network.classID"),
        ({"network": {"priorities": [{"name": "eth0", "priority": 5}]}}, "network.priorities"),
        ({"network": {"priorities": [{"name": "eth0"}]}}, "needs a name and a priority"),
        ({"memory": {"useHierarchy": False}}, "memory.useHierarchy"),
        ({"memory": {"limit": 64 * MIB, "swap": MIB}}, "memory.swap: 1048576 is below"),
        ({"memory": {"swap": 64 * MIB}}, "memory.swap: needs memory.limit"),
        ({"memory": {"limit": "64m"}}, "memory.limit: expected a whole number"),
        ({"cpu": {"period": 1, "quota": 5}}, "cpu.period cannot be set to '1'"),
        ({"cpu": {"cpus": "0-x"}}, "cpu.cpus: '0-x' is not a list"),
        ({"cpu": {"cpus": "4000"}}, "cpu.cpus cannot be set to '4000'"),
        ({"blockIO": {"leafWeight": 100}}, "blockIO.leafWeight"),
        ({"blockIO": {"weight": 2000}}, "blockIO.weight: 2000 is not in the range"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugepageLimits 3MB"),
        ({"devices": [{"allow": True, "type": "x"}]}, "devices[0].type: 'x' is none of"),
    ],
)
def test_what_cannot_be_is_named(v1: Oci, resources: dict[str, Any], text: str) -> None:
    said = create(v1, v1.name("bad"), resources, check=False)
    assert f"linux.resources.{text}" in said or (text in said and "linux.resources" in said)
    assert v1("list", "-q") == ""
    assert v1.groups() == []


def test_group_in_use_is_refused(oci: Oci) -> None:
    name = oci.name("first")
    linux = linux_of(oci, cgroupsPath=f"/{name}-group")
    running(oci, name, linux=linux)
    bundle = str(oci.bundle(*SLEEP, linux=linux))
    said = oci("create", "--bundle", bundle, oci.name("second"), check=False)
    assert "container's cgroup is not empty: 1 process(es) found" in said
    assert oci.state(name)["status"] == "running"
    assert len(oci.groups()) == len(set(places(oci, name).values()))


def test_frozen_group_is_refused(oci: Oci) -> None:
    """It would stand still for ever."""
    path = f"/{oci.name('ice')}"
    group = detect("cgroupfs").create(path, {})
    try:
        group.freeze()
        bundle = str(oci.bundle(*SLEEP, linux=linux_of(oci, cgroupsPath=path)))
        said = oci("create", "--bundle", bundle, oci.name("warm"), check=False)
        assert "container's cgroup unexpectedly frozen" in said
        assert group.frozen()
    finally:
        group.thaw()
        group.destroy()


@pytest.mark.parametrize("path", ["../x", "/a/../../x", "/", "relative\nx"])
def test_paths_that_lead_elsewhere(oci: Oci, path: str) -> None:
    bundle = str(oci.bundle(*SLEEP, linux=linux_of(oci, cgroupsPath=path)))
    assert "linux.cgroupsPath" in oci("create", "--bundle", bundle, oci.name("out"), check=False)


def test_relative_path(oci: Oci) -> None:
    name = oci.name("relative")
    running(oci, name, linux=linux_of(oci, cgroupsPath=f"{name}-a/b"))
    assert all(path.endswith(f"/{name}-a/b") for path in places(oci, name).values())
    oci("delete", "--force", name)
    for path in oci.groups():
        os.rmdir(path)  # the parent, which may have been somebody else's, stays


def test_managers(oci: Oci) -> None:
    name = oci.name("manager")
    bundle = str(oci.bundle(*SLEEP))
    words = ("create", "--bundle", bundle, name)
    both = ("--systemd-cgroup", "--cgroup-manager", "cgroupfs")
    assert "not together" in oci(*both, *words, check=False)
    assert "is none of cgroupfs" in oci("--cgroup-manager", "none", *words, check=False)
    if not Path("/run/systemd/system").exists():
        for flags in (("--systemd-cgroup",), ("--cgroup-manager", "systemd")):
            assert "needs systemd as pid 1" in oci(*flags, *words, check=False)
    oci("--cgroup-manager", "cgroupfs", *words)
    assert oci.groups()


def test_without_control_groups(oci: Oci) -> None:
    """Its processes stay where their parent is, and commands that need a group say so."""
    name = oci.name("loose")
    flags = ("--cgroup-manager", "disabled")
    limited = oci.bundle(*SLEEP, linux=linux_of(oci, resources={"pids": {"limit": 5}}))
    text = oci(*flags, "create", "--bundle", str(limited), name, check=False)
    assert "linux.resources.pids: control groups are switched off" in text
    linux = linux_of(oci)
    linux["resources"] = {}
    oci(*flags, "create", "--bundle", str(oci.bundle(*SLEEP, linux=linux)), name)
    pid = oci.state(name)["pid"]
    own = Path("/proc/self/cgroup").read_text().splitlines()
    assert Path(f"/proc/{pid}/cgroup").read_text().splitlines() == own
    assert oci.groups() == []
    oci("start", name)
    for words in (
        ("pause", name), ("update", "--pids-limit", "3", name), ("events", "--stats", name),
        ("ps", name), ("kill", "--all", name, "TERM"),
    ):  # fmt: skip
        assert "has no control group" in oci(*words, check=False), words
    oci("kill", "--all", name, "KILL")  # all go with the first, whose namespace it is
    wait_until(lambda: stopped(oci, name))


def test_group_is_given_to_the_processs_user(oci: Oci) -> None:
    """When it has a cgroup namespace and may write to it (on v2 alone)."""
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
    if detect("cgroupfs").unsupported(resources):
        pytest.skip("needs a controller of cgroup v2")
    config = json.loads((oci.bundle(*SLEEP) / "config.json").read_text())
    for options, owner in ((["rw"], 1234), (["ro"], 0)):
        name = oci.name(f"owner{owner}")
        mounted = [one for one in config["mounts"] if one["type"] != "cgroup"]
        mounted.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                        "options": ["nosuid", "noexec", "nodev", *options]})  # fmt: skip
        process = config["process"] | {"user": {"uid": 1234, "gid": 0}}
        linux = linux_of(oci, resources=resources)
        running(oci, name, linux=linux, mounts=mounted, process=process)
        directory = Path(places(oci, name)["unified"])
        assert directory.stat().st_uid == owner
        assert (directory / "cgroup.procs").stat().st_uid == owner
        assert (directory / "cgroup.max.depth").stat().st_uid == 0


@pytest.fixture
def v2(oci: Oci, tmp_path: Path) -> Iterator[Oci]:
    """The command where cgroup v2 alone is mounted; here it may have few controllers."""
    if all(one.version == 2 for one in mounts.parse(files.read("/proc/self/mountinfo"))):
        yield oci
        return
    plain = oci.program
    oci.program = tmp_path / "on-v2"
    script = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec"
    oci.program.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'{script} "$0" "$@"\' {plain} "$@"\n'
    )
    oci.program.chmod(0o755)
    yield oci
    oci.close()
    oci.program = plain


def root_of_v2() -> Path:
    every = mounts.parse(files.read("/proc/self/mountinfo"))
    return Path(next(one.mount_point for one in every if one.version == 2))


def on_v2(oci: Oci, name: str) -> Path:
    """A container's group where this machine has it."""
    where = json.loads((oci.root / name / "state.json").read_text())["cgroup"]["path"]
    return Path(f"{root_of_v2()}{where}")


def test_life_on_v2(v2: Oci) -> None:
    name = v2.name("two")
    out = v2.folder / "out"
    running(v2, name, "sh", "-c", "while :; do echo x; sleep 0.01; done", out=out)
    group = on_v2(v2, name)
    assert str(v2.state(name)["pid"]) in (group / "cgroup.procs").read_text().split()
    v2("pause", name)
    assert (group / "cgroup.freeze").read_text() == "1\n"
    assert v2.state(name)["status"] == "paused"
    data = json.loads(v2("events", "--stats", name))["data"]
    assert data["cpu"]["usage"]["total"] > 0
    assert data["network_interfaces"] is None
    size = out.stat().st_size
    v2("resume", name)
    wait_until(lambda: out.stat().st_size > size)
    v2("pause", name)
    v2("kill", name, "KILL")
    wait_until(lambda: stopped(v2, name))
    v2("delete", name)
    assert not group.exists()


def test_all_die_on_v2_where_the_namespace_of_pids_is_the_hosts(v2: Oci) -> None:
    name = v2.name("shared")
    kinds = ("network", "ipc", "uts", "mount", "cgroup")
    linux = linux_of(v2, namespaces=[{"type": kind} for kind in kinds])
    script = "(while :; do sleep 0.5 & sleep 0.02; done) & exec sleep 1000"
    running(v2, name, "sh", "-c", script, linux=linux)
    wait_until(lambda: len((on_v2(v2, name) / "cgroup.procs").read_text().split()) > 5)
    with subprocess.Popen(
        [str(v2.program), "events", "--interval", "30ms", name],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "stats"
        v2("pause", name)
        v2("kill", name, "KILL")
        process.communicate(timeout=60)  # lines that nobody reads would have it wait
        assert process.returncode == 0
    assert (on_v2(v2, name) / "cgroup.procs").read_text() == ""
    assert json.loads(v2("ps", "-f", "json", name)) == []


def test_limits_on_v2(v2: Oci) -> None:
    name = v2.name("unified")
    if "hugetlb" not in (root_of_v2() / "cgroup.controllers").read_text():
        pytest.skip("needs huge pages and their controller")
    create(
        v2, name,
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
         "unified": {"hugetlb.1GB.max": "0", "cgroup.max.depth": "7"}},
    )  # fmt: skip
    group = on_v2(v2, name)
    assert (group / "hugetlb.2MB.rsvd.max").read_text() == f"{4 * MIB}\n"
    assert (group / "hugetlb.1GB.max").read_text() == "0\n"
    more = {"hugepageLimits": [{"pageSize": "2MB", "limit": 8 * MIB}],
            "unified": {"cgroup.max.depth": "9", "cgroup.nosuch": "1"}}  # fmt: skip
    words = [str(v2.program), "update", "-r", "-", name]
    done = subprocess.run(
        words, input=json.dumps(more).encode(), capture_output=True, check=False, timeout=60
    )
    assert b"unified.cgroup.nosuch" in done.stderr
    assert (group / "hugetlb.2MB.max").read_text() == f"{4 * MIB}\n"
    assert (group / "cgroup.max.depth").read_text() == "7\n"
    del more["unified"]
    subprocess.run(words, input=json.dumps(more).encode(), check=True, timeout=60)
    assert (group / "hugetlb.2MB.max").read_text() == f"{8 * MIB}\n"


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"network": {"classID": 7}}, "network.classID"),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "network.priorities"),
        ({"memory": {"swappiness": 60}}, "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"cpu": {"realtimeRuntime": 1000}}, "cpu.realtimeRuntime"),
        ({"blockIO": {"leafWeight": 100}}, "blockIO.leafWeight"),
    ],
)
def test_what_v2_has_not(v2: Oci, resources: dict[str, Any], field: str) -> None:
    said = create(v2, v2.name("old"), resources, check=False)
    assert f"linux.resources.{field}: " in said
    assert v2.groups() == []


def test_exec_on_v2(v2: Oci) -> None:
    """In the container's group, in one below, and where its first process went, if that is gone."""
    name = v2.name("two")
    running(v2, name)
    group = on_v2(v2, name)
    show = ("grep", "^0::", "/proc/self/cgroup")
    assert v2("exec", name, *show) == "0::/\n"
    below, beside = group / "sub", group.with_name(f"{group.name}-beside")
    below.mkdir()
    beside.mkdir()
    try:
        assert v2("exec", "--cgroup", "sub", name, *show) == "0::/sub\n"
        said = v2("exec", "--cgroup", "cpu:/", name, "true", check=False)
        assert "no controllers to tell apart" in said
        (beside / "cgroup.procs").write_text(str(v2.state(name)["pid"]))
        below.rmdir()
        group.rmdir()
        assert v2("exec", name, *show) == f"0::/../{beside.name}\n"
    finally:
        v2("delete", "--force", name)
        for one in (below, beside):
            if one.exists():
                wait_until(lambda one=one: not (one / "cgroup.procs").read_text())  # type: ignore[misc]
                one.rmdir()
