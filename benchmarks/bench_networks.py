"""What a bridge costs a start, and what passes through it, beside podman with netavark.

All of it happens in network namespaces of the benchmark's own: a host, and an outside world
behind it. The containers see this machine's programs read-only, so that iperf3 runs in them.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable

from knarr.engine.model import BindMount, ContainerConfig, HostPort
from tests.support.nethost import HOST4, NetHost, inside, private

from .bench_start import start_to_exit
from .harness import PAUSE, Contestant, Report, alternate
from .peers import IMAGE, Peers, ulimits
from .world import World, world

ALLOWED = ("example.org:443", "*.example.net", "10.1.0.0/16")
PORTS = {"knarr": 5301, "podman": 5302}
INNER = 5201
GIGABYTES = 4
DIRECTORIES = ("/usr", "/lib", "/lib64")
PATIENCE = 30.0


def run(rounds: int = 20) -> Report:
    """Let everybody start ``true`` and send a gigabyte in turns."""
    report = Report("networks", "A bridge: starts of `true`, and 1 GB by iperf3")
    with private() as host, world() as there, Peers() as peers:
        there.engine.networks.create("bench")
        peers.prepare_podman()
        report.samples = alternate(_starts(there, peers), rounds, pause=PAUSE)
        report.samples |= alternate(
            _transfers(host, there, peers), max(rounds // 2, 3), pause=PAUSE
        )
        peers.remove_all()
        for container in there.engine.containers.list(all=True):
            container.remove(force=True)
        there.engine.networks.remove("bench")
    _judge(report)
    return report


def _starts(there: World, peers: Peers) -> dict[str, Contestant]:
    def podman(network: str) -> Contestant:
        words = ["run", "--rm", *ulimits(), "--network", network, IMAGE, "/bin/true"]
        return lambda: peers.run(peers.podman(*words))

    return {
        "knarr, none": start_to_exit(there),
        "knarr, bridge": start_to_exit(there, "bench"),
        "knarr, bridge, --egress-allow": start_to_exit(there, "bench", ALLOWED),
        "podman, none": podman("none"),
        "podman, bridge": podman("bridge"),
    }


def _transfers(host: NetHost, there: World, peers: Peers) -> dict[str, Contestant]:
    """Return a contestant for each way to each server: by its published port, by its address."""
    server = ("/usr/bin/iperf3", "-s")
    config = ContainerConfig(
        image="busybox", command=server, network="bench",
        binds=tuple(BindMount(each, each, read_only=True) for each in DIRECTORIES),
        ports=(HostPort(INNER, first=PORTS["knarr"], last=PORTS["knarr"]),),
    )  # fmt: skip
    there.engine.containers.launch(config, attach=False)
    volumes = [word for each in DIRECTORIES for word in ("-v", f"{each}:{each}:ro")]
    published = ["-p", f"{PORTS['podman']}:{INNER}"]
    words = ["run", "-d", "--network", "bridge", *ulimits(), *volumes, *published, IMAGE, *server]
    peers.run(peers.podman(*words))
    contestants: dict[str, Contestant] = {}
    for name, port in PORTS.items():
        _await(host.outside, HOST4, port)
        contestants[f"{name}, 1 GB in by a published port"] = _iperf(host.outside, HOST4, port)
        reverse = _iperf(host.outside, HOST4, port, "-R")
        contestants[f"{name}, 1 GB out by a published port"] = reverse
    return contestants


def _await(namespace: int, address: str, port: int) -> None:
    """Return when somebody listens there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with inside(namespace), socket.create_connection((address, port), PATIENCE):
                return
        except OSError:
            if time.monotonic() > end:
                raise


def _iperf(namespace: int, address: str, port: int, *more: str) -> Callable[[], float]:
    """Return what sends some gigabytes and returns the seconds that one took."""
    words = ["iperf3", "-c", address, "-p", str(port), "-n", f"{GIGABYTES}G", "-J", *more]

    def act() -> float:
        with inside(namespace):
            done = subprocess.run(words, capture_output=True, check=True)
        return float(json.loads(done.stdout)["end"]["sum_received"]["seconds"]) / GIGABYTES

    return act


def _judge(report: Report) -> None:
    of = report.samples
    extra = (of["knarr, bridge"].median - of["knarr, none"].median) * 1000
    report.goal("a bridge beyond none", extra, 10.0, "ms")
    for way in ("in", "out"):
        name = f"1 GB {way} by a published port"
        report.goal(f"{name}: knarr / podman", report.ratio(f"knarr, {name}", f"podman, {name}"), 1)
