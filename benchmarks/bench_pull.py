"""What does the pull of a Debian image from a registry here cost, beside podman and dockerd?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from knarr.content.store import ContentStore
from knarr.images.service import Images
from knarr.snapshots.drivers.overlay import Driver
from tests.support import dockerregistry
from tests.unit.images.helpers import MemoryIndex

from . import dockerd
from .bench_layers import debian_layer
from .harness import BUILD, Report, Samples, run_folder

NAME = "debian:minbase"


def archive() -> Path:
    """Return a docker-archive with the smallest Debian system as one layer, made once."""
    target = BUILD / "debian-image.tar"
    if not target.exists():
        fresh = target.with_suffix(".new")
        folder = BUILD / f"import-{os.getpid()}"
        try:
            store, driver = ContentStore(f"{folder}/content"), Driver(f"{folder}/snapshots")
            images = Images(store, driver, MemoryIndex())
            images.import_(str(debian_layer()), NAME)
            images.save([NAME], str(fresh))
            fresh.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def measured(words: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return (seconds, seconds of processors of it and all its children)."""
    started = time.perf_counter()
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    pid = os.posix_spawnp(words[0], words, environment, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)}: status {status}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


def knarr(driver: str, name: str) -> tuple[float, float]:
    """Pull into a new data root, in a process of its own that pays for everything."""
    folder, run = BUILD / f"pull-{os.getpid()}", run_folder() / f"knarr-bench-pull-{os.getpid()}"
    environment = {**os.environ, "KNARR_ROOT": str(folder), "KNARR_RUN_ROOT": str(run),
                   "KNARR_SERVER": "off", "KNARR_STORAGE_DRIVER": driver}  # fmt: skip
    try:
        return measured([sys.executable, "-m", "knarr", "pull", "-q", name], environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)


def podman(name: str) -> tuple[float, float]:
    """Pull into new storage of the kind that podman uses on this machine."""
    folder = BUILD / f"podman-pull-{os.getpid()}"
    run = run_folder() / f"knarr-bench-podman-{os.getpid()}"
    base = ["podman", "--root", str(folder), "--runroot", str(run), "--storage-driver", "overlay"]
    try:
        return measured([*base, "pull", "-q", "--tls-verify=false", name], dict(os.environ))
    finally:
        subprocess.run([*base, "rmi", "-af"], capture_output=True, check=False)
        subprocess.run(["umount", str(folder / "overlay")], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)


def run(rounds: int = 5) -> Report:
    """Let both pull in turns; what was pulled is removed outside the clock."""
    if shutil.which("podman") is None:
        raise FileNotFoundError("podman is not installed")
    image = archive()
    place = BUILD / f"registry-{os.getpid()}"
    place.mkdir(parents=True)
    contestants: dict[str, Callable[[str], tuple[float, float]]] = {
        "knarr pull": partial(knarr, "erofs"),
        "knarr pull, unpacked": partial(knarr, "overlay"),
        "podman pull": podman,
    }
    taken: dict[str, list[tuple[float, float]]] = {}
    left_out = ""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        host = stack.enter_context(dockerregistry.running(place))
        try:
            daemon = stack.enter_context(dockerd.running())
            contestants["docker pull"] = partial(dockerd.pull, daemon)
        except dockerd.CannotRun as error:
            left_out = str(error)
        dockerregistry.skopeo("copy", f"docker-archive:{image}", f"docker://{host}/{NAME}")
        for number in range(-1, rounds):
            for name, act in contestants.items():
                os.sync()
                sample = act(f"{host}/{NAME}")
                if number >= 0:
                    taken.setdefault(name, []).append(sample)
    size = image.stat().st_size / 2**20
    report = Report("pull", f"Pull of a Debian image of {size:.0f} MiB from docker-registry")
    for name, samples in taken.items():
        report.samples[name] = Samples(tuple(wall for wall, _ in samples))
        report.samples[f"{name}, processors"] = Samples(tuple(spent for _, spent in samples))
    spent = report.ratio("knarr pull, processors", "podman pull, processors")
    report.goal("processor time beside podman", spent, 0.25)
    report.goal("time beside podman", report.ratio("knarr pull", "podman pull"), 0.5)
    report.notes.append("unpacked: with the driver overlay, for machines without EROFS of files")
    report.notes.append("each into a storage that has nothing yet; the registry is not counted")
    if left_out:
        report.notes.append(f"docker was left out: {left_out}")
    else:
        report.notes.append("docker: client, daemon and its children; the daemon runs already")
    return report
