"""A small file system of its own for tests that fill the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.kernel import mounts as k
from knarr.snapshots.drivers.overlay import Driver


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(str(tmp_path / "snapshots"))


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Eight megabytes of tmpfs, mounted nowhere: reachable by this process alone."""
    context = k.fsopen("tmpfs")
    try:
        k.fsconfig_string(context, "size", "8m")
        k.fsconfig_create(context)
        fd = k.fsmount(context)
    finally:
        os.close(context)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
