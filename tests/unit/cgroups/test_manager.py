import subprocess
import sys

import pytest

from knarr.cgroups import UnsupportedResource, manager, none


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="none of auto, cgroupfs, systemd, systemd-user, none"):
        manager.detect("docker")


def test_without_control_groups_limits_are_refused_and_devices_are_not() -> None:
    machine = manager.detect("none")
    assert isinstance(machine, none.Manager)
    group = machine.create("/knarr/x", {"devices": [{"allow": False}], "pids": {"limit": -1}})
    group.attach(1)
    group.destroy()
    assert group.entrances() == ()
    assert group.stats()["cpu"]["total_ns"] is None
    assert set(machine.usage("/knarr/x").values()) == {None}
    machine.remove("/knarr/x")
    with pytest.raises(UnsupportedResource, match="switched off"):
        machine.create("/knarr/x", {"memory": {"limit": 1}})
    assert [one.field for one in machine.unsupported({"memory": {"limit": 1}})] == ["memory"]


def test_import_budget() -> None:
    code = (
        "import sys; import knarr.cgroups.v1.manager, knarr.cgroups.systemd, knarr.cgroups.manager;"
        "print([m for m in ('typing dataclasses logging asyncio pathlib subprocess argparse re "
        "socket http ssl sqlite3 json enum').split() if m in sys.modules])"
    )
    path = next(one for one in sys.path if one.endswith("src"))
    run = f"import sys; sys.path.insert(0, {path!r}); {code}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", run], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
