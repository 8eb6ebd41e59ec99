from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from knarr.errors import NotFound, Unsupported
from knarr.snapshots import registry
from knarr.snapshots.driver import Driver
from knarr.snapshots.drivers import overlay


def test_drivers_are_found_by_module_name(tmp_path: Path) -> None:
    assert "overlay" in registry.names()
    for name in ("nothing", "../overlay", "overlay.x", ""):
        with pytest.raises(NotFound, match="not installed"):
            registry.open_driver(name, str(tmp_path))


def test_drivers_are_found_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("mine", f"{__name__}:Mine", registry.GROUP)

    def entry_points(**wanted: str) -> list[metadata.EntryPoint]:
        found = wanted.get("name", "mine") == "mine" and wanted["group"] == registry.GROUP
        return [entry] if found else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: Mine)
    assert registry.names() == ["erofs", "mine", "overlay"]
    driver = registry.open_driver("mine", str(tmp_path))
    assert isinstance(driver, Mine)


def test_auto_says_why_nothing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: overlay.Driver) -> None:
        raise Unsupported("no overlayfs")

    monkeypatch.setattr(overlay.Driver, "probe", refuse)
    with pytest.raises(Unsupported, match="overlay: no overlayfs"):
        registry.open_driver("auto", str(tmp_path))


def test_overlay_has_the_protocol(tmp_path: Path) -> None:
    assert isinstance(overlay.Driver(str(tmp_path / "s")), Driver)


class Mine(overlay.Driver):
    """Somebody else's driver."""

    name = "mine"

    def probe(self) -> None:
        """Work everywhere."""
