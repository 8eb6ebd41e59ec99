import errno
import os
from pathlib import Path

import pytest

from knarr.cgroups import UnsupportedResource, files, processes


def test_read_of_a_long_file_is_whole(tmp_path: Path) -> None:
    text = "".join(f"{number}\n" for number in range(50000))
    (tmp_path / "cgroup.procs").write_text(text)
    assert files.read(f"{tmp_path}/cgroup.procs") == text


def test_numbers(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("17\n")
    (tmp_path / "b").write_text("max\n")
    (tmp_path / "c").write_text("x 1\ny 2\n")
    assert files.read_int(f"{tmp_path}/a") == 17
    assert files.read_int(f"{tmp_path}/b") is None
    assert files.read_int(f"{tmp_path}/none") is None
    assert files.read_keyed(f"{tmp_path}/c") == {"x": 1, "y": 2}
    assert files.read_keyed(f"{tmp_path}/none") == {}


def test_a_missing_file_is_unsupported_and_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedResource) as caught:
        files.carry_out(str(tmp_path), [("memory.swap.max", "1", "memory.swap")])
    assert caught.value.field == "memory.swap"
    assert "no memory.swap.max" in str(caught.value)


def test_a_missing_group_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        files.carry_out(f"{tmp_path}/gone", [("pids.max", "1", "pids.limit")])
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == f"{tmp_path}/gone/pids.max"


def test_several_writes_reach_their_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    files.carry_out(str(tmp_path), [("a", "1", "x"), ("a", "2", "x"), ("b", "3", "x")])
    assert (tmp_path / "a").read_text() == "12"
    assert (tmp_path / "b").read_text() == "3"


def test_a_group_that_is_being_removed_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int) -> int:
        raise OSError(errno.ENODEV, "No such device", path)

    monkeypatch.setattr(os, "open", refuse)
    assert files.read_int(f"{tmp_path}/a") is None
    assert files.read_keyed(f"{tmp_path}/a") == {}
    assert processes.procs(str(tmp_path)) == []
    assert processes.wait_event(str(tmp_path), "populated", 0, 1.0)
    assert not processes.wait_event(str(tmp_path), "frozen", 1, 1.0)
