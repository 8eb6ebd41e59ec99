"""Tables, templates, JSON lines and bare ids."""

from __future__ import annotations

import pytest

from knarr.cli import listing
from knarr.errors import InvalidArgument

LAYOUT = listing.Layout({"ID": "CONTAINER ID", "Names": "NAMES"}, ("ID", "Names"))
ROWS = [
    {"ID": "0123456789ab", "Names": "web", "Label": {"tier": "x"}.get},
    {"ID": "ba9876543210", "Names": "a-longer-name", "Label": {}.get},
]


def test_table_has_docker_widths() -> None:
    assert listing.show(ROWS, LAYOUT, None) == (
        "CONTAINER ID   NAMES\n0123456789ab   web\nba9876543210   a-longer-name\n"
    )


def test_columns_are_at_least_ten_wide() -> None:
    assert listing.align([["A", "B"], ["1", "2"]]) == "A         B\n1         2\n"


def test_empty_table_is_its_heading() -> None:
    assert listing.show([], LAYOUT, "table") == "CONTAINER ID   NAMES\n"


def test_quiet_prints_ids() -> None:
    assert listing.show(ROWS, LAYOUT, None, quiet=True) == "0123456789ab\nba9876543210\n"


def test_json_is_one_object_a_line_without_methods() -> None:
    assert listing.show(ROWS[:1], LAYOUT, "json") == '{"ID":"0123456789ab","Names":"web"}\n'


def test_json_as_a_template_is_the_same() -> None:
    for written in ("{{json .}}", "{{ json . }}", "{{json  .}}"):
        assert listing.show(ROWS[:1], LAYOUT, written) == listing.show(ROWS[:1], LAYOUT, "json")
        assert listing.show_one({"b": 1, "a": [2]}, written) == '{"b":1,"a":[2]}\n'
    assert listing.show(ROWS[:1], LAYOUT, "{{.ID}} {{json .}}") == (
        '0123456789ab {"ID":"0123456789ab","Names":"web"}\n'
    )
    assert not listing.is_json("{{json .ID}}")


def test_template_and_its_escapes() -> None:
    assert listing.show(ROWS[:1], LAYOUT, r"{{.ID}}\t{{.Names}}") == "0123456789ab\tweb\n"


def test_table_template_takes_headings() -> None:
    assert listing.show(ROWS, LAYOUT, r'table {{.Names}}\t{{.Label "a.tier"}}') == (
        "NAMES           tier\nweb             <no value>\na-longer-name   <no value>\n"
    )


def test_a_bad_template_is_named() -> None:
    with pytest.raises(InvalidArgument, match="--format: template parsing error"):
        listing.show(ROWS, LAYOUT, "{{.ID")
    with pytest.raises(InvalidArgument, match="no entry for key"):
        listing.show(ROWS, LAYOUT, "{{.Nope}}")


def test_facts_are_lines_and_what_is_unknown_is_left_out() -> None:
    lines = (("Images", "Images"), ("None", "None"), ("Running", " Running"))
    found = {"Images": 3, "Running": 1}
    assert listing.facts(found, lines) == "Images: 3\n Running: 1\n"
    assert listing.facts(found, lines, width=10) == "Images:    3\n Running:  1\n"
