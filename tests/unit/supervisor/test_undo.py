"""Undo lists: written before the act, taken back in reverse, safe to repeat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.supervisor import undo
from knarr.supervisor.undo import Undo


def test_everything_is_taken_back_in_reverse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setitem(undo.OPERATIONS, "file", order.append)
    made = Undo(str(tmp_path))
    for name in "abc":
        made.add("file", name)
    assert undo.pending(str(tmp_path)) == [("file", "a"), ("file", "b"), ("file", "c")]
    assert made.run() == []
    assert order == ["c", "b", "a"]
    assert undo.pending(str(tmp_path)) == []
    made.close()


def test_files_are_removed_and_missing_ones_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    made = Undo(str(tmp_path))
    for name in ("x", "never-made"):
        made.add("file", str(tmp_path / name))
    made.close()
    assert undo.replay(str(tmp_path)) == []
    assert undo.replay(str(tmp_path)) == []
    assert os.listdir(tmp_path) == ["undo"]


def test_one_error_does_not_keep_the_rest(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "folder").mkdir()
    made = Undo(str(tmp_path))
    made.add("file", str(tmp_path / "x"))
    made.add("file", str(tmp_path / "folder"))
    made.add("unheard-of", 1)
    made.close()
    errors = undo.replay(str(tmp_path))
    assert len(errors) == 2
    assert not (tmp_path / "x").exists()
    assert len(undo.pending(str(tmp_path))) == 3, "what could not be taken back stays recorded"


@pytest.mark.parametrize(
    "torn", [b"[", b'["file"', b'["file", "/etc/pas', b'["file", "/x"]', b"\xff"]
)
def test_a_torn_last_line_was_never_acted_on(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "undo").write_bytes(b'["file", "/nowhere/a"]\n' + torn)
    assert undo.pending(str(tmp_path)) == [("file", "/nowhere/a")]
    made = Undo(str(tmp_path))
    made.load()
    made.add("file", "/nowhere/b")
    made.close()
    assert undo.pending(str(tmp_path)) == [("file", "/nowhere/a"), ("file", "/nowhere/b")]
    assert undo.replay(str(tmp_path)) == []


def test_an_act_that_was_not_done_is_forgotten(tmp_path: Path) -> None:
    made = Undo(str(tmp_path))
    made.add("file", "/nowhere/a")
    made.add("file", "/etc/hostname")
    made.forget()
    made.add("file", "/nowhere/c")
    made.close()
    assert undo.pending(str(tmp_path)) == [("file", "/nowhere/a"), ("file", "/nowhere/c")]


def test_nothing_to_undo(tmp_path: Path) -> None:
    assert undo.pending(str(tmp_path)) == []
    assert undo.replay(str(tmp_path)) == []
    assert undo.pending(str(tmp_path / "gone")) == []
    assert undo.replay(str(tmp_path / "gone")) == []


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "undo").symlink_to("/etc/hostname")
    with pytest.raises(OSError):
        Undo(str(tmp_path))
