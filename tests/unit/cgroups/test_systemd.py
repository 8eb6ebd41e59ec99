from typing import Any

import pytest

from knarr.cgroups import systemd
from knarr.cgroups.v2 import group


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("system.slice:knarr:abc", ("system.slice", "knarr-abc.scope")),
        (":knarr:abc", ("system.slice", "knarr-abc.scope")),
        ("user-1000.slice::abc", ("user-1000.slice", "abc.scope")),
        ("/knarr/abc", ("system.slice", "knarr-abc.scope")),
    ],
)
def test_parse(path: str, expected: tuple[str, str]) -> None:
    assert systemd.parse(path) == expected


@pytest.mark.parametrize(
    "path", ["abc", "a:b", "system.slice:a:", "x:a:b", "a/b.slice:a:b", "::a b", "::a.slice", "/"]
)
def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match="cgroup path"):
        systemd.parse(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-.slice", ""),
    ],
)
def test_expand(name: str, expected: str) -> None:
    assert systemd.expand(name) == expected


@pytest.mark.parametrize("name", ["a--b.slice", "-a.slice", ".slice"])
def test_bad_slices(name: str) -> None:
    with pytest.raises(ValueError, match="slice"):
        systemd.expand(name)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 100, "swap": 300}}, {"MemoryMax": 100, "MemorySwapMax": 200}),
        ({"memory": {"limit": -1}}, {"MemoryMax": 2**64 - 1, "MemorySwapMax": 2**64 - 1}),
        ({"memory": {"reservation": 50}}, {"MemoryLow": 50}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": -1}}, {"TasksMax": 2**64 - 1}),
        ({"pids": {"limit": 0}}, {}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        (
            {"cpu": {"quota": 50000, "period": 100000}},
            {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 500000},
        ),
        # Rounded up to what systemd can hold, never below what was asked.
        (
            {"cpu": {"quota": 33333, "period": 100000}},
            {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 340000},
        ),
        (
            {"cpu": {"quota": -1}},
            {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 2**64 - 1},
        ),
        ({"cpu": {"cpus": "0-1,3"}}, {"AllowedCPUs": b"\x0b"}),
        ({"blockIO": {"weight": 1000}}, {"IOWeight": 10000}),
        ({"unified": {"memory.high": "4096"}}, {"MemoryHigh": 4096}),
        # What is written last counts.
        ({"memory": {"limit": 5}, "unified": {"memory.max": "max"}}, {"MemoryMax": 2**64 - 1}),
    ],
)
def test_properties(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    found = systemd.properties(group.plan(resources))
    assert {name: value for name, (_, value) in found} == expected
