"""What does it take to have a Debian layer ready for containers, and to load its image?

Seconds and processor time; each result is removed outside the clock.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from knarr import Engine
from knarr.config import Settings
from knarr.errors import Unsupported
from knarr.snapshots import registry
from knarr.snapshots.driver import Driver, LayerSource

from .harness import BUILD, Contestant, Report, alternate, timed

NAME = "localhost/debian:bench"


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


def debian_archive(layer: Path, diff_id: str) -> Path:
    """Return a docker-archive of that layer, gzip-compressed in it as in a registry, made once."""
    target = BUILD / "debian-archive.tar"
    if target.exists():
        return target
    config = {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }  # fmt: skip
    raw = json.dumps(config).encode()
    name = f"{hashlib.sha256(raw).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    members = {
        name: raw,
        "layer.tar": gzip.compress(layer.read_bytes(), 6),
        "manifest.json": json.dumps(manifest).encode(),
    }
    fresh = target.with_suffix(".new")
    with tarfile.open(fresh, "w") as tar:
        for member_name, content in members.items():
            member = tarfile.TarInfo(member_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    fresh.rename(target)
    return target


class Meter:
    """Contestants whose processor seconds, children's included, are kept by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def contestant(
        self, name: str, act: Callable[[], object], undo: Callable[[], object]
    ) -> Contestant:
        """Return a contestant that does a thing and has it undone outside the clock."""

        def run() -> float:
            before = sum(os.times()[:4])
            seconds = timed(act)()
            self.seconds.setdefault(name, []).append(sum(os.times()[:4]) - before)
            undo()
            return seconds

        return run

    def report(self, report: Report, warmup: int) -> None:
        """Add the median processor time of each to a report."""
        for name, values in self.seconds.items():
            kept = sorted(values[warmup:])
            report.figures.append((f"{name}: processor time", kept[len(kept) // 2], "s"))


def command(*words: str | Path) -> Callable[[], None]:
    """Return a call of a program, whose result is on disk when it ends."""

    def act() -> None:
        subprocess.run([*map(str, words)], check=True, stdout=subprocess.DEVNULL)
        os.sync()

    return act


def drivers(place: Path) -> dict[str, Driver]:
    """Return those of our drivers that work here, by name."""
    found = {}
    for name in ("overlay", "erofs"):
        try:
            found[name] = registry.open_driver(name, str(place / name))
        except Unsupported:
            continue
    return found


def unpacking(meter: Meter, layer: Path, diff_id: str, place: Path) -> dict[str, Contestant]:
    """Return contestants that begin with the plain tar."""
    tree = place / "untarred"

    def removed() -> None:
        shutil.rmtree(tree)

    tar = ("tar", "--extract", "--numeric-owner", "--xattrs", "--directory", tree, "--file", layer)

    def untar() -> None:
        tree.mkdir()
        command(*tar)()

    found = {"GNU tar": meter.contestant("GNU tar", untar, removed)}
    plain = LayerSource(diff_id, lambda: layer.open("rb"), layer.stat().st_size)
    stored = LayerSource(diff_id, plain.open, plain.size, blob_path=str(layer), blob_digest=diff_id)
    for name, driver in drivers(place).items():
        cases = {f"knarr, {name}": plain}
        if name == "erofs":
            cases["knarr, erofs, tar is stored"] = stored
        for label, source in cases.items():
            found[label] = meter.contestant(label, *_committing(driver, diff_id, source))
    return found


def _committing(
    driver: Driver, diff_id: str, source: LayerSource
) -> tuple[Callable[[], None], Callable[[], None]]:
    def act() -> None:
        driver.commit_layer(diff_id, None, source)
        os.sync()  # as for tar; the driver's own are in it

    def undo() -> None:
        driver.remove_layer(diff_id)
        driver.cleanup()

    return act, undo


def loading(meter: Meter, archive: Path, place: Path) -> dict[str, Contestant]:
    """Return contestants that load an image whose layer is compressed, ready for a container."""
    found: dict[str, Contestant] = {}
    for name in drivers(place):
        label = f"knarr load and unpack, {name}"
        settings = Settings(
            default_network="none",
            data_root=str(place / f"data-{name}"), run_root=str(place / f"run-{name}"),
            storage_driver=name,
        )  # fmt: skip
        found[label] = meter.contestant(label, *_loading(settings, archive))
    if shutil.which("podman"):
        root, run = place / "podman", place / "podman-run"
        words = ("podman", "--root", root, "--runroot", run, "--log-level", "error")
        found["podman load"] = meter.contestant(
            "podman load", command(*words, "load", "--quiet", "--input", archive),
            command(*words, "rmi", "--force", NAME),
        )  # fmt: skip
    if shutil.which("umoci") and shutil.which("skopeo"):
        layout, tree = place / "layout", place / "umoci"
        command("skopeo", "copy", "--quiet", f"docker-archive:{archive}", f"oci:{layout}:t")()
        found["umoci raw unpack"] = meter.contestant(
            "umoci raw unpack", command("umoci", "raw", "unpack", "--image", f"{layout}:t", tree),
            lambda: shutil.rmtree(tree),
        )  # fmt: skip
    return found


def _loading(settings: Settings, archive: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    def act() -> None:
        with Engine(settings) as engine:
            engine.images.load(str(archive))
            engine.images.unpack(NAME)
        os.sync()

    def undo() -> None:
        with Engine(settings) as engine:
            engine.images.remove(NAME)
            engine.driver.cleanup()

    return act, undo


def run(rounds: int = 4) -> Report:
    """Let everybody lay the same layer out, in turns."""
    layer = debian_layer()
    with layer.open("rb") as file:
        diff_id = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    archive = debian_archive(layer, diff_id)
    place = BUILD / f"layers-{os.getpid()}"
    place.mkdir()
    size = layer.stat().st_size / 2**20
    report = Report("layers", f"A Debian layer of {size:.0f} MiB, ready for containers")
    meter = Meter()
    try:
        contestants = unpacking(meter, layer, diff_id, place) | loading(meter, archive, place)
        report.samples = alternate(contestants, rounds, warmup=1)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    meter.report(report, 1)
    report.notes.append("knarr computes the digest of the layer and checks every path")
    report.notes.append("load begins with a compressed layer in an archive, the others with a tar")
    return report
