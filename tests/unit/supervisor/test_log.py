"""The framed log: whole records or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.supervisor import log as logs


def write(path: Path, *chunks: tuple[int, bytes]) -> None:
    writer = logs.LogWriter(str(path))
    for stream, data in chunks:
        writer.write(stream, data)
    writer.close()


def read(path: Path) -> list[tuple[int, bytes]]:
    return [(stream, data) for stream, _, data in logs.read_records(str(path))]


def test_records_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, b"out"), (2, b"err"), (1, b""), (1, bytes(65536)))
    assert read(path) == [(1, b"out"), (2, b"err"), (1, b""), (1, bytes(65536))]
    times = [when for _, when, _ in logs.read_records(str(path))]
    assert times == sorted(times)
    assert path.stat().st_mode & 0o777 == 0o600


def test_writing_goes_on_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, b"a"))
    write(path, (2, b"b"))
    assert read(path) == [(1, b"a"), (2, b"b")]


def test_reading_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, b"first"), (1, b"second"))
    found = list(logs.read_records(str(path), logs.record_size(5)))
    assert [data for _, _, data in found] == [b"second"]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_tail_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    write(path, (1, b"whole"), (1, b"123456789"))
    os.truncate(path, path.stat().st_size - min(cut, logs.record_size(9)))
    write(path, (2, b"after"))
    assert read(path) == [(1, b"whole"), (2, b"after")]


def test_a_reader_stops_before_a_record_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, b"whole"), (1, b"123456789"))
    os.truncate(path, logs.record_size(5) + logs.HEAD.size + 4)
    assert read(path) == [(1, b"whole")]


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        logs.LogWriter(str(tmp_path / "log"))
    assert not (tmp_path / "other").exists()


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=200)), max_size=12),
    st.integers(0, 400),
)
def test_after_any_cut_whole_records_are_left(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, bytes]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    write(path, *records)
    os.truncate(path, max(0, path.stat().st_size - cut))
    kept = read(path)
    assert kept == records[: len(kept)]
    write(path, (1, b"next"))
    found = read(path)
    assert found[-1] == (1, b"next")
    assert found[:-1] == records[: len(found) - 1]
