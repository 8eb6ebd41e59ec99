"""Whether the files that loaded code came from are still the same."""

from __future__ import annotations

import os
import shutil
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.warm import loaded


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


def test_a_worker_that_waited_meanwhile_notices_too(package: Path) -> None:
    """What the server takes off the kernel's list of changes is gone for it as well."""
    code = loaded.LoadedCode(time.time_ns())
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(say)
        os.read(hear, 1)
        os._exit(code.unchanged())
    os.close(hear)
    in_place(package)
    assert not code.settle()
    os.close(say)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
