"""What is written below the folder of networks is told, once it is whole."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.kernel import inotify
from knarr.networks.resolver.folders import Folders
from knarr.runtime import resolving

Told = list[tuple[str, str, Any]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def folders(tmp_path: Path, told: Told) -> Iterator[Folders]:
    made = Folders(str(tmp_path), lambda *what: told.append(what))
    yield made
    made.close()


def look(folders: Folders) -> None:
    assert select.select([folders.fd], [], [], 20)[0]
    folders.readable()


def put(root: Path, folder: str, name: str, value: Any) -> None:
    resolving.write(f"{root}/networks/{folder}/{name}", value)


def test_what_is_there_is_told_endpoints_first(
    tmp_path: Path, folders: Folders, told: Told
) -> None:
    put(tmp_path, "by-container", "c1", {"a": 1})
    put(tmp_path, "net", "c1", {"b": 2})
    folders.begin()
    assert told == [("net", "c1", {"b": 2}), ("by-container", "c1", {"a": 1})]


def test_what_comes_changes_and_goes_is_told(tmp_path: Path, folders: Folders, told: Told) -> None:
    folders.begin()
    put(tmp_path, "net", "c1", {"b": 1})
    look(folders)
    assert told == [("net", "c1", {"b": 1})]
    put(tmp_path, "net", "c1", {"b": 2})
    look(folders)
    path = tmp_path / "networks" / "net" / "c1"
    path.unlink()
    look(folders)
    path.parent.rmdir()
    look(folders)
    put(tmp_path, "net", "c2", {"b": 3})
    look(folders)
    assert told[1:] == [("net", "c1", {"b": 2}), ("net", "c1", None), ("net", "c2", {"b": 3})]


def test_a_folder_that_is_moved_away_takes_its_files_along(
    tmp_path: Path, folders: Folders, told: Told
) -> None:
    put(tmp_path, "net", "c1", {})
    folders.begin()
    (tmp_path / "networks" / "net").rename(tmp_path / "elsewhere")
    look(folders)
    assert told == [("net", "c1", {}), ("net", "c1", None)]


def test_a_file_that_is_not_whole_yet_is_not_read(
    tmp_path: Path, folders: Folders, told: Told
) -> None:
    folders.begin()
    put(tmp_path, "net", "c1", {})
    (tmp_path / "networks" / "net" / ".c2.new").write_text("{")
    (tmp_path / "networks" / "net" / "c3").write_text("{")
    look(folders)
    assert {name for _, name, _ in told} <= {"c1", "c3"}
    assert ("net", "c1", {}) in told


def test_when_events_were_lost_everything_is_looked_at_again(
    tmp_path: Path, folders: Folders, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "net", "c1", {})
    put(tmp_path, "gone", "c2", {})
    folders.begin()
    told.clear()
    (tmp_path / "networks" / "gone" / "c2").unlink()
    (tmp_path / "networks" / "gone").rmdir()
    put(tmp_path, "new", "c3", {})
    monkeypatch.setattr(inotify, "events", lambda fd: [(-1, inotify.IN_Q_OVERFLOW, "")])
    folders.readable()
    assert sorted(told, key=str) == sorted(
        [("gone", "c2", None), ("net", "c1", {}), ("new", "c3", {})], key=str
    )


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0"])
def test_what_is_no_object_is_left_out_and_said(
    tmp_path: Path, folders: Folders, told: Told, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "net", "c1", json.loads("{}"))
    folders.begin()
    fresh = tmp_path / "networks" / "net" / ".x"
    fresh.write_text(text)
    fresh.rename(tmp_path / "networks" / "net" / "c1")
    look(folders)
    assert told[-1] == ("net", "c1", None)
    assert "net/c1 is left out" in capsys.readouterr().err
