"""A log of several files: written with a limit, compressed, read whole meanwhile."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.engine import logs
from knarr.engine.logreader import GAP, LogReader
from knarr.engine.logs import LogEntry
from knarr.errors import Internal
from knarr.supervisor import log, logfiles


def _compress(path: str) -> None:
    pid, pidfd = logfiles.compress(path)
    os.close(pidfd)
    assert os.waitpid(pid, 0)[1] == 0


def _fill(path: str, count: int, limit: int, keep: int, packed: random.Random | None) -> None:
    writer = log.LogWriter(path, limit)
    for number in range(count):
        writer.write(1, b"%d\n" % number)
        if writer.size >= limit:
            writer.rotate(keep)
            if packed is not None and packed.random() < 0.5:
                _compress(path)
    writer.close()


def _numbers(path: str) -> list[int]:
    with LogReader(path) as reader:
        return [int(data) for _, _, data in reader.records()]


def test_files_are_numbered_and_old_ones_go(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    _fill(path, 100, limit=log.record_size(3) * 4, keep=3, packed=None)
    assert len(logfiles.numbers(path)) == 3
    assert _numbers(path) == list(range(_numbers(path)[0], 100))
    before = logfiles.newest(path)
    writer = log.LogWriter(path, 10)  # as the next supervisor does
    assert writer.number == before
    writer.close()


def test_compressed_files_are_read_like_others(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    _fill(path, 200, limit=400, keep=100, packed=random.Random(1))
    _compress(path)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    plain = [name for name in names if not name.endswith(".gz")]
    assert len(plain) == 1
    assert len(names) > 5
    assert _numbers(path) == list(range(200))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    _fill(path, 50, limit=400, keep=100, packed=None)
    _compress(path)
    (tmp_path / "log.0.gz").write_bytes(b"no gzip at all")
    with pytest.raises(Internal, match=r"log\.0\.gz is damaged"):
        _numbers(path)


@given(st.integers(0, 60), st.integers(0, 2**32))
def test_the_end_of_a_log_in_files(count: int, seed: int) -> None:
    import tempfile

    from knarr.config import Settings
    from knarr.engine.paths import Paths

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Settings(data_root=folder, run_root=folder), "c" * 64)
        os.makedirs(paths.data)
        _fill(paths.log, rng.randrange(120), limit=rng.randrange(40, 500), keep=3, packed=rng)
        options = logs.LogOptions(lines=True)
        every = [e.data for e in logs.read(None, None, paths, options)]  # type: ignore[arg-type]
        options = logs.LogOptions(tail=count)
        tail = [e.data for e in logs.read(None, None, paths, options)]  # type: ignore[arg-type]
        assert tail == (every[-count:] if count else [])


def test_readers_beside_the_writer_miss_nothing(tmp_path: Path) -> None:
    """Three read while it is written, rotated and compressed: each sees every record once."""
    path = str(tmp_path / "log")
    done = threading.Event()
    total = 3000
    found: list[list[int]] = [[], [], []]

    def read(into: list[int]) -> None:
        with LogReader(path) as reader:
            while True:
                last = done.is_set()
                into.extend(int(data) for _, _, data in reader.records())
                if last:
                    return

    # Writing forks what compresses, which a process with threads must not.
    hear, go = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(go)
        os.read(hear, 1)
        _fill(path, total, limit=2000, keep=10_000, packed=random.Random(2))
        os._exit(0)
    os.close(hear)
    threads = [threading.Thread(target=read, args=(into,)) for into in found]
    for thread in threads:
        thread.start()
    os.close(go)
    assert os.waitpid(writer, 0)[1] == 0
    done.set()
    for thread in threads:
        thread.join(60)
    assert found == [list(range(total))] * 3


def _write(path: str, *blocks: bytes, keep: int) -> None:
    """Write blocks, each the last of a file."""
    writer = log.LogWriter(path, 1)
    for block in blocks:
        writer.write(1, block)
        writer.rotate(keep)
    writer.close()


def test_who_is_too_slow_goes_on_with_the_oldest_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line whose end was removed is not joined with what comes after the gap."""
    path = str(tmp_path / "log")
    writer = log.LogWriter(path, 1)
    writer.write(1, b"one\nits beginning")
    with LogReader(path) as reader:
        found = list(reader.records())
        writer.rotate(2)
        writer.close()
        _write(path, b" and end\n", b"gone\n", b"gone too\n", b"end\nlast\n", keep=2)
        found += reader.records()
        found += reader.records()
    assert [data for _, _, data in found] == [b"one\nits beginning", b"", b"end\nlast\n"]
    assert found[1] == GAP
    (message,) = caplog.messages
    assert f"log {path}: file rotations were missed: 3 files were removed" in message
    runs = [data for _, _, data in logs._runs(LogEntry(*record) for record in found)]
    assert runs == [b"one\n", b"its beginning", b"end\nlast\n"]


def test_nobody_is_told_of_what_was_gone_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "log")
    _write(path, b"gone\n", b"gone too\n", b"here\n", keep=2)
    with LogReader(path) as reader:
        assert [data for _, _, data in reader.records()] == [b"here\n"]
    assert not caplog.messages


def test_the_last_lines_are_there_though_they_are_removed_meanwhile(tmp_path: Path) -> None:
    """What was looked at for its place is read from there, whatever the writer does."""
    path = str(tmp_path / "log")
    _write(path, b"1\n", b"2\n", b"3\n", keep=5)
    with LogReader(path) as reader:
        *_, (record, place) = reader.backwards()
        assert record[2] == b"1\n"
        _write(path, b"4\n", b"5\n", b"6\n", b"7\n", keep=5)
        reader.go(place)
        found = [data for _, _, data in reader.records()]
    assert found == [b"%d\n" % number for number in range(1, 8)]
