"""How fast may a container write while its output is kept, and how fast is it read again?"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator

from knarr.engine.model import ContainerConfig

from .harness import Contestant, Report, Samples, alternate, busybox_tree, command
from .peers import IMAGE, Peers, ulimits
from .world import World, world

MEBIBYTES = 500
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


def blocks(mebibytes: int) -> tuple[str, ...]:
    """Return a command that writes so many MiB in one endless line."""
    return ("dd", "if=/dev/zero", "bs=64k", f"count={mebibytes * 16}")


def written(there: World, words: tuple[str, ...], driver: str) -> Contestant:
    """Return a contestant: a detached container from its start to its end, log and all."""
    name, options = DRIVERS[driver]
    config = ContainerConfig(
        "busybox", words, network="none", log_driver=name, log_opts=dict(options)
    )

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
        seconds = peers.run(peers.podman("run", *options, *ulimits(), IMAGE, *words))
        seconds += peers.run(peers.podman("wait", name))
        peers.run(peers.podman("rm", name))
        return seconds

    return run


def pipe(words: str) -> Contestant:
    """Return a contestant: the same bytes through a plain pipe into cat."""
    program = busybox_tree() / "bin/busybox"

    def run() -> float:
        started = time.perf_counter()
        line = f"{program} {words} 2>/dev/null | {program} cat >/dev/null"
        subprocess.run(["sh", "-c", line], check=True)
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


def run(mebibytes: int = MEBIBYTES, rounds: int = 3) -> Report:
    """Write lines and blocks into logs of each kind, and read one of lines."""
    report = Report("logs", f"A log of {mebibytes} MiB, written and read")
    with world() as there, Peers() as peers:
        peers.prepare_podman()
        names = itertools.count()
        text, raw = lines(mebibytes), blocks(mebibytes)
        contestants = {f"lines, {kind}": written(there, text, kind) for kind in DRIVERS}
        contestants["lines, podman k8s-file"] = beside(peers, text, names)
        for kind in ("all kept (no driver named)", "local"):
            contestants[f"blocks, {kind}"] = written(there, raw, kind)
        contestants["blocks, plain pipe into cat"] = pipe(
            f"dd if=/dev/zero bs=64k count={mebibytes * 16}"
        )
        try:
            report.samples = alternate(contestants, rounds, warmup=1)
            report.samples |= read(there, peers, mebibytes, rounds)
        finally:
            peers.remove_all()
    for name, samples in report.samples.items():
        report.figures.append((name, mebibytes / samples.median, "MiB/s"))
    for ours, theirs in (
        ("lines, json-file", "lines, podman k8s-file"),
        ("lines, local", "lines, podman k8s-file"),
        ("knarr logs", "podman logs"),
        ("knarr logs -t", "podman logs -t"),
        ("knarr logs -n 10", "podman logs -n 10"),
    ):
        report.goal(f"{ours} / {theirs}", report.ratio(ours, theirs), 1.0)
    return report
