"""Reading logs: lines of two interleaved streams, and the last few of many."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.config import Settings
from knarr.engine import logreader, logs
from knarr.engine.logs import LogEntry, LogOptions
from knarr.engine.paths import Paths
from knarr.supervisor import log
from knarr.supervisor.log import LogWriter


def _paths(folder: Path) -> Paths:
    paths = Paths(Settings(data_root=str(folder), run_root=str(folder / "run")), "c" * 64)
    Path(paths.data).mkdir(parents=True, exist_ok=True)
    return paths


def _write(paths: Paths, records: list[tuple[int, bytes]]) -> None:
    Path(paths.log).unlink(missing_ok=True)
    writer = LogWriter(paths.log)
    for stream, data in records:
        writer.write(stream, data)
    writer.close()


def _read(paths: Paths, **options: int | bool) -> list[LogEntry]:
    return list(logs.read(None, None, paths, LogOptions(**options)))  # type: ignore[arg-type]


def test_lines_are_put_together_for_each_stream(tmp_path: Path) -> None:
    paths = _paths(tmp_path)
    _write(paths, [(1, b"a"), (2, b"x\ny"), (1, b"b\r\nc"), (2, b"z\n")])
    found = [(entry.stream, entry.data) for entry in _read(paths, lines=True)]
    assert found == [(2, b"x\n"), (1, b"ab\r\n"), (2, b"yz\n"), (1, b"c")]
    assert [entry.data for entry in _read(paths)] == [b"a", b"x\ny", b"b\r\nc", b"z\n"]


def test_a_line_without_an_end_is_not_kept_for_ever(tmp_path: Path) -> None:
    paths = _paths(tmp_path)
    part = b"x" * 60000
    _write(paths, [(1, part), (2, b"a\n")] * 40 + [(1, b"y\nz\n")])
    found = [entry.data for entry in _read(paths, lines=True) if entry.stream == 1]
    assert b"".join(found) == part * 40 + b"y\nz\n"
    assert max(map(len, found)) <= logs.LONGEST + len(part)
    assert found[-1] == b"z\n"


@given(st.lists(st.tuples(st.sampled_from((1, 2)), st.sampled_from(
    (b"a", b"\n", b"bc\nd", b"e\nf\n", b"\n\ng", b"x" * 60000, b"y" * 40000 + b"\n"),
)), max_size=40))  # fmt: skip
def test_runs_are_lines_together(records: list[tuple[int, bytes]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = _paths(Path(folder))
        _write(paths, records)
        runs, single = _read(paths, runs=True), _read(paths, lines=True)
        assert [entry.data for entry in _read(paths)] == [data for _, data in records]
    split = [
        LogEntry(run.stream, run.time, line)
        for run in runs
        for line in run.data.splitlines(keepends=True)
    ]
    assert split == single
    stamped = b"".join(run.text(stamped=True, before=b"x=1 ") for run in runs)
    assert stamped == b"".join(line.text(stamped=True, before=b"x=1 ") for line in single)


def test_a_torn_record_is_not_shown(tmp_path: Path) -> None:
    paths = _paths(tmp_path)
    _write(paths, [(1, b"one\n"), (1, b"two\n")])
    whole = Path(paths.log).read_bytes()
    for cut in range(1, 27):
        Path(paths.log).write_bytes(whole[:-cut])
        assert [entry.data for entry in _read(paths, lines=True)][:1] == [b"one\n"]
        assert _read(paths, tail=5)[0].data == b"one\n"


@given(st.integers(0, 40), st.integers(0, 2**32), st.booleans())
def test_tail_is_the_end_of_all_lines(count: int, seed: int, one_stream: bool) -> None:
    import tempfile

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        paths = _paths(Path(folder))
        numbers = itertools.count()
        records = [
            (
                1 if one_stream else rng.choice((1, 2)),
                b"".join(
                    b"%d" % next(numbers) + rng.choice((b"\n", b"\n", b""))
                    for _ in range(rng.randrange(1, 4))
                ),
            )
            for _ in range(rng.randrange(0, 30))
        ]
        _write(paths, records)
        every = [entry.data for entry in _read(paths, lines=True)]
        tail = [entry.data for entry in _read(paths, tail=count)]
        if one_stream:
            assert tail == (every[-count:] if count else [])
        else:
            assert len(tail) == min(count, len(every))


def test_no_log(tmp_path: Path) -> None:
    assert _read(_paths(tmp_path), tail=3) == []


@pytest.mark.parametrize("count", [1, 100])
def test_tail_of_a_long_log_reads_little(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = _paths(tmp_path)
    _write(paths, [(1, b"line %d\n" % number) for number in range(5000)])
    reads = itertools.count()

    real = log.read_record

    def counting(handle: int, offset: int) -> tuple[int, int, bytes] | None:
        next(reads)
        return real(handle, offset)

    monkeypatch.setattr(logreader, "read_record", counting)
    assert len(_read(paths, tail=count)) == count
    assert next(reads) < 5 * count + 20
