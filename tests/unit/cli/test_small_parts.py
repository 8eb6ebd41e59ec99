"""The small parts: filters, cidfile, output files, loaded code, several names at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from knarr.cli import binary, cidfile, each, filterargs, inspecting, loaded
from knarr.errors import Conflict, InvalidArgument, NotFound


def test_filters_collect_by_name() -> None:
    parse = filterargs.FILTERS.parse
    given = [parse("label=a=b"), parse("Label = c"), parse("status=exited")]
    assert filterargs.by_name(given) == {"label": ["a=b", "c"], "status": ["exited"]}
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse("label")


def test_cidfile_stays_only_when_written(tmp_path: Path) -> None:
    file = tmp_path / "id"
    with cidfile.claimed(str(file)) as note:
        note("abc")
    assert file.read_text() == "abc"
    with pytest.raises(Conflict, match="container ID file found"), cidfile.claimed(str(file)):
        pass
    with pytest.raises(NotFound), cidfile.claimed(str(tmp_path / "other")):
        raise NotFound("x")
    assert not (tmp_path / "other").exists()
    with pytest.raises(InvalidArgument, match="No such file"), cidfile.claimed("/none/id"):
        pass


def test_an_output_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    with binary.output(str(file), "save") as stream:
        binary.pour([b"a", b"b"], stream)
        assert not file.exists()
    assert file.read_bytes() == b"ab"
    with pytest.raises(NotFound), binary.output(str(file), "save") as stream:
        stream.write(b"half")
        raise NotFound("x")
    assert file.read_bytes() == b"ab"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(InvalidArgument, match="open /none/x"), binary.output("/none/x", "save"):
        pass


def test_a_pipe_takes_output_as_it_comes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with binary.output(str(fifo), "save") as stream:
        stream.write(b"x")
    assert os.read(reader, 10) == b"x"
    os.close(reader)
    assert fifo.is_fifo()


def test_loaded_code_notices_a_change(tmp_path: Path) -> None:
    code = loaded.loaded_code()
    files = [file for file, _, _ in code]
    assert sys.executable in files
    assert loaded.__file__ in files
    assert loaded.unchanged(code)
    file = tmp_path / "module.py"
    file.write_text("1")
    info = file.stat()
    entry = [(str(file), info.st_mtime_ns, info.st_ino)]
    assert loaded.unchanged(entry)
    os.utime(file, ns=(0, 0))
    assert not loaded.unchanged(entry)
    assert not loaded.unchanged([("/none", 0, 0)])


def test_each_goes_on_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def act(name: str) -> None:
        if name == "bad":
            raise NotFound(f"No such container: {name}")
        print(name)

    assert each.for_each(["a", "bad", "b"], act) == 1
    assert capsys.readouterr() == ("a\nb\n", "Error: No such container: bad\n")
    assert each.for_each(["a"], act) == 0


def test_inspect_refuses_unknown_types() -> None:
    with pytest.raises(InvalidArgument, match='"volume" is not a valid value for --type'):
        inspecting.show(None, ["x"], "volume", None)  # type: ignore[arg-type]
