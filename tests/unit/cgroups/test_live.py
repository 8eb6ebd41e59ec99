import os
from pathlib import Path

import pytest

from knarr.cgroups import live, none
from knarr.cgroups.v2 import group

TEXTS = {
    "cpu.stat": "usage_usec 12\nuser_usec 5\nsystem_usec 7\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.stat": "anon 1\ninactive_file 1024\nactive_file 7\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:16 rbytes=10 wbytes=20\n",
    "pids.current": "6\n",
}


class V1:
    """A group of v1 whose controllers are all in one directory."""

    path = "/x"

    def __init__(self, folder: Path) -> None:
        self.paths = dict.fromkeys(("cpuacct", "memory", "blkio", "pids"), str(folder))


@pytest.fixture
def v2(tmp_path: Path) -> group.Group:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    return group.Group("/x", str(tmp_path))


@pytest.mark.parametrize("keep", [True, False])
def test_figures_of_v2(v2: group.Group, tmp_path: Path, keep: bool) -> None:
    meter = live.Meter(v2, keep)
    found = meter.read()
    assert found is not None
    assert tuple(found) == live.KEYS
    assert tuple(found.values()) == (12000, 4096, 1024, None, 11, 22, 6)
    (tmp_path / "memory.current").write_text("8192\n")
    (tmp_path / "memory.max").write_text("10000\n")
    found = meter.read()
    assert found is not None
    assert (found["memory_current"], found["memory_limit"]) == (8192, 10000)
    meter.close()
    meter.close()


def test_figures_of_v1(tmp_path: Path) -> None:
    for name, text in {
        "cpuacct.usage": "12\n",
        "memory.usage_in_bytes": "4096\n",
        "memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
        "memory.stat": "inactive_file 1\ntotal_inactive_file 1024\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\n",
        "pids.current": "6\n",
    }.items():
        (tmp_path / name).write_text(text)
    meter = live.Meter(V1(tmp_path))  # type: ignore[arg-type]
    found = meter.read()
    meter.close()
    assert found is not None
    assert tuple(found.values()) == (12, 4096, 1024, None, 1, 2, 6)


def test_descriptors_are_kept_only_on_request(v2: group.Group) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for keep, more in ((True, live.FILES), (False, 0)):
        meter = live.Meter(v2, keep)
        assert count() == before + more
        meter.read()
        assert count() == before + more
        meter.close()
        assert count() == before


def test_what_is_not_accounted_is_unknown(v2: group.Group, tmp_path: Path) -> None:
    (tmp_path / "io.stat").unlink()
    meter = live.Meter(v2)
    found = meter.read()
    meter.close()
    assert found is not None
    assert (found["io_read_bytes"], found["pids_current"]) == (None, 6)
    found = live.Meter(none.Group("/x")).read()
    assert found == dict.fromkeys(live.KEYS)


def test_a_group_that_is_gone(v2: group.Group, tmp_path: Path) -> None:
    meter = live.Meter(v2, keep=False)
    for name in TEXTS:
        (tmp_path / name).unlink()
    assert meter.read() is None
    with pytest.raises(FileNotFoundError):
        live.Meter(v2)


def test_nothing_stays_open_when_a_file_cannot_be_read(v2: group.Group, tmp_path: Path) -> None:
    (tmp_path / "pids.current").unlink()
    (tmp_path / "pids.current").symlink_to("pids.current")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="symbolic links"):
        live.Meter(v2)
    assert len(os.listdir("/proc/self/fd")) == before
