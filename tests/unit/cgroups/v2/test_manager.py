"""Groups in a tree of plain directories: what a v2 manager removes and counts by a path alone."""

from pathlib import Path

import pytest

from knarr.cgroups import accounting
from knarr.cgroups.v2.manager import Manager


@pytest.fixture
def machine(tmp_path: Path) -> Manager:
    (tmp_path / "knarr").mkdir()
    return Manager(str(tmp_path))


@pytest.mark.parametrize("inside", ["", "inner/most"])
def test_remove_leaves_nothing_and_can_be_repeated(
    machine: Manager, tmp_path: Path, inside: str
) -> None:
    (tmp_path / "knarr/a" / inside).mkdir(parents=True)
    for _ in range(2):
        machine.remove("/knarr/a")
    assert list((tmp_path / "knarr").iterdir()) == []


def test_remove_refuses_to_leave_its_tree(machine: Manager) -> None:
    for path in ("/", "/knarr/../.."):
        with pytest.raises(ValueError, match="cgroup path"):
            machine.remove(path)


def test_usage_of_what_is_gone_is_unknown(machine: Manager) -> None:
    assert machine.usage("/knarr/none") == dict.fromkeys(accounting.KEYS)


def test_entrances_of_a_group_and_of_an_exec(machine: Manager, tmp_path: Path) -> None:
    (tmp_path / "knarr/a").mkdir()
    group = machine.open("/knarr/a")
    assert group.entrances() == (f"{tmp_path}/knarr/a/cgroup.procs",)
    assert group.child("exec").entrances() == (f"{tmp_path}/knarr/a/exec/cgroup.procs",)
