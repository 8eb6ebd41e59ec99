"""Groups in a tree of plain directories: what a v1 manager makes, names and removes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.cgroups import accounting
from knarr.cgroups.mounts import Hierarchy
from knarr.cgroups.v1.manager import Manager

NAMES = (("cpu", "cpuacct"), ("memory",), ("freezer",), ("pids",), ("blkio",))
FIGURES = {
    "cpu,cpuacct": {"cpuacct.usage": "700", "cpuacct.usage_user": "1", "cpuacct.usage_sys": "6"},
    "memory": {
        "memory.usage_in_bytes": "5\n",
        "memory.max_usage_in_bytes": "9\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    },
    "pids": {"pids.peak": "3\n"},
    "blkio": {
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 5\n8:0 Write 7\n8:16 Read 1\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 2\nTotal 2\n",
    },
}


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Manager]:
    def build(*, v2: bool = True, systemd: bool = False) -> Manager:
        found = []
        for names in NAMES:
            place = tmp_path / ",".join(names)
            (place / "knarr").mkdir(parents=True)
            found.append(Hierarchy(str(place), 1, names))
        if v2:
            (tmp_path / "unified" / "knarr").mkdir(parents=True)
            (tmp_path / "unified" / "cgroup.controllers").write_text("hugetlb\n")
            found.append(Hierarchy(str(tmp_path / "unified"), 2, ()))
        return Manager(found, systemd)

    return build


def test_entrances_are_one_of_each_hierarchy(
    machine: Callable[..., Manager], tmp_path: Path
) -> None:
    group = machine().create("/knarr/a", {})
    places = ["cpu,cpuacct", "memory", "freezer", "pids", "blkio"]
    assert group.entrances() == tuple(f"{tmp_path}/{one}/knarr/a/tasks" for one in places)
    assert group.clone_fd() is None


def test_where_systemd_runs_the_unified_hierarchy_comes_last(
    machine: Callable[..., Manager], tmp_path: Path
) -> None:
    group = machine(systemd=True).create("/knarr/a", {})
    assert group.entrances()[-1] == f"{tmp_path}/unified/knarr/a/cgroup.procs"
    assert group.paths["unified"] == f"{tmp_path}/unified/knarr/a"


def test_an_exec_enters_its_own_group_in_one_hierarchy_and_the_containers_in_all_others(
    machine: Callable[..., Manager], tmp_path: Path
) -> None:
    group = machine(systemd=True).create("/knarr/a", {})
    own = group.child("exec")
    assert (tmp_path / "freezer/knarr/a/exec").is_dir()
    places = ["cpu,cpuacct", "memory", "pids", "blkio"]
    assert own.entrances() == (
        *(f"{tmp_path}/{one}/knarr/a/tasks" for one in places),
        f"{tmp_path}/unified/knarr/a/cgroup.procs",
        f"{tmp_path}/freezer/knarr/a/exec/tasks",
    )
    assert own.paths == {"freezer": f"{tmp_path}/freezer/knarr/a/exec"}


def test_a_hierarchy_that_was_mounted_later_is_left_out(
    machine: Callable[..., Manager], tmp_path: Path
) -> None:
    manager = machine()
    manager.create("/knarr/a", {})
    (tmp_path / "pids/knarr/a").rmdir()
    group = manager.open("/knarr/a")
    assert "pids" not in group.paths
    assert len(group.entrances()) == 4


def test_usage_is_read_in_one_pass(machine: Callable[..., Manager], tmp_path: Path) -> None:
    manager = machine()
    manager.create("/knarr/a", {})
    for place, files in FIGURES.items():
        for name, text in files.items():
            (tmp_path / place / "knarr/a" / name).write_text(text)
    found = manager.usage("/knarr/a")
    assert tuple(found) == accounting.KEYS
    # The exact total is split as the samples of user and system mode say.
    assert tuple(found.values()) == (700, 100, 600, 5, 9, 2, 6, 7, 2, 0, 3)


def test_preparing_changes_nothing(machine: Callable[..., Manager], tmp_path: Path) -> None:
    manager = machine()
    before = sorted(tmp_path.rglob("*"))
    manager.prepare()
    assert sorted(tmp_path.rglob("*")) == before


def test_usage_of_what_is_gone_is_unknown(machine: Callable[..., Manager]) -> None:
    assert machine().usage("/knarr/none") == dict.fromkeys(accounting.KEYS)


def test_victims_in_groups_made_inside_count(
    machine: Callable[..., Manager], tmp_path: Path
) -> None:
    manager = machine()
    manager.create("/knarr/a", {})
    inner = tmp_path / "memory/knarr/a/inner"
    inner.mkdir()
    for place in (inner, inner.parent):
        (place / "memory.oom_control").write_text("oom_kill 1\n")
    assert manager.usage("/knarr/a")["memory_oom_kills"] == 2


@pytest.mark.parametrize("path", ["/knarr/a", "/knarr/never"])
def test_remove_leaves_nothing_and_can_be_repeated(
    machine: Callable[..., Manager], tmp_path: Path, path: str
) -> None:
    manager = machine(systemd=True)
    manager.create("/knarr/a", {})
    (tmp_path / "pids" / path[1:]).rmdir() if path == "/knarr/a" else None
    for _ in range(2):
        manager.remove(path)
    left = [one for one, folders, _ in os.walk(tmp_path) if os.path.basename(path) in folders]
    assert left == []


def test_remove_refuses_to_leave_its_tree(machine: Callable[..., Manager]) -> None:
    with pytest.raises(ValueError, match="cgroup path"):
        machine().remove("/knarr/../..")
