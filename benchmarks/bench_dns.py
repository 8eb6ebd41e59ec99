"""How many names a second are answered, and how soon, beside aardvark-dns (podman's server)?

Each server answers the same names to dnsperf in a network namespace: knarr's at 127.0.0.11,
through the rules of that namespace, as a container asks it; aardvark-dns at the address of its
bridge, as podman's containers ask it.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from knarr.kernel.process import start_time
from knarr.networks.resolver import client
from knarr.runtime import resolving

from .harness import Report, Samples, run_folder

AARDVARK = "/usr/lib/podman/aardvark-dns"
NAMES = 50
SECONDS = 2
GATEWAY = "10.89.7.1"
_RATE = re.compile(r"Queries per second:\s+([\d.]+)")
_LATENCY = re.compile(r"Average Latency \(s\):\s+([\d.]+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")


def _inside(namespace: str, *words: str) -> list[str]:
    return ["nsenter", f"--net={namespace}", *words]


@contextmanager
def container() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a network namespace of its own, in which lo is up."""
    script = "echo; exec sleep 3600"
    words = ["unshare", "--net", "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        namespace = f"/proc/{process.pid}/ns/net"
        subprocess.run(_inside(namespace, "ip", "link", "set", "lo", "up"), check=True)
        try:
            yield process
        finally:
            process.kill()


def _addresses() -> Iterator[tuple[str, str]]:
    for number in range(NAMES):
        yield f"name{number}", f"10.89.7.{number + 2}"


@contextmanager
def knarr(folder: Path) -> Iterator[tuple[str, str]]:
    """A resolver with a container: the namespace and the address to ask."""
    root = str(folder / "knarr")
    os.mkdir(root, 0o700)
    with client.ensure(root) as held, container() as process:
        for name, address in _addresses():
            told = {"name": name, "names": [name], "addresses": [address], "network": "net"}
            resolving.write(resolving.endpoint_file(root, "net", name), told)
        itself = {"name": "me", "names": ["me"], "addresses": [], "network": "net"}
        resolving.write(resolving.endpoint_file(root, "net", "me"), itself)
        pid = process.pid
        packet = {"container": "me", "pid": pid, "pid_start": start_time(pid), "networks": ["net"]}
        child = os.fork()
        if child == 0:
            status = 1
            try:
                namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
                resolving.serve(root, namespace, packet)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        yield f"/proc/{pid}/ns/net", resolving.ADDRESS
        held.ask(b'{"quit":1}')


@contextmanager
def aardvark(folder: Path) -> Iterator[tuple[str, str]]:
    """aardvark-dns with the same names: the namespace and the address to ask."""
    config = folder / "aardvark"
    config.mkdir()
    lines = [GATEWAY, *(f"{index:064x} {address}  {name}"
                        for index, (name, address) in enumerate(_addresses()))]  # fmt: skip
    (config / "net").write_text("\n".join(lines) + "\n")
    with container() as process:
        namespace = f"/proc/{process.pid}/ns/net"
        for words in (
            ["ip", "link", "add", "bridge0", "type", "bridge"],
            ["ip", "address", "add", f"{GATEWAY}/24", "dev", "bridge0"],
            ["ip", "link", "set", "bridge0", "up"],
        ):
            subprocess.run(_inside(namespace, *words), check=True)
        words = _inside(namespace, AARDVARK, "--config", str(config), "--port", "53", "run")
        null = subprocess.DEVNULL
        with subprocess.Popen(words, stdin=null, stdout=null, stderr=null) as server:
            pidfile = config / "aardvark.pid"
            deadline = time.monotonic() + 10
            while not pidfile.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            try:
                yield namespace, GATEWAY
            finally:
                server.kill()
                if pidfile.exists():
                    os.kill(int(pidfile.read_text()), 9)


def measure(where: tuple[str, str], queries: Path, outstanding: int) -> tuple[float, float]:
    """Return answers a second and the mean seconds to one; all of them have to come."""
    namespace, address = where
    words = ["dnsperf", "-s", address, "-d", str(queries), "-l", str(SECONDS),
             "-c", "1" if outstanding == 1 else "4", "-q", str(outstanding)]  # fmt: skip
    done = subprocess.run(
        _inside(namespace, *words), capture_output=True, text=True, check=True
    ).stdout
    found = [each.search(done) for each in (_RATE, _LATENCY, _LOST)]
    rate, latency, lost = (float(each.group(1)) if each else -1.0 for each in found)
    if rate < 0 or lost != 0 or "NOERROR" not in done:
        raise RuntimeError(f"dnsperf of {address}: {done}")
    return rate, latency


def run(rounds: int = 5) -> Report:
    """Let both answer in turn."""
    if shutil.which("dnsperf") is None:
        raise FileNotFoundError("dnsperf is not installed: apt install dnsperf")
    report = Report("dns", f"Names of containers: {NAMES} names, one query at a time")
    makers: dict[str, Callable[[Path], object]] = {"knarr": knarr}
    if os.path.exists(AARDVARK):
        makers["aardvark-dns"] = aardvark
    else:
        report.notes.append("aardvark-dns is not installed: apt install aardvark-dns")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=run_folder())))
        queries = folder / "queries"
        queries.write_text("".join(f"{name} A\n" for name, _ in _addresses()))
        servers = {"knarr": stack.enter_context(knarr(folder))}
        if "aardvark-dns" in makers:
            servers["aardvark-dns"] = stack.enter_context(aardvark(folder))
        one: dict[str, list[float]] = {name: [] for name in servers}
        many: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, where in servers.items():
                one[name].append(measure(where, queries, 1)[1])
                many[name].append(measure(where, queries, 100)[0])
    report.samples = {name: Samples(tuple(values)) for name, values in one.items()}
    rates = {name: statistics.median(values) for name, values in many.items()}
    for name, rate in rates.items():
        report.figures.append((f"{name}, 100 queries outstanding", rate, "answers/s"))
    if "aardvark-dns" in servers:
        slower = rates["aardvark-dns"] / rates["knarr"]
        report.goal("processor-bound time per answer / aardvark-dns", slower, 1.0)
    return report
