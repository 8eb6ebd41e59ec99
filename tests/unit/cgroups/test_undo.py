"""What to write so that a control file says again what it said."""

import pytest

from knarr.cgroups import undo

IO = "8:0 rbps=100 wbps=max riops=max wiops=max\n8:16 rbps=7 wbps=max riops=max wiops=max\n"


@pytest.mark.parametrize(
    ("name", "text", "key", "written"),
    [
        ("pids.max", "max\n", "", "max"),
        ("cpu.max", "max 100000\n", "", "max 100000"),
        ("cpuset.cpus", "\n", "", "\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "", "0"),
        ("io.max", IO, "8:16", "8:16 rbps=7 wbps=max riops=max wiops=max"),
        ("io.max", "", "8:1", "8:1 rbps=max wbps=max riops=max wiops=max"),
        ("blkio.throttle.read_bps_device", "", "8:1", "8:1 0"),
        ("io.weight", "default 100\n8:0 50\n", "", "default 100"),
        ("io.weight", "default 100\n8:0 50\n", "8:0", "8:0 50"),
        ("io.weight", "default 100\n", "8:0", "8:0 default"),
    ],
)
def test_line(name: str, text: str, key: str, written: str) -> None:
    assert undo.line(name, text, key) == written
