"""What a machine's control groups can do, by the files that trees made up here have."""

from pathlib import Path

import pytest

from knarr.cgroups import abilities, none


def tree(root: Path, names: str) -> str:
    for name in names.split():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return str(root)


def test_what_v1_lacks_is_what_no_group_has_a_file_for(tmp_path: Path) -> None:
    memory = tree(tmp_path / "memory", "cgroup.procs memory.limit_in_bytes memory.oom_control")
    blkio = tree(tmp_path / "blkio", "cgroup.procs blkio.throttle.read_bps_device")
    fields = (
        "memory.limit", "memory.swap", "memory.disableOOMKiller", "pids.limit", "blockIO.weight",
        "blockIO.throttleReadBpsDevice",
    )  # fmt: skip
    controllers = {"memory": memory, "blkio": blkio}
    # Where there is only a root group, what it has no file for may be there further down.
    assert abilities.lacking_v1(controllers, fields) == ["pids.limit"]
    tree(tmp_path, "memory/one/cgroup.procs blkio/one/cgroup.procs")
    lacking = ["memory.swap", "pids.limit", "blockIO.weight"]
    assert abilities.lacking_v1(controllers, fields) == lacking
    tree(tmp_path, "blkio/one/blkio.weight memory/one/memory.memsw.limit_in_bytes")
    assert abilities.lacking_v1(controllers, fields) == ["pids.limit"]


@pytest.mark.parametrize("swap", [True, False])
def test_what_v2_lacks(tmp_path: Path, swap: bool) -> None:
    root = tree(tmp_path, "one/cgroup.procs two/memory.current two/memory.max three/io.stat")
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    if swap:
        tree(tmp_path, "two/memory.swap.max three/io.weight")
    fields = (
        "memory.limit", "memory.swap", "memory.swappiness", "memory.disableOOMKiller",
        "pids.limit", "blockIO.weight", "cpu.shares",
    )  # fmt: skip
    always = {"memory.swappiness", "memory.disableOOMKiller", "pids.limit"}
    # A group in which the controller is off tells nothing, and nobody has made one for cpu.
    expected = always if swap else always | {"memory.swap", "blockIO.weight"}
    assert set(abilities.lacking_v2(root, fields)) == expected


def test_without_control_groups_everything_is_lacking() -> None:
    assert none.Manager().lacking(["cpu.shares"]) == ["cpu.shares"]
