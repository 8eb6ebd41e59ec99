"""The small parts: filters, cidfile, output files, several names at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.cli import binary, cidfile, each, exitcodes, filterargs, inspecting
from knarr.errors import Conflict, InvalidArgument, NotFound, Unavailable


def test_filters_collect_by_name() -> None:
    parse = filterargs.FILTERS.parse
    given = [parse("label=a=b"), parse("Label = c"), parse("status=exited")]
    assert filterargs.by_name(given) == {"label": ["a=b", "c"], "status": ["exited"]}
    with pytest.raises(ValueError, match="name=value"):
        parse("label")


def test_a_bad_flag_is_not_for_the_engine_to_refuse() -> None:
    error = exitcodes.BadFlag("--pid: invalid PID mode")
    codes = {verb: exitcodes.for_error(error, verb) for verb in ("run", "create", "exec", "update")}
    assert codes == {"run": 125, "create": 125, "exec": 1, "update": 1}


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


def test_an_output_that_takes_no_more_is_named() -> None:
    with (
        pytest.raises(Unavailable, match=r"^save: /dev/full: No space left on device$"),
        binary.output("/dev/full", "save") as stream,
    ):
        stream.write(b"x")


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
