"""A small file system of its own for tests that fill the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.errors import Unsupported
from knarr.kernel import mounts as k
from knarr.snapshots import registry
from knarr.snapshots.driver import Driver
from tests.support.tars import nothing_mounted_after


@pytest.fixture(params=["overlay", "erofs"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    """Either driver of ours."""
    try:
        made = registry.open_driver(request.param, str(tmp_path / "snapshots"))
    except Unsupported as error:
        pytest.skip(str(error))
    with nothing_mounted_after(made, tmp_path):
        yield made


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
