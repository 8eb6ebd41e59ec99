"""Whiteout names, id maps, the hashing stream and the driver registry."""

from __future__ import annotations

import io
from importlib import metadata
from pathlib import Path

import pytest

from knarr.content import digest
from knarr.errors import InvalidArchive, InvalidArgument, NotFound, Unsupported
from knarr.snapshots import registry, whiteouts
from knarr.snapshots.driver import Driver
from knarr.snapshots.drivers import overlay
from knarr.snapshots.hashing import HashingReader
from knarr.snapshots.idmap import IdMap, IdRange, acting_as_root_of


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        (b"a", None),
        (b"a/.whx", None),
        (b".wh.a", ("hide", b"a")),
        (b"d/.wh.a", ("hide", b"a")),
        (b"d/.wh..wh..opq", ("opaque", b"")),
        (b".wh..wh.plnk", ("ignore", b"")),
        (b".wh..wh.plnk/1.2", ("ignore", b"")),
        (b"d/.wh..wh.aufs", ("ignore", b"")),
        (b".wh..hidden", ("hide", b".hidden")),
        (b".wh.\xff", ("hide", b"\xff")),
    ],
)
def test_whiteout_names(name: bytes, meaning: tuple[str, bytes] | None) -> None:
    assert whiteouts.meaning(name.split(b"/")) == meaning


@pytest.mark.parametrize("name", [b".wh.", b"a/.wh..", b".wh...", b".wh.a/b"])
def test_whiteouts_that_cannot_be(name: bytes) -> None:
    with pytest.raises(InvalidArchive):
        whiteouts.meaning(name.split(b"/"))


def test_id_maps() -> None:
    idmap = IdMap((IdRange(0, 1000, 10), IdRange(10, 5000, 5)), (IdRange(0, 2000, 10),))
    assert idmap.to_host(0, 9) == (1000, 2009)
    assert idmap.to_host(14, 0) == (5004, 2000)
    assert idmap.to_container(5004, 2000) == (14, 0)
    assert idmap.to_container(0, 1000) == (65534, 65534)
    for ids in ((15, 0), (0, 10)):
        with pytest.raises(InvalidArgument):
            idmap.to_host(*ids)


def test_acting_as_oneself_changes_nothing() -> None:
    with (
        acting_as_root_of(None),
        acting_as_root_of(IdMap((IdRange(0, 0, 1),) * 1, (IdRange(0, 0, 1),))),
    ):
        pass  # needs no privilege


def test_hashing_reader() -> None:
    seen: list[int] = []
    reader = HashingReader(io.BytesIO(b"x" * 10), "sha512", seen.append)
    while reader.read(4):
        continue
    assert reader.digest == digest.of(b"x" * 10, "sha512")
    assert (reader.count, seen) == (10, [4, 8, 10])


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
    assert registry.names() == ["mine", "overlay"]
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
