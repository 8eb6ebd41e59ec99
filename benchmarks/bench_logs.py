"""How fast may a container write while its output is kept, and how fast is it read again?"""

from __future__ import annotations

import functools
import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from knarr.engine.model import BindMount, ContainerConfig

from .harness import BUILD, Contestant, Report, Samples, alternate, busybox_tree, command
from .peers import IMAGE, Peers, ulimits
from .world import World, world

MEBIBYTES = 500
FILE = 50 << 20  # bytes
THERE = "/lines"
LINE = "a line of a log, not very long, as programs write them"
DRIVERS: dict[str, tuple[str | None, dict[str, str]]] = {
    "all kept (no driver named)": (None, {}),
    # As much as is written, so that nothing is compressed or thrown away meanwhile.
    "local": ("local", {"max-size": "2g"}),
    "json-file": ("json-file", {}),
}


def lines(mebibytes: int) -> tuple[str, ...]:
    """Return a command that writes so many MiB in short lines, as fast as it can."""
    return ("sh", "-c", f"yes '{LINE}' | head -c {mebibytes << 20}")


@functools.cache
def text_file() -> Path:
    """Make a file of lines of 60 to 120 bytes, for a program that writes without computing."""
    path = BUILD / "lines" / "text"
    path.parent.mkdir(parents=True, exist_ok=True)
    every = b"".join(b"%d %s\n" % (n, (LINE.encode() * 3)[: 50 + n % 60]) for n in range(10, 5000))
    path.write_bytes((every * (FILE // len(every) + 1))[: FILE - 1] + b"\n")
    return path


def from_file(mebibytes: int, path: str) -> tuple[str, ...]:
    """Return a command that writes so many MiB in lines, as fast as they are taken."""
    return ("sh", "-c", f"exec cat{f' {path}' * (mebibytes * (1 << 20) // FILE)}")


def blocks(mebibytes: int) -> tuple[str, ...]:
    """Return a command that writes so many MiB in one endless line."""
    return ("dd", "if=/dev/zero", "bs=64k", f"count={mebibytes * 16}")


def written(there: World, words: tuple[str, ...], driver: str) -> Contestant:
    """Return a contestant: a detached container from its start to its end, log and all."""
    name, options = DRIVERS[driver]
    config = ContainerConfig(
        "busybox", words, network="none", log_driver=name, log_opts=dict(options),
        binds=(BindMount(str(text_file().parent), THERE, read_only=True),),
    )  # fmt: skip

    def run() -> float:
        started = time.perf_counter()
        container, _ = there.engine.containers.launch(config, attach=False)
        status = container.wait(600)
        seconds = time.perf_counter() - started
        container.remove(force=True)
        if status.exit_code:
            raise RuntimeError(f"{words} ended with {status.exit_code}")
        return seconds

    return run


def beside(peers: Peers, words: tuple[str, ...], names: Iterator[int]) -> Contestant:
    """Return the same with podman's k8s-file."""

    def run() -> float:
        name = f"log-{next(names)}"
        options = ["--detach", "--name", name, "--log-driver", "k8s-file", "--network", "none"]
        options += ["--volume", f"{text_file().parent}:{THERE}:ro"]
        seconds = peers.run(peers.podman("run", *options, *ulimits(), IMAGE, *words))
        seconds += peers.run(peers.podman("wait", name))
        peers.run(peers.podman("rm", name))
        return seconds

    return run


def pipe(words: tuple[str, ...]) -> Contestant:
    """Return a contestant: the same bytes through a plain pipe into cat."""
    program = str(busybox_tree() / "bin/busybox")
    applets = busybox_tree() / "bin"

    def run() -> float:
        started = time.perf_counter()
        with (
            subprocess.Popen(
                [program, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={"PATH": str(applets)},
            ) as writer,
            subprocess.Popen([program, "cat"], stdin=writer.stdout, stdout=subprocess.DEVNULL),
        ):  # fmt: skip
            assert writer.stdout is not None
            writer.stdout.close()
        if writer.returncode:
            raise RuntimeError(f"{words} ended with {writer.returncode}")
        return time.perf_counter() - started

    return run


def read(there: World, peers: Peers, mebibytes: int, rounds: int) -> dict[str, Samples]:
    """Read a log of so many MiB by both commands, whole and its last lines."""
    config = ContainerConfig("busybox", lines(mebibytes), name="long", network="none")
    container, _ = there.engine.containers.launch(config, attach=False)
    container.wait(600)
    options = ["--name", "long", "--log-driver", "k8s-file", "--network", "none", *ulimits()]
    # Attached to nothing: what it writes goes into the log alone.
    peers.run(peers.podman("run", "--detach", *options, IMAGE, *lines(mebibytes)))
    peers.run(peers.podman("wait", "long"))
    return alternate(
        {
            "knarr logs": command([there.command, "logs", "long"], there.environment),
            "podman logs": lambda: peers.run(peers.podman("logs", "long")),
            "knarr logs -t": command([there.command, "logs", "-t", "long"], there.environment),
            "podman logs -t": lambda: peers.run(peers.podman("logs", "-t", "long")),
            "knarr logs -n 10": command(
                [there.command, "logs", "-n", "10", "long"], there.environment
            ),
            "podman logs -n 10": lambda: peers.run(peers.podman("logs", "--tail", "10", "long")),
        },
        rounds,
        warmup=0,
    )


def writers(there: World, peers: Peers, mebibytes: int) -> dict[str, Contestant]:
    """Return who writes what, each beside the same through a plain pipe, which bounds it."""
    names = itertools.count()
    kinds = {
        "lines": (lines(mebibytes), lines(mebibytes)),
        "lines of a file": (
            from_file(mebibytes, f"{THERE}/text"),
            from_file(mebibytes, str(text_file())),
        ),
        "blocks": (blocks(mebibytes), blocks(mebibytes)),
    }
    found: dict[str, Contestant] = {}
    for kind, (words, here) in kinds.items():
        for driver in DRIVERS:
            # A line without an end is not what such a file is for.
            if (kind, driver) != ("blocks", "json-file"):
                found[f"{kind}, {driver}"] = written(there, words, driver)
        if kind != "blocks":
            found[f"{kind}, podman k8s-file"] = beside(peers, words, names)
        found[f"{kind}, plain pipe into cat"] = pipe(here)
    return found


def run(mebibytes: int = MEBIBYTES, rounds: int = 3) -> Report:
    """Write lines and blocks into logs of each kind, and read one of lines."""
    report = Report("logs", f"A log of {mebibytes} MiB, written and read")
    with world() as there, Peers() as peers:
        peers.prepare_podman()
        contestants = writers(there, peers, mebibytes)
        try:
            report.samples = alternate(contestants, rounds, warmup=1)
            report.samples |= read(there, peers, mebibytes, rounds)
        finally:
            peers.remove_all()
    for name, samples in report.samples.items():
        report.figures.append((name, mebibytes / samples.median, "MiB/s"))
    for driver in ("local", "json-file"):
        seconds = report.samples[f"lines of a file, {driver}"].median
        report.goal(f"300 MB of lines, {driver}", seconds * 300e6 / (mebibytes << 20), 1.0, "s")
    for ours, theirs in (
        ("lines of a file, json-file", "lines of a file, podman k8s-file"),
        ("lines of a file, local", "lines of a file, podman k8s-file"),
        ("lines, json-file", "lines, podman k8s-file"),
        ("lines, local", "lines, podman k8s-file"),
        ("knarr logs", "podman logs"),
        ("knarr logs -t", "podman logs -t"),
        ("knarr logs -n 10", "podman logs -n 10"),
    ):
        report.goal(f"{ours} / {theirs}", report.ratio(ours, theirs), 1.0)
    return report
