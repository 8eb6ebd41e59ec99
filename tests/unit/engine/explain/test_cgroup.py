"""Limits and use as the files of a group say it, of both versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr.cgroups.none import Group
from knarr.engine.explain import cgroup

V2 = {
    "memory.max": "67108864", "memory.current": "1048576", "memory.swap.max": "max",
    "memory.swap.current": "0", "memory.low": "0", "cpu.max": "50000 100000",
    "cpu.stat": "usage_usec 1234\nuser_usec 1000", "cpu.weight": "100",
    "cpuset.cpus.effective": "0-3", "cpuset.mems.effective": "0", "pids.max": "50",
    "pids.current": "2", "io.max": "8:0 rbps=1048576 wbps=max riops=max wiops=max",
    "io.bfq.weight": "default 100",
}  # fmt: skip


class Files(Group):
    """A group whose directories are the test's."""

    def __init__(self, paths: dict[str, str]) -> None:
        super().__init__("/group")
        self.places = paths

    @property
    def paths(self) -> dict[str, str]:
        """Return them."""
        return self.places


def written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    return str(folder)


def rows(group: Group, asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["Name"]: each for each in cgroup.limits(group, asked)}


def test_version_2(tmp_path: Path) -> None:
    group = Files({"unified": written(tmp_path, V2)})
    found = rows(group, {"memory": {"limit": 67108864, "swap": -1}, "pids": {"limit": 50}})
    assert (found["memory"]["Limit"], found["memory"]["Use"]) == (67108864, 1048576)
    assert found["memory"]["LimitFile"] == f"{tmp_path}/memory.max"
    assert found["memory"]["UseFile"] == f"{tmp_path}/memory.current"
    assert (found["swap"]["Limit"], found["swap"]["Use"]) == (None, 0)
    time = found["processor time"]
    assert (time["Limit"], time["Period"], time["Use"]) == (50000, 100000, 1234000)
    assert found["processor weight"]["Limit"] == 100
    assert found["processors"]["Limit"] == "0-3"
    assert found["block I/O: rates"]["Limit"].startswith("8:0 rbps=1048576")
    assert found["block I/O weight"]["Limit"] == 100
    assert "memory and swap" not in found
    assert [name for name, each in found.items() if each["Asked"]] == [
        "memory", "processes and threads",
    ]  # fmt: skip


def test_version_2_without_limits_and_without_some_files(tmp_path: Path) -> None:
    files = {"memory.max": "max", "memory.current": "0", "cpu.max": "max 100000",
             "cpu.stat": "usage_usec 1", "io.max": ""}  # fmt: skip
    found = rows(Files({"unified": written(tmp_path, files)}), {})
    assert set(found) == {"memory", "processor time", "block I/O: rates"}
    assert {each["Limit"] for each in found.values()} == {None}
    assert found["processor time"]["Period"] == 100000


def test_version_1_with_joined_hierarchies(tmp_path: Path) -> None:
    cpu = tmp_path / "cpu,cpuacct"
    memory = tmp_path / "memory"
    for folder in (cpu, memory):
        folder.mkdir()
    written(cpu, {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "cpu.shares": "1024",
                  "cpuacct.usage": "77"})  # fmt: skip
    written(memory, {"memory.limit_in_bytes": "9223372036854771712",
                     "memory.usage_in_bytes": "4096"})  # fmt: skip
    group = Files({"cpu": str(cpu), "cpuacct": str(cpu), "memory": str(memory)})
    found = rows(group, {})
    assert (found["memory"]["Limit"], found["memory"]["Use"]) == (None, 4096)
    assert (found["processor time"]["Limit"], found["processor time"]["Use"]) == (None, 77)
    assert found["processor weight"]["Limit"] == 1024


def test_a_file_that_is_nonsense_is_told(tmp_path: Path) -> None:
    group = Files({"unified": written(tmp_path, {"cpu.max": "nonsense 1"})})
    with pytest.raises(ValueError, match="nonsense"):
        cgroup.limits(group, {})
