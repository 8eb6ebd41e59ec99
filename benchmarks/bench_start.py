"""How long from the call to the exit of ``true``, for the library, the command and the peers?"""

from __future__ import annotations

import platform
import time
from pathlib import Path

from knarr.engine.model import ContainerConfig

from .harness import PAUSE, Contestant, Floor, Report, alternate, command, timed
from .peers import Peers
from .world import World, world

CONFIG = ContainerConfig(image="busybox", command=("/bin/true",), network="none", auto_remove=True)
BARE = ("/usr/bin/python3", "-I", "-S", "-E", "-c", "pass")


def whole_run(there: World) -> Contestant:
    """Return ``containers.run``: create, start, exit, removal."""

    def act() -> None:
        result = there.engine.containers.run(CONFIG)
        if result.exit_code:
            raise RuntimeError(f"true exited with {result.exit_code}: {result.stderr!r}")

    return timed(act)


def start_to_exit(
    there: World, network: str = "none", egress: tuple[str, ...] | None = None
) -> Contestant:
    """Return a contestant that measures start to exit status only, as the floor does."""
    config = ContainerConfig(
        image="busybox", command=("/bin/true",), network=network, egress_allow=egress
    )

    def run() -> float:
        container = there.engine.containers.create(config)
        started = time.perf_counter()
        attachment = container.start(attach=True)
        assert attachment is not None
        with attachment:
            while attachment.status is None and attachment.receive() is not None:
                pass
            seconds = time.perf_counter() - started
        container.remove(force=True)
        return seconds

    return run


def by_link(there: World, words: list[str]) -> dict[str, Contestant]:
    """Return the same by a link to the native client, as docs/install.md has it, if there is one.

    It does without the shell that finds the client.
    """
    prefix = Path(there.command).resolve().parents[1]
    client = prefix / "libexec" / "knarr" / f"client-{platform.machine()}"
    if not client.exists():
        return {}
    link = Path(there.settings.data_root) / "knarr"  # goes with it
    link.symlink_to(client)
    return {"knarr run --rm, by link": command([str(link), *words], there.environment)}


def run(rounds: int = 40) -> Report:
    """Let everybody start ``true`` in turns."""
    report = Report("start", "Start to exit of `true`, network none")
    with world() as there, world("overlay") as unpacked, Peers() as peers:
        words = [there.command, "run", "--rm", "--network", "none", "busybox", "/bin/true"]
        contestants: dict[str, Contestant] = {
            "floor in C": Floor("held"),
            "floor in C, plain overlay": Floor("plain"),
            "knarr library, start to exit": start_to_exit(there),
            "the same, driver overlay": start_to_exit(unpacked),
            "knarr library, run() in all": whole_run(there),
            "knarr run --rm": command(words, there.environment),
            **by_link(there, words[1:]),
            "python -I -S -E -c pass": command(BARE),
        }
        for name, prepare in (
            ("podman run --rm (crun)", peers.prepare_podman),
            ("crun run of a bundle", lambda: peers.bundle("crun")),
            ("runc run of a bundle", lambda: peers.bundle("runc")),
        ):
            try:
                contestant = prepare()
                contestant()
            except (FileNotFoundError, RuntimeError) as error:
                report.notes.append(f"left out: {name}: {error}")
                continue
            contestants[name] = contestant
        report.samples = alternate(contestants, rounds, pause=PAUSE)
    judge(report)
    return report


def judge(report: Report) -> None:
    """Compare with what start-up is meant to cost."""
    of = report.samples
    report.goal(
        "library, start to exit / floor",
        report.ratio("knarr library, start to exit", "floor in C"),
        3.0,
    )
    if "podman run --rm (crun)" in of:
        report.goal(
            "command / podman", report.ratio("knarr run --rm", "podman run --rm (crun)"), 0.25
        )
    extra = of["knarr run --rm"].median - of["knarr library, run() in all"].median
    bare = of["python -I -S -E -c pass"].median
    report.goal("command beyond the library / a bare interpreter", extra / bare, 1.0)
