"""Rows of containers: names, ranges, look-up."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from knarr import errors
from knarr.engine import ids, records
from knarr.engine.ids import RangePlan
from knarr.engine.imageindex import StoredImageIndex
from knarr.engine.model import ContainerConfig
from knarr.engine.records import ContainerTable
from knarr.engine.store import Store

IMAGE = "sha256:" + "a" * 64


@pytest.fixture
def table(tmp_path: Path) -> ContainerTable:
    store = Store(str(tmp_path))
    StoredImageIndex(store)
    with store.write() as db:
        db.execute("INSERT INTO images VALUES (?, '{}')", (IMAGE,))
    return ContainerTable(store, RangePlan(str(tmp_path), ()))


def _insert(table: ContainerTable, name: str | None = None) -> records.ContainerRecord:
    return table.insert(ContainerConfig("x", name=name), IMAGE, with_range=True)


def test_a_row_comes_back_as_inserted(table: ContainerTable) -> None:
    row = _insert(table, "web")
    assert table.get(row.id) == row
    assert (row.name, row.state, row.owner_pid) == ("web", records.CREATING, os.getpid())
    assert row.config == ContainerConfig("x", name="web")


def test_a_name_in_use_is_a_conflict_that_names_the_holder(table: ContainerTable) -> None:
    row = _insert(table, "web")
    with pytest.raises(errors.Conflict, match=f'"/web" is already in use by container "{row.id}"'):
        _insert(table, "/web")


def test_ranges_are_handed_out_in_turn_and_not_again_at_once(table: ContainerTable) -> None:
    first, second = _insert(table), _insert(table)
    table.delete(first.id, durable=False)
    third = _insert(table)
    assert [row.id_slot for row in (first, second, third)] == [0, 1, 2]


def test_ranges_are_exhausted_one_day(
    table: ContainerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SLOTS", 2)
    _insert(table)
    second = _insert(table)
    with pytest.raises(errors.ResourceExhausted, match="--userns=host"):
        _insert(table)
    table.delete(second.id, durable=False)
    assert _insert(table).id_slot == second.id_slot


def test_without_a_range_no_slot_is_held(table: ContainerTable) -> None:
    rows = [table.insert(ContainerConfig("x"), IMAGE, with_range=False) for _ in range(2)]
    assert [row.id_slot for row in rows] == [None, None]


def test_an_image_removed_meanwhile(table: ContainerTable) -> None:
    with pytest.raises(errors.NotFound, match="No such image"):
        table.insert(ContainerConfig("x"), "sha256:gone", with_range=True)


def test_lookup_by_id_name_and_start(table: ContainerTable) -> None:
    row = _insert(table, "web")
    for text in (row.id, "web", "/web", row.id[:12], row.id[:40]):
        assert table.find(text) == row
    for text in ("", "we", "zz", "%"):
        with pytest.raises(errors.NotFound, match="No such container"):
            table.find(text)


def test_a_name_wins_over_the_start_of_an_id(table: ContainerTable) -> None:
    row = _insert(table)
    named = _insert(table, row.id[:6])
    assert table.find(row.id[:6]) == named


def test_an_ambiguous_start(table: ContainerTable, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(["ab" + "0" * 62, "ab" + "1" * 62])
    monkeypatch.setattr(records, "new_container_id", lambda: next(made))
    for _ in range(2):
        _insert(table)
    with pytest.raises(errors.InvalidArgument, match="multiple IDs found with provided prefix: ab"):
        table.find("ab")


def test_newest_first(table: ContainerTable) -> None:
    rows = [_insert(table) for _ in range(3)]
    assert [row.id for row in table.all()] == [row.id for row in reversed(rows)]


def test_states(table: ContainerTable) -> None:
    row = _insert(table)
    table.confirm(row.id)
    table.mark_started(row.id, 5, "boot")
    found = table.get(row.id)
    assert found is not None
    assert (found.state, found.started) == (records.CREATED, 5)
    assert table.mark_removing(row.id)
    assert not table.mark_removing("absent")


def test_a_random_name_is_tried_again(
    table: ContainerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(["same_name", "same_name", "other_name"])
    monkeypatch.setattr("knarr.engine.names.generate", lambda attempt: next(made))
    assert [_insert(table).name for _ in range(2)] == ["same_name", "other_name"]


def test_slots_of_others_are_skipped(tmp_path: Path) -> None:
    plan = RangePlan(str(tmp_path), ())
    subuid = tmp_path / "subuid"
    subuid.write_text(f"u:{plan.first_id(0)}:{ids.RANGE_SIZE}\n")
    store = Store(str(tmp_path))
    with store.write() as db:
        db.execute("INSERT INTO images VALUES (?, '{}')", (IMAGE,))
    table = ContainerTable(store, RangePlan(str(tmp_path), (str(subuid),)))
    assert _insert(table).id_slot == 1


def test_a_rehearsal_leaves_nothing(table: ContainerTable) -> None:
    row = _insert(table)
    table.rehearse(replace(row, id="0" * 64, name="example"))
    assert table.all() == [row]
    assert row.id_slot is not None
    assert _insert(table).id_slot == row.id_slot + 1


def test_a_tag_that_moved(table: ContainerTable, tmp_path: Path) -> None:
    index = StoredImageIndex(Store(str(tmp_path)))
    with pytest.raises(records.ImageMoved, match="app:1"):
        table.insert(ContainerConfig("app"), IMAGE, with_range=True, tag="app:1")
    assert table.all() == []
    index.tag("app:1", IMAGE)
    row = table.insert(ContainerConfig("app"), IMAGE, with_range=True, tag="app:1")
    assert table.get(row.id) == row
