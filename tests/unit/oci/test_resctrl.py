"""Shares of caches: what is written where, in a directory that has the form of resctrl's.

No machine that tests run on has the hardware; what the kernel does by itself (the files of a new
group) is made by hand here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr.errors import InvalidArgument
from knarr.oci import resctrl
from knarr.runtime.fields import SpecError

LINE = "L3:0=7f0;1=1f"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for directory in (tmp_path, tmp_path / "gold"):
        directory.mkdir(exist_ok=True)
        (directory / "mon_groups").mkdir()
        (directory / "tasks").touch()
        (directory / "schemata").write_text("    L3:0=7f0;1=01f\n    MB:0= 20;1=100\n")
    return tmp_path


def groups(place: Path, **given: Any) -> resctrl.Groups:
    resctrl.check(given)
    return resctrl.Groups(str(place), given, "box")


def test_a_group_with_the_containers_name(place: Path) -> None:
    given = {"l3CacheSchema": LINE, "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"]}
    made = groups(place, **given)
    assert made.made == made.kept(given) == [f"{place}/box"]
    assert made.tasks == [f"{place}/box/tasks"]
    assert resctrl.lines_of(given) == [LINE, "MB:0=20", "L2:0=f"]
    # A directory that is none of the kernel's has no such file: what was made is known.
    with pytest.raises(InvalidArgument, match=r"linux\.intelRdt: No such file .*box/schemata"):
        made.make()
    assert (place / "box").is_dir()
    resctrl.remove(made.made)
    assert not (place / "box").exists()


def test_what_the_machine_can_share_out(place: Path) -> None:
    (place / "info" / "L3").mkdir(parents=True)
    assert resctrl.is_shared(str(place), "L3")
    assert not resctrl.is_shared(str(place), "MB")


def test_shares_are_written_in_order(place: Path) -> None:
    resctrl.write(str(place / "gold"), [LINE, "MB:0=20"])
    assert (place / "gold" / "schemata").read_text() == f"{LINE}\nMB:0=20\n"


@pytest.mark.parametrize("given", [
    {"l3CacheSchema": "L3:0=07f0"}, {"memBwSchema": "MB:1=100"}, {"schemata": [LINE, "MB:0=20"]},
    {},
])  # fmt: skip
def test_a_class_of_service_that_is_there(place: Path, given: dict[str, Any]) -> None:
    before = (place / "gold" / "schemata").read_text()
    given = {"closID": "gold", **given}
    made = groups(place, **given)
    made.make()
    resctrl.enter(made.tasks, 77)
    assert (place / "gold" / "tasks").read_text() == "77"
    assert (place / "gold" / "schemata").read_text() == before
    assert made.made == made.kept(given) == []


def test_a_class_of_service_with_other_shares(place: Path) -> None:
    for given in ({"l3CacheSchema": "L3:0=ff"}, {"schemata": ["MB:2=20"]}, {"schemata": ["X:0=1"]}):
        with pytest.raises(InvalidArgument, match="is another in"):
            groups(place, closID="gold", **given)


def test_a_class_of_service_that_is_not_there(place: Path) -> None:
    with pytest.raises(InvalidArgument, match="there is no class of service lead"):
        groups(place, closID="lead")
    given = {"closID": "lead", "schemata": [LINE]}
    made = groups(place, **given)
    assert made.made == [f"{place}/lead"]
    assert made.kept(given) == []


def test_the_class_that_everything_is_in(place: Path) -> None:
    made = groups(place, closID="/")
    assert (made.made, made.tasks) == ([], [f"{place}/tasks"])


def test_a_group_for_monitoring(place: Path) -> None:
    given = {"closID": "gold", "enableMonitoring": True}
    made = groups(place, **given)
    directory = place / "gold" / "mon_groups" / "box"
    assert made.made == made.kept(given) == [str(directory)]
    made.make()
    assert directory.is_dir()
    assert made.tasks == [f"{place}/gold/tasks", f"{directory}/tasks"]
    with pytest.raises(InvalidArgument, match="File exists"):
        groups(place, **given).make()
    resctrl.remove(made.made)
    resctrl.remove(made.made)
    assert not directory.exists()


@pytest.mark.parametrize(("given", "said"), [
    ({"closID": ".."}, "closID"), ({"closID": "a/b"}, "closID"), ({"closID": "."}, "closID"),
    ({"schemata": ["L3:0=f\nMB:0=1"]}, "is no line"), ({"schemata": ["L3"]}, "is no line"),
    ({"l3CacheSchema": "x"}, "is no line"), ({"memBwSchema": "L3:0=f"}, "memBwSchema"),
])  # fmt: skip
def test_what_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=rf"linux\.intelRdt.*{said}"):
        resctrl.check(given)


def test_schemas_that_are_none(place: Path) -> None:
    with pytest.raises(InvalidArgument, match="is no schema"):
        groups(place, closID="gold", schemata=["L3:0=zz"])


def test_what_is_told_has_the_names_of_runc(tmp_path: Path) -> None:
    group = tmp_path / "c"
    cache = group / "mon_data" / "mon_L3_00"
    cache.mkdir(parents=True)
    (tmp_path / "schemata").write_text("    MB:0=100\n    L3:0=ff\n")
    (group / "schemata").write_text("    MB:0=20\n    L3:0=f\n")
    assert resctrl.told(str(tmp_path), str(group), str(tmp_path)) == {
        "schemata": ["MB:0=20", "L3:0=f"],
        "l3_cache_schema": "L3:0=f", "l3_cache_schema_root": "L3:0=ff",
        "mem_bw_schema": "MB:0=20", "mem_bw_schema_root": "MB:0=100",
    }  # fmt: skip
    (cache / "llc_occupancy").write_text("4096\n")
    (cache / "mbm_total_bytes").write_text("70\n")
    (cache / "mbm_local_bytes").write_text("Unavailable\n")
    found = resctrl.told(str(tmp_path), str(group), str(group))
    assert found["mbm_stats"] == [{"mbm_total_bytes": 70}]
    assert found["cmt_stats"] == [{"llc_occupancy": 4096}]
