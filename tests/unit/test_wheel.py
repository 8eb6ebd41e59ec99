"""What a wheel brings beside the package: pages and scripts that are made when it is built."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from knarr.cli import manual, shells

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="needs hatchling")
def test_pages_and_completions_are_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = {
            name.partition(".data/data/")[2]: archive.read(name).decode(errors="replace")
            for name in archive.namelist()
        }
    for name, text in manual.pages().items():
        assert data[f"share/man/man1/{name}"] == text
    for shell, place in shells.PLACES.items():
        assert data[place] == shells.SCRIPTS[shell]
    for unit in ("knarr-recover", "knarr-oci-server"):
        assert f"share/knarr/{unit}.service" in data
