"""200 sandboxes at once from 8 processes: do all succeed, how fast, at what cost in memory?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from .harness import ROOT, Report
from .world import World, world

PROCESSES = 8
EACH = 25
# Seconds without anything to do after which a supervisor has given back what memory it can.
IDLE = 1.0


def private_memory(pid: int) -> int:
    """Return the bytes that only this process has in memory (proc_pid_smaps_rollup, Private_*)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean", "Private_Dirty")):
            total += int(line.split()[1]) * 1024
    return total


def supervisors(there: World) -> list[int]:
    """Return the pids of the supervisors, from the containers' state files."""
    files = Path(there.settings.run_root, "containers").glob("*/state.json")
    return [json.loads(file.read_text())["supervisor_pid"] for file in files]


class Worker:
    """One process of the fleet and the conversation with it."""

    def __init__(self, there: World) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet_worker", str(EACH)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            cwd=ROOT, env={**there.environment, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        )  # fmt: skip

    def go(self) -> None:
        """Tell it to begin its next step."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")

    def answer(self) -> list[int]:
        """Return the numbers on its next line."""
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if not words:
            raise RuntimeError("a process of the fleet ended early")
        return [int(word) for word in words[1:]]

    def end(self) -> None:
        """Wait for it to end."""
        self._process.communicate(timeout=120)


def step(workers: list[Worker]) -> tuple[float, int, int]:
    """Let all go at once; return (seconds until the last one is done, successes, failures)."""
    started = time.perf_counter()
    for worker in workers:
        worker.go()
    answers = [worker.answer() for worker in workers]
    seconds = time.perf_counter() - started
    return seconds, sum(a[0] for a in answers), sum(a[1] for a in answers)


def run() -> Report:
    """Start, use and end the fleet."""
    report = Report("fleet", f"{PROCESSES * EACH} sandboxes at once from {PROCESSES} processes")
    with world() as there:
        workers = [Worker(there) for _ in range(PROCESSES)]
        for worker in workers:
            worker.answer()
        seconds, started, failed = step(workers)
        time.sleep(IDLE)
        memory = sorted(private_memory(pid) for pid in supervisors(there))
        used_seconds, used, unused = step(workers)
        ended = time.perf_counter()
        for worker in workers:
            worker.go()
        for worker in workers:
            worker.end()
        ended = time.perf_counter() - ended
    report.figures += [
        ("started", float(started), "sandboxes"),
        ("failed to start", float(failed), "sandboxes"),
        ("rate of starts", started / seconds, "per second"),
        ("a command in each: rate", used / used_seconds, "per second"),
        ("rate of ends", started / ended, "per second"),
    ]
    if memory:
        report.figures.append(("private memory, median", memory[len(memory) // 2] / 2**20, "MiB"))
        report.figures.append(("private memory, largest", memory[-1] / 2**20, "MiB"))
        report.goal("private memory of an idle supervisor", memory[-1] / 2**20, 1.0, "MiB")
    report.goal("failures", float(failed + unused), 0.0, "")
    return report
