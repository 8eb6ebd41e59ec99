"""How long does copying many small files into and out of a container take, beside podman?"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from knarr.engine.model import ContainerConfig

from .harness import BUILD, Contestant, Report, alternate, command
from .peers import IMAGE, Peers, ulimits
from .world import world

_NAME = "knarr-bench-cp"
_FOLDERS = 100


def tree(files: int) -> Path:
    """Return a directory with so many files of 4 KiB in a hundred folders, made anew."""
    root = BUILD / "cp-source"
    shutil.rmtree(root, ignore_errors=True)
    for number in range(files):
        folder = root / f"folder-{number % _FOLDERS:03}"
        if number < _FOLDERS:
            folder.mkdir(parents=True)
        (folder / f"file-{number:05}").write_bytes(f"{number} ".encode().ljust(4096, b"x"))
    return root


def _out(run: Contestant, target: Path) -> Contestant:
    """Return the contestant with what it copied out removed after the clock has stopped."""

    def once() -> float:
        seconds = run()
        shutil.rmtree(target)
        return seconds

    return once


def run(files: int = 10_000, rounds: int = 5) -> Report:
    """Copy a tree into a running container and out of it."""
    report = Report("cp", f"{files} files of 4 KiB into and out of a running container")
    source, target = tree(files), BUILD / "cp-target"
    shutil.rmtree(target, ignore_errors=True)
    numbers = itertools.count()
    with world() as there, Peers() as peers:
        peers.prepare_podman()
        command_line = ("sleep", "10000")
        config = ContainerConfig("busybox", command_line, name=_NAME, network="none")
        there.engine.containers.launch(config, attach=False)
        podman = ["run", "--detach", "--name", _NAME, *ulimits(), "--network", "none", IMAGE]
        try:
            peers.run(peers.podman(*podman, *command_line))

            def knarr(*words: str) -> float:
                return command([there.command, "cp", *words], there.environment)()

            def beside(*words: str) -> float:
                return peers.run(peers.podman("cp", *words))

            first = f"{_NAME}:/first"
            knarr(str(source), first)
            beside(str(source), first)
            report.samples = alternate(
                {
                    "knarr cp, in": lambda: knarr(str(source), f"{_NAME}:/in-{next(numbers)}"),
                    "podman cp, in": lambda: beside(str(source), f"{_NAME}:/in-{next(numbers)}"),
                    "knarr cp, out": _out(lambda: knarr(first, str(target)), target),
                    "podman cp, out": _out(lambda: beside(first, str(target)), target),
                },
                rounds,
                warmup=1,
            )
        finally:
            peers.remove_all()
            shutil.rmtree(source)
            shutil.rmtree(target, ignore_errors=True)
    report.goal("in, knarr / podman", report.ratio("knarr cp, in", "podman cp, in"), 1.0)
    report.goal("out, knarr / podman", report.ratio("knarr cp, out", "podman cp, out"), 1.0)
    return report
