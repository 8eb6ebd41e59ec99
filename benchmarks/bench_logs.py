"""How fast may a container write while its output is kept?"""

from __future__ import annotations

import os
import subprocess
import time

from knarr.engine.model import ContainerConfig

from .harness import Report, busybox_tree
from .world import World, world

MEBIBYTES = 512


def kept_log(there: World, command: tuple[str, ...]) -> tuple[float, int]:
    """Run a detached container to its end; return (seconds, bytes in its log)."""
    config = ContainerConfig(image="busybox", command=command, network="none")
    started = time.perf_counter()
    container, _ = there.engine.containers.launch(config, attach=False)
    status = container.wait(300)
    seconds = time.perf_counter() - started
    if status.exit_code:
        raise RuntimeError(f"{command} ended with {status.exit_code}")
    size = os.stat(container.paths.log).st_size
    container.remove(force=True)
    return seconds, size


def run() -> Report:
    """Write large blocks and short lines into a container's log, and blocks into a plain pipe."""
    report = Report("logs", "Output of a container nobody watches")
    blocks = ("dd", "if=/dev/zero", "bs=64k", f"count={MEBIBYTES * 16}")
    lines = ("sh", "-c", "yes 'a line of a log, not long' | head -n 1000000")
    with world() as there:
        seconds, size = kept_log(there, blocks)
        line_seconds, line_size = kept_log(there, lines)
    program = busybox_tree() / "bin/busybox"
    started = time.perf_counter()
    pipe = f"{program} {' '.join(blocks)} 2>/dev/null | {program} cat >/dev/null"
    subprocess.run(["sh", "-c", pipe], check=True)
    plain = time.perf_counter() - started
    report.figures += [
        ("knarr, blocks of 64 KiB", MEBIBYTES / seconds, "MiB/s"),
        ("knarr, lines of 31 bytes", 1e6 * 31 / 2**20 / line_seconds, "MiB/s"),
        ("plain pipe into cat, blocks of 64 KiB", MEBIBYTES / plain, "MiB/s"),
        ("size of the log / bytes written, blocks", size / MEBIBYTES / 2**20, "x"),
        ("size of the log / bytes written, lines", line_size / 31e6, "x"),
    ]
    return report
