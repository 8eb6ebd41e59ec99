"""The plug is pulled right after a layer was committed: it is whole on what the disk has."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers.overlay import Driver
from knarr.snapshots.tarentry import FILE, Entry
from tests.support import leftovers, tars
from tests.support.tars import WHEN, commit, directory, file, mounted, tar

pytestmark = pytest.mark.skipif(
    shutil.which("mkfs.ext4") is None or not os.path.exists("/dev/loop-control"),
    reason="needs mkfs.ext4 and loop devices",
)


@contextmanager
def disk(image: Path, place: Path) -> Iterator[None]:
    """Mount a file as a disk; what it holds is what was written to that, cached or not."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_was_committed_is_on_the_disk(driver: Driver, tmp_path: Path) -> None:
    kind, before, after = type(driver), tmp_path / "before", tmp_path / "after"
    stored = tar(directory("./"), *(file(f"a{i}", os.urandom(20_000)) for i in range(50)))
    sparse = Entry(b"s", FILE, size=200_000, sparse=[(100_000, 5)], mtime_ns=WHEN)
    fresh = tar((sparse, b"hello"), *(file(f"b{i}", os.urandom(20_000)) for i in range(50)))
    name, place = digests.of(stored), tmp_path / "disk"
    with before.open("wb") as opened:
        opened.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", before], check=True)
    with disk(before, place):
        store = ContentStore(str(place / "content"))
        store.add(stored)
        filled = kind(str(place / "snapshots"), str(tmp_path / "run"))
        source = LayerSource(
            name, lambda: io.BytesIO(stored), blob_path=store.path(name), blob_digest=name
        )
        filled.commit_layer(name, None, source)
        top = commit(filled, stored, fresh)
        # A copy of the device is what a power loss leaves: nothing of what is only cached.
        shutil.copyfile(before, after)
        with mounted(filled.view(top)) as root:
            expected = tars.tree(root)
        filled.cleanup()
        assert leftovers.mounts(str(tmp_path / "run")) == []
    with disk(after, place):
        found = kind(str(place / "snapshots"), str(tmp_path / "run"))
        found.cleanup()
        assert found.list_layers() == sorted([name, top])
        with mounted(found.view(top)) as root:
            assert tars.tree(root) == expected
        found.cleanup()
