"""How long does it take to lay a Debian layer out on disk, beside GNU tar?"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers.overlay import Driver

from .harness import BUILD, Report, alternate, timed


def debian_layer() -> Path:
    """Return an uncompressed tar of Debian's smallest system, made once (about a minute)."""
    target = BUILD / "debian.tar"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(".new.tar")
        words = ("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(fresh))
        subprocess.run(words, check=True)
        fresh.rename(target)
    return target


def run(rounds: int = 4) -> Report:
    """Extract the same uncompressed layer in turns; each result is removed outside the clock."""
    layer = debian_layer()
    with layer.open("rb") as file:
        diff_id = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    tree = BUILD / "untarred"
    driver = Driver(str(BUILD / "snapshots"))
    source = LayerSource(diff_id, lambda: layer.open("rb"), layer.stat().st_size)
    tar = ["tar", "--extract", "--numeric-owner", "--xattrs", "--directory", str(tree), "--file"]

    def with_tar() -> None:
        subprocess.run([*tar, str(layer)], check=True)
        os.sync()  # the driver's layer is on disk when it returns

    def with_knarr() -> None:
        driver.commit_layer(diff_id, None, source)
        os.sync()

    def fresh_tar() -> float:
        tree.mkdir()
        seconds = timed(with_tar)()
        shutil.rmtree(tree)
        return seconds

    def fresh_knarr() -> float:
        seconds = timed(with_knarr)()
        driver.remove_layer(diff_id)
        driver.cleanup()
        return seconds

    shutil.rmtree(tree, ignore_errors=True)
    report = Report("layers", f"A Debian layer of {layer.stat().st_size / 2**20:.0f} MiB on disk")
    try:
        report.samples = alternate({"GNU tar": fresh_tar, "knarr": fresh_knarr}, rounds, warmup=1)
    finally:
        shutil.rmtree(BUILD / "snapshots", ignore_errors=True)
    report.notes.append("knarr also computes the digest of the layer and checks every path")
    return report
