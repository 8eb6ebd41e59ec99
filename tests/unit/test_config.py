"""Settings: what they are read from, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.config import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    plain, read = Settings(), Settings.from_environment({"KNARR_USERNS": ""})
    assert [getattr(plain, name) for name in Settings.__slots__] == [
        getattr(read, name) for name in Settings.__slots__
    ]


def test_roots_are_whole_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({"KNARR_ROOT": "data"}).data_root == f"{tmp_path}/data"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("KNARR_USERNS", "hots", "userns: 'hots' is none of auto, host"),
        ("KNARR_CGROUP_MANAGER", "v2", "cgroup_manager: 'v2' is none of"),
        ("KNARR_LAUNCHER_IDLE", "soon", "KNARR_LAUNCHER_IDLE: 'soon' is not a number of seconds"),
        ("KNARR_LAUNCHER_IDLE", "-1", "launcher_idle: -1.0 is not between 0 and 2000000"),
        ("KNARR_SERVER_IDLE", "nan", "server_idle: nan is not between"),
        ("KNARR_KEEP_COMPRESSED", "yes", "KNARR_KEEP_COMPRESSED: 'yes' is neither true nor false"),
        ("KNARR_SERVER_IDLE", "inf", "server_idle: inf is not between"),
    ],
)
def test_what_cannot_be_is_named(name: str, value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("False", False)])
def test_switches(text: str, value: bool) -> None:
    assert Settings.from_environment({"KNARR_KEEP_COMPRESSED": text}).keep_compressed is value


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError, match="frozen: userns"):
        Settings().userns = "host"
