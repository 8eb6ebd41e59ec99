"""The small parts: filters, cidfile, output files, loaded code, several names at once."""

from __future__ import annotations

import os
import shutil
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.cli import binary, cidfile, each, exitcodes, filterargs, inspecting
from knarr.errors import Conflict, InvalidArgument, NotFound, Unavailable
from knarr.warm import loaded


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


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a package that counts as loaded."""
    folder = tmp_path / "knarr"
    (folder / "room").mkdir(parents=True)
    for number, name in enumerate(("__init__.py", "room/__init__.py", "room/one.py")):
        (folder / name).write_text(str(number))
        module = types.ModuleType(f"knarr.test{number}")
        module.__file__ = str(folder / name)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    others = [name for name in sys.modules if name.startswith("knarr") and "test" not in name]
    for name in others:
        monkeypatch.delitem(sys.modules, name)
    return folder


def in_place(folder: Path) -> None:
    (folder / "room" / "one.py").write_text("3")


def by_rename(folder: Path) -> None:
    (folder / "room" / "new").write_text("2")
    (folder / "room" / "new").rename(folder / "room" / "one.py")


def touch(folder: Path) -> None:
    os.utime(folder / "room" / "one.py", ns=(0, 0))


def take_away(folder: Path) -> None:
    (folder / "room" / "one.py").unlink()


def move_folder(folder: Path) -> None:
    (folder / "room").rename(folder / "other")


def move_package(folder: Path) -> None:
    folder.rename(folder.parent / "old")


def switch_package(folder: Path) -> None:
    folder.rename(folder.parent / "old")
    shutil.copytree(folder.parent / "old", folder)


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(
    "change",
    [in_place, by_rename, touch, take_away, move_folder, move_package, switch_package],
)
def test_loaded_code_notices_a_change(
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    watched: bool,
) -> None:
    if not watched:
        monkeypatch.setattr(loaded, "_LOCAL", {})
    code = loaded.LoadedCode(time.time_ns())
    assert code.unchanged()
    assert code.settle()
    change(package)
    assert not code.unchanged()
    assert not code.settle()
    assert not code.unchanged()


def test_what_is_no_change_does_not_count(package: Path) -> None:
    code = loaded.LoadedCode(time.time_ns())
    (package / "room" / "__pycache__").mkdir()
    (package / "room" / "editor.swp").write_text("x")
    assert code.unchanged()
    assert code.settle()
    assert code.unchanged()
    in_place(package)
    assert not code.unchanged()


def test_what_changed_while_it_was_loaded_may_be_another(package: Path) -> None:
    began = time.time_ns() - 10**9
    for file in package.rglob("*.py"):
        os.utime(file, ns=(0, 0))
    for modified, is_same in ((began - 1, True), (began, False), (began + 10**12, True)):
        os.utime(package / "room" / "one.py", ns=(modified, modified))
        code = loaded.LoadedCode(began)
        assert code.unchanged() is is_same
        assert code.settle() is is_same


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
