"""How long does one table of what running containers use take, beside podman?

knarr and Docker measure what processors do over a moment, and wait for it; podman shows the mean
since the container was started. So the wait is told and not counted.
"""

from __future__ import annotations

from knarr.engine.stats import ONCE

from .bench_ps import fill, fill_podman
from .harness import Report, alternate, command
from .peers import Peers
from .world import world


def run(containers: int = 100, rounds: int = 5) -> Report:
    """Show all once."""
    report = Report("stats", f"What {containers} running containers use: stats --no-stream")
    with world() as there, Peers() as peers:
        peers.prepare_podman()
        fill(there, containers, containers)
        try:
            fill_podman(peers, containers, containers)
            report.samples = alternate(
                {
                    "knarr stats": command(
                        [there.command, "stats", "--no-stream"], there.environment
                    ),
                    "podman stats": lambda: peers.run(peers.podman("stats", "--no-stream")),
                },
                rounds,
                warmup=1,
            )
        finally:
            peers.remove_all()
    work = report.samples["knarr stats"].median - ONCE
    report.figures.append(("knarr stats without its wait", work * 1e3, "ms"))
    report.goal("that / podman", work / report.samples["podman stats"].median, 1.0)
    return report
