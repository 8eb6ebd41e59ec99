"""The host's init in place of ours: which files will do."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from knarr.engine import initprogram
from knarr.errors import Unsupported
from knarr.runtime import init

STATIC = init.blob("x86_64")
MACHINE = "riscv64"  # one that knarr brings nothing for


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that counts as trusted although it lies below /tmp."""
    monkeypatch.setattr(initprogram, "is_trusted", lambda _: True)
    return tmp_path


def place(folder: Path, name: str, data: bytes, mode: int = 0o755) -> Path:
    path = folder / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_our_own_comes_first(host: Path) -> None:
    place(host, "tini", STATIC + b"host")
    assert initprogram.find("x86_64", (str(host),)) == STATIC


@pytest.mark.parametrize("name", initprogram.NAMES)
def test_a_static_one_of_the_host(host: Path, name: str) -> None:
    place(host, name, STATIC + b"host")
    assert initprogram.find(MACHINE, ("/nonexistent", str(host))) == STATIC + b"host"


def test_a_link_is_followed(host: Path) -> None:
    place(host, "real", STATIC)
    (host / "docker-init").symlink_to("real")
    assert initprogram.find(MACHINE, (str(host),)) == STATIC


@pytest.mark.parametrize("kind", ["dynamic", "script", "not executable", "short", "directory"])
def test_what_will_not_do(host: Path, kind: str) -> None:
    if kind == "dynamic":
        shutil.copy(os.path.realpath(sys.executable), host / "tini")
    elif kind == "script":
        place(host, "tini", b"#!/bin/sh\n" + bytes(100))
    elif kind == "not executable":
        place(host, "tini", STATIC, 0o644)
    elif kind == "short":
        place(host, "tini", STATIC[:70])
    else:
        (host / "tini").mkdir()
    with pytest.raises(Unsupported, match=r"riscv64.*install tini"):
        initprogram.find(MACHINE, (str(host),))


def test_what_others_could_change(tmp_path: Path) -> None:
    path = place(tmp_path, "tini", STATIC)
    assert not initprogram.is_trusted(str(path)), "everybody may write to /tmp"
    assert initprogram.is_trusted(os.path.realpath("/bin/sh"))
    with pytest.raises(Unsupported):
        initprogram.find(MACHINE, (str(tmp_path),))


def test_only_ours_waits() -> None:
    initprogram.require_own("x86_64")
    with pytest.raises(Unsupported, match=r"sandbox.*riscv64"):
        initprogram.require_own(MACHINE)
