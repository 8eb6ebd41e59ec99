"""The engine that a waiting worker opened ahead is only used where it still fits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from knarr import Engine
from knarr.cli import readiness
from knarr.config import Settings


def test_it_serves_its_own_settings_and_database(engine: Engine, tmp_path: Path) -> None:
    engine.images.list()
    ready = readiness.Ready(engine)
    assert ready.engine(engine.settings) is engine
    other = Settings(data_root=str(tmp_path), run_root=engine.settings.run_root)
    assert ready.engine(other) is None
    shutil.copy(engine.store.path, engine.store.path + ".copy")
    os.replace(engine.store.path + ".copy", engine.store.path)
    assert ready.engine(engine.settings) is None


def test_getting_ready_leaves_nothing_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = engine.settings
    monkeypatch.setenv("KNARR_ROOT", settings.data_root)
    monkeypatch.setenv("KNARR_RUN_ROOT", settings.run_root)
    monkeypatch.setenv("KNARR_CGROUP_PARENT", settings.cgroup_parent)
    assert readiness.prepare() is None  # nothing has run here yet
    assert engine.machine.features["mount_api"]
    before = sorted(Path(settings.data_root).rglob("*"))
    assert readiness.prepare() is not None
    assert [p for p in sorted(Path(settings.data_root).rglob("*")) if p not in before] == []
    assert engine.containers.list(all=True) == []
