"""How long does a listing take with many containers, beside podman?"""

from __future__ import annotations

from knarr.engine.model import ContainerConfig

from .harness import Report, alternate, command, timed
from .peers import IMAGE, Peers, ulimits
from .world import World, world


def fill(there: World, containers: int, running: int) -> None:
    """Make containers, the last ``running`` of them started."""
    config = ContainerConfig(image="busybox", command=("sleep", "10000"), network="none")
    for _ in range(containers - running):
        there.engine.containers.create(config)
    for _ in range(running):
        there.engine.containers.launch(config, attach=False)


def fill_podman(peers: Peers, containers: int, running: int) -> None:
    """Make as many with podman."""
    words = [*ulimits(), "--network", "none", IMAGE, "sleep", "10000"]
    for _ in range(containers - running):
        peers.run(peers.podman("create", *words))
    for _ in range(running):
        peers.run(peers.podman("run", "--detach", *words))


def run(containers: int = 500, running: int = 50, rounds: int = 15) -> Report:
    """List all containers, and those that run."""
    report = Report("ps", f"Listing {containers} containers, of which {running} run")
    with world() as there, Peers() as peers:
        peers.prepare_podman()
        fill(there, containers, running)
        try:
            fill_podman(peers, containers, running)
            report.samples = alternate(
                {
                    "knarr library, list(all=True)": timed(
                        lambda: there.engine.containers.list(all=True)
                    ),
                    "knarr ps -a": command([there.command, "ps", "-a"], there.environment),
                    "podman ps -a": lambda: peers.run(peers.podman("ps", "-a")),
                    "knarr ps": command([there.command, "ps"], there.environment),
                    "podman ps": lambda: peers.run(peers.podman("ps")),
                },
                rounds,
            )
        finally:
            peers.remove_all()
    report.goal("knarr ps -a / podman", report.ratio("knarr ps -a", "podman ps -a"), 0.25)
    report.goal("knarr ps / podman", report.ratio("knarr ps", "podman ps"), 0.25)
    return report
