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
from contextlib import ExitStack

from knarr.engine.model import BindMount, ContainerConfig, HostPort
from tests.support.nethost import HOST4, NetHost, inside, private

from . import dockerd
from .bench_start import start_to_exit
from .harness import PAUSE, Contestant, Report, alternate
from .peers import IMAGE, Peers, busybox_archive, ulimits
from .world import World, world

ALLOWED = ("example.org:443", "*.example.net", "10.1.0.0/16")
PORTS = {"knarr": 5301, "podman": 5302, "docker": 5303}
INNER = 5201
GIGABYTES = 4
DIRECTORIES = ("/usr", "/lib", "/lib64")
PATIENCE = 30.0


def run(rounds: int = 20) -> Report:
    """Let everybody start ``true`` and send a gigabyte in turns."""
    report = Report("networks", "A bridge: starts of `true`, and 1 GB by iperf3")
    with ExitStack() as stack:
        host = stack.enter_context(private())
        there = stack.enter_context(world())
        peers = stack.enter_context(Peers())
        there.engine.networks.create("bench")
        peers.prepare_podman()
        report.samples = alternate(_starts(there, peers), rounds, pause=PAUSE)
        ports = {"knarr": _ours(there), "podman": _podmans(peers)}
        stack.callback(peers.remove_all)
        try:
            ports["docker"] = _dockers(stack)
        except dockerd.CannotRun as error:
            report.notes.append(f"docker is left out: {error}")
        transfers = _transfers(host, ports)
        report.samples |= alternate(transfers, max(rounds // 2, 3), pause=PAUSE)
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


SERVER = ("/usr/bin/iperf3", "-s")
VOLUMES = [word for each in DIRECTORIES for word in ("-v", f"{each}:{each}:ro")]


def _ours(there: World) -> int:
    """Have a server behind a port; return the port."""
    port = PORTS["knarr"]
    config = ContainerConfig(
        image="busybox", command=SERVER, network="bench",
        binds=tuple(BindMount(each, each, read_only=True) for each in DIRECTORIES),
        ports=(HostPort(INNER, first=port, last=port),),
    )  # fmt: skip
    there.engine.containers.launch(config, attach=False)
    return port


def _podmans(peers: Peers) -> int:
    port = PORTS["podman"]
    words = ["run", "-d", "--network", "bridge", *ulimits(), *VOLUMES]
    peers.run(peers.podman(*words, "-p", f"{port}:{INNER}", IMAGE, *SERVER))
    return port


def _dockers(stack: ExitStack) -> int:
    """As :func:`_ours`, with a daemon that ends with ``stack``. Raises dockerd.CannotRun."""
    port = PORTS["docker"]
    daemon = stack.enter_context(dockerd.running(networked=True))
    daemon.docker("import", busybox_archive(), IMAGE)
    words = ["run", "-d", "--name", "server", *ulimits(), *VOLUMES, "-p", f"{port}:{INNER}"]
    daemon.docker(*words, IMAGE, *SERVER)
    stack.callback(daemon.docker, "rm", "-f", "server")
    return port


def _transfers(host: NetHost, ports: dict[str, int]) -> dict[str, Contestant]:
    """Return a contestant for each way to each server by its published port."""
    contestants: dict[str, Contestant] = {}
    for name, port in ports.items():
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
        for peer in ("podman", "docker"):
            if f"{peer}, {name}" in of:
                ratio = report.ratio(f"knarr, {name}", f"{peer}, {name}")
                report.goal(f"{name}: knarr / {peer}", ratio, 1)
