import errno
import os
from pathlib import Path

import pytest

from knarr.cgroups import accounting
from knarr.cgroups.v2 import group

TEXTS = {
    "cpu.stat": "usage_usec 12\nuser_usec 5\nsystem_usec 7\nnr_periods 0\n",
    "memory.current": "4096\n",
    "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20\n",
    "pids.peak": "6\n",
}


def test_figures_of_v2(tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    used = group.Group("/x", str(tmp_path)).usage()
    assert tuple(used) == accounting.KEYS
    assert tuple(used.values()) == (12000, 5000, 7000, 4096, None, 2, 11, 22, 3, 4, 6)


def test_no_transfers_are_none_and_no_file_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "io.stat").write_text("")
    used = group.Group("/x", str(tmp_path)).usage()
    assert (used["io_read_bytes"], used["memory_peak"]) == (0, None)


def test_a_file_is_opened_once_for_all_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = os.open

    def note(path: str, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", note)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    group.Group("/x", str(tmp_path)).usage()
    assert len(opened) == len(TEXTS) + 1


def test_an_error_that_is_no_absence_is_raised(tmp_path: Path) -> None:
    (tmp_path / "pids.peak").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        accounting.usage(
            accounting.accounts("", [("pids_peak", "pids.peak", None, 1)]), str(tmp_path)
        )
    assert caught.value.errno == errno.EISDIR


def test_stats_are_the_figures_and_more() -> None:
    used: dict[str, int | None] = dict.fromkeys(accounting.KEYS, 1)
    found = accounting.stats(used, {"periods": 2}, {"limit": 3}, {"current": 4})
    assert found["cpu"] == {"periods": 2, "total_ns": 1, "user_ns": 1, "system_ns": 1}
    assert found["memory"] == {"limit": 3, "current": 1, "peak": 1, "oom_kills": 1}
    assert found["io"] == {"read_bytes": 1, "write_bytes": 1, "read_ops": 1, "write_ops": 1}
    assert found["pids"] == {"current": 4, "peak": 1}
