"""How long does one table of what running containers use take, beside podman?"""

from __future__ import annotations

from .bench_ps import fill, fill_podman
from .harness import Report, alternate, command
from .peers import Peers
from .world import world


def run(containers: int = 100, rounds: int = 5) -> Report:
    """Show all once; both measure over a moment before they can tell what a processor does."""
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
    report.goal("knarr / podman", report.ratio("knarr stats", "podman stats"), 1.0)
    return report
