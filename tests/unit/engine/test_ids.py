"""Container ids and the ranges of user ids."""

from __future__ import annotations

from pathlib import Path

from knarr.engine import ids


def test_container_ids_are_hex_and_never_all_digits_at_the_start() -> None:
    for _ in range(200):
        value = ids.new_container_id()
        assert len(value) == 64
        assert set(value) <= set("0123456789abcdef")
        assert not value[:12].isdigit()


def test_ranges_of_one_root_do_not_overlap_and_stay_inside() -> None:
    plan = ids.RangePlan("/somewhere", ())
    first = {plan.first_id(slot) for slot in range(ids.SLOTS)}
    assert len(first) == ids.SLOTS
    assert min(first) == ids.FIRST_ID
    assert max(first) + ids.RANGE_SIZE - 1 == ids.LAST_ID
    assert all(value % ids.RANGE_SIZE == 0 for value in first)


def test_two_roots_begin_at_different_places() -> None:
    offsets = {ids.RangePlan(f"/root{number}", ()).offset for number in range(20)}
    assert len(offsets) > 15


def test_ranges_of_others_are_kept_clear_of(tmp_path: Path) -> None:
    subuid = tmp_path / "subuid"
    start = ids.FIRST_ID + 3 * ids.RANGE_SIZE + 10
    subuid.write_text(f"alice:{start}:{ids.RANGE_SIZE}\nbroken line\nbob:100000:65536\n:x:y\n")
    plan = ids.RangePlan("/somewhere", (str(subuid), str(tmp_path / "absent")))
    refused = {plan.first_id(slot) for slot in range(ids.SLOTS) if not plan.allowed(slot)}
    assert refused == {
        ids.FIRST_ID + 3 * ids.RANGE_SIZE,
        ids.FIRST_ID + 4 * ids.RANGE_SIZE,
    }
