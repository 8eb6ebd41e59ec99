"""Contestants that take turns, what their samples say, and how it is printed and kept."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
OUT = ROOT / "benchmarks" / "out"

Contestant = Callable[[], float]


@dataclass(frozen=True)
class Samples:
    """Seconds that one contestant took, in the order measured."""

    values: tuple[float, ...]

    def quantile(self, part: float) -> float:
        """Return the value below which ``part`` (0 to 1) of the samples lie."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    @property
    def median(self) -> float:
        """Return the middle sample, in seconds."""
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        """Return the ninetieth percentile, in seconds."""
        return self.quantile(0.9)


@dataclass
class Report:
    """One benchmark's outcome: samples by contestant, plain figures, and what was asked for.

    figures are (name, value, unit). goals are (text, reached).
    """

    name: str
    title: str
    samples: dict[str, Samples] = field(default_factory=dict)
    figures: list[tuple[str, float, str]] = field(default_factory=list)
    goals: list[tuple[str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, one: str, other: str) -> float:
        """Return how many times the median of ``other`` the median of ``one`` is."""
        return self.samples[one].median / self.samples[other].median

    def goal(self, text: str, value: float, limit: float, unit: str = "x") -> None:
        """Note a figure that should not exceed ``limit``."""
        self.goals.append(
            (f"{text}: {value:.2f} {unit} (at most {limit:g} {unit})", value <= limit)
        )

    def show(self, base: str | None = None) -> None:
        """Print the report as a table; ratios are to the median of ``base``."""
        print(f"\n{self.title}")
        if self.samples:
            print(f"  {'':34}{'median ms':>11}{'p90 ms':>9}{'ratio':>9}")
        for name, samples in self.samples.items():
            ratio = f"{self.ratio(name, base):8.2f}x" if base in self.samples else ""
            print(f"  {name:34}{samples.median * 1e3:11.2f}{samples.p90 * 1e3:9.2f}{ratio:>9}")
        for text, value, unit in self.figures:
            print(f"  {text:48}{value:12.2f} {unit}")
        for text, reached in self.goals:
            print(f"  {'reached ' if reached else 'MISSED  '} {text}")
        for note in self.notes:
            print(f"  note: {note}")
        sys.stdout.flush()

    def save(self) -> Path:
        """Write the report as JSON below benchmarks/out; return the file's path."""
        OUT.mkdir(parents=True, exist_ok=True)
        data = {
            "name": self.name,
            "title": self.title,
            "machine": {"kernel": platform.release(), "processors": os.cpu_count()},
            "seconds": {name: list(samples.values) for name, samples in self.samples.items()},
            "figures": [{"name": n, "value": v, "unit": u} for n, v, u in self.figures],
            "goals": [{"goal": text, "reached": reached} for text, reached in self.goals],
            "notes": self.notes,
        }
        path = OUT / f"{self.name}.json"
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        return path


# Seconds before each contestant that starts something, see ``alternate``.
PAUSE = 0.1


def alternate(
    contestants: Mapping[str, Contestant], rounds: int, warmup: int = 2, pause: float = 0.0
) -> dict[str, Samples]:
    """Let every contestant run once a round; return the samples of all rounds but the warm-up.

    pause: seconds before each, so that what one leaves behind (a container being taken down, a
    worker getting ready) is not charged to the next.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-warmup, rounds):
        for name, run in contestants.items():
            time.sleep(pause)
            seconds = run()
            if number >= 0:
                taken[name].append(seconds)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def timed(act: Callable[[], object]) -> Contestant:
    """Return a contestant that measures ``act`` from outside."""

    def run() -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    return run


def command(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Contestant:
    """Return a contestant that spawns a program and waits; it must exit with status 0."""
    program = shutil.which(words[0])
    if program is None:
        raise FileNotFoundError(f"{words[0]} is not installed")
    env = dict(os.environ if environment is None else environment)
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]

    def run() -> float:
        started = time.perf_counter()
        pid = os.posix_spawn(program, list(words), env, file_actions=null)
        status = os.waitpid(pid, 0)[1]
        seconds = time.perf_counter() - started
        if status:
            raise RuntimeError(f"{' '.join(words)} ended with wait status {status:#x}")
        return seconds

    return run


def run_folder() -> Path:
    """Return where /run would be on an installed system: on tmpfs, for knarr and peers alike."""
    for candidate in ("/run", "/dev/shm"):
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            words = line.split()
            if words[4] == candidate and words[words.index("-") + 1] == "tmpfs":
                return Path(candidate)
    return Path("/run")


def busybox_tree() -> Path:
    """Return a root file system of one static busybox and its usual links, made when missing."""
    tree = BUILD / "busybox"
    if (tree / "bin/true").exists():
        return tree
    source = shutil.which("busybox")
    if source is None:
        raise FileNotFoundError("busybox is not installed: sh tools/ensure bench")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(source, tree / "bin/busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\n")
    for name in ("sh", "cat", "sleep", "dd", "true"):
        (tree / "bin" / name).symlink_to("busybox")
    return tree


class Floor:
    """The C program of floor.c, compiled when it changed; each call is one round of it."""

    def __init__(self, mode: str = "held") -> None:
        self._program = BUILD / "floor"
        source = ROOT / "benchmarks" / "floor.c"
        BUILD.mkdir(parents=True, exist_ok=True)
        if not self._program.exists() or self._program.stat().st_mtime < source.stat().st_mtime:
            flags = ("-O2", "-Wall", "-Wextra", "-static")
            subprocess.run(("gcc", *flags, "-o", self._program, source), check=True)
        work = BUILD / f"floor-{mode}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        self._words = [str(self._program), mode, str(busybox_tree()), str(work)]

    def __call__(self) -> float:
        """Return the seconds from start to exit that the program measured itself."""
        done = subprocess.run(self._words, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0]) / 1e9
