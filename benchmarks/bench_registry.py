"""Push a layer of 100 MB to a registry and pull it: knarr beside docker-registry, in turns."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .harness import Report, Samples

SIZE = 100_000_000
ROUNDS = 10
_TICK = os.sysconf("SC_CLK_TCK")
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry:
    """A registry as a process of its own."""

    def __init__(self, words: list[str], port: int) -> None:
        environment = {**os.environ, "KNARR_SERVER": "off", "OTEL_TRACES_EXPORTER": "none"}
        self.process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        self.port = port
        while True:
            try:
                self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                self.link.connect()
                return
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{words[0]} ended with {self.process.returncode}") from None
                time.sleep(0.05)

    def end(self) -> None:
        """End it."""
        self.link.close()
        self.process.terminate()
        self.process.wait()

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICK

    def _ask(self, method: str, path: str, body: bytes = b"") -> str:
        self.link.request(method, path, body, {"Content-Type": "application/octet-stream"})
        with self.link.getresponse() as got:
            got.read()
            if got.status >= 300:
                raise RuntimeError(f"{method} {path}: {got.status}")
            return (got.headers["Location"] or "").removeprefix(f"http://127.0.0.1:{self.port}")

    def push(self, data: bytes, digest: str) -> None:
        """Push a blob as docker does: a stream, and then its digest."""
        where = self._ask("POST", "/v2/bench/blobs/uploads/")
        where = self._ask("PATCH", where, data)
        self._ask("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}")

    def pull(self, digest: str, room: memoryview) -> None:
        """Pull a blob into memory."""
        self.link.request("GET", f"/v2/bench/blobs/{digest}")
        with self.link.getresponse() as got:
            at = 0
            while count := got.readinto(room[at:]):
                at += count
            if at != SIZE:
                raise RuntimeError(f"{at} bytes came")


def run(rounds: int = ROUNDS) -> Report:
    """Push and pull in turns; each push is of other bytes."""
    if shutil.which("docker-registry") is None:
        raise FileNotFoundError("docker-registry is not installed (Debian: docker-registry)")
    report = Report("registry", f"A layer of {SIZE // 1_000_000} MB to a registry and back")
    folder = Path(tempfile.mkdtemp(prefix="knarr-bench-", dir="/var/tmp"))
    registries: dict[str, Registry] = {}
    wall: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    try:
        for name, words in _commands(folder).items():
            registries[name] = Registry(*words)
        room = memoryview(bytearray(SIZE))
        block = os.urandom(1_000_000)
        for number in range(rounds):
            data = block * (SIZE // len(block) - 1) + os.urandom(len(block))
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            order = list(registries) if number % 2 else list(registries)[::-1]
            for what in ("push", "pull"):
                for name in order:
                    one = registries[name]

                    def act(one: Registry = one, what: str = what) -> None:
                        if what == "push":
                            one.push(data, digest)  # noqa: B023 - called in this turn
                        else:
                            one.pull(digest, room)  # noqa: B023 - same

                    _measure(one, act, f"{what}, {name}", wall, cpu)
    finally:
        for each in registries.values():
            each.end()
        shutil.rmtree(folder, ignore_errors=True)
    for what in ("push", "pull"):
        for name in registries:
            report.samples[f"{what}, {name}"] = Samples(tuple(wall[f"{what}, {name}"]))
        # Ticks of 10 ms: only a sum says something about a pull.
        ours, theirs = (sum(cpu[f"{what}, {name}"]) / rounds for name in registries)
        report.figures.append((f"processor time of a {what}, knarr", ours, "s"))
        report.figures.append((f"processor time of a {what}, docker-registry", theirs, "s"))
        ratio = report.ratio(f"{what}, knarr", f"{what}, docker-registry")
        report.goal(f"{what}, wall time, of docker-registry's", ratio, 1.0)
        report.goal(f"{what}, processor time, of docker-registry's", ours / theirs, 1.0)
    return report


def _measure(
    one: Registry,
    act: Callable[[], None],
    name: str,
    wall: dict[str, list[float]],
    cpu: dict[str, list[float]],
) -> None:
    before, began = one.cpu(), time.perf_counter()
    act()
    wall.setdefault(name, []).append(time.perf_counter() - began)
    cpu.setdefault(name, []).append(one.cpu() - before)


def _commands(folder: Path) -> dict[str, tuple[list[str], int]]:
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "docker", port=ports[1]))
    ours = [sys.executable, "-m", "knarr", "registry", "serve", "-q", "--root",
            str(folder / "knarr"), "--listen", f"127.0.0.1:{ports[0]}"]  # fmt: skip
    return {
        "knarr": (ours, ports[0]),
        "docker-registry": (["docker-registry", "serve", str(config)], ports[1]),
    }
