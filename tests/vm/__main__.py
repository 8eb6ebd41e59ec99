"""Command line: ``python -m tests.vm matrix`` or ``python -m tests.vm run SCRIPT``.

Exit status: that of the first job that failed; 99 when no machine could be had;
124 when a job ran out of time.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from . import image, kernels
from .jobs import JOBS, Job
from .machine import Machine, PowerLoss
from .mirror import MachineError, debian_mirror

NO_MACHINE = 99
TIMED_OUT = 124


def cache_folder() -> Path:
    """Return the folder where kernels and images are kept, made when missing."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "knarr-vm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(data: bytes) -> None:
    """Print what a job says at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def run_job(job: Job, kernel_name: str, source: Path) -> int:
    """Run all boots of a job on one machine; return the first status that is not 0."""
    cache = cache_folder()
    mirror = debian_mirror()
    kernel = kernels.fetch(kernel_name, cache, mirror)
    pristine = image.disk(kernel, cache, mirror)
    with Machine(kernel, pristine, source, job.memory) as machine:
        for number, script in enumerate(job.scripts, start=1):
            last = number == len(job.scripts)
            try:
                status = machine.boot(script, job.limit, write)
            except PowerLoss:
                if last:
                    raise MachineError(f"{script}: power loss without a boot after it") from None
                write(b"(power lost; the same disk boots again)\n")
                continue
            if status or last:
                return status
    return 0


def attempt(job: Job, kernel: str, source: Path) -> int:
    """Run a job, say how it ended and how long it took; return an exit status."""
    started = time.monotonic()
    write(f"\n--- {job.name} on kernel {kernel}\n".encode())
    try:
        status = run_job(job, kernel, source)
        end = "passed" if status == 0 else f"failed with status {status}"
    except TimeoutError as error:
        status, end = TIMED_OUT, str(error)
    except MachineError as error:
        status, end = NO_MACHINE, str(error)
    write(
        f"--- {job.name} on kernel {kernel}: {end} ({time.monotonic() - started:.0f} s)\n".encode()
    )
    return status


def main() -> int:
    """Parse the command line and run what it asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    matrix = commands.add_parser("matrix", help="named jobs on several kernels")
    matrix.add_argument("--kernels", default=" ".join(kernels.SUITE))
    matrix.add_argument("--jobs", default="smoke", help=" ".join(JOBS))
    single = commands.add_parser("run", help="any script, as root in /src")
    single.add_argument("--kernel", default="6.1")
    single.add_argument("--limit", type=float, default=900, help="seconds")
    single.add_argument("scripts", nargs="+", type=Path, help="one for each boot of the disk")
    arguments = parser.parse_args()
    # unwinds, so that QEMU and the disk copy go too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    source = Path(__file__).resolve().parents[2]
    if arguments.command == "run":
        job = Job("script", tuple(arguments.scripts), arguments.limit)
        return attempt(job, arguments.kernel, source)
    names = arguments.jobs.split()
    unknown = [name for name in names if name not in JOBS]
    if unknown:
        parser.error(f"no job {unknown[0]}: choose from {', '.join(JOBS)}")
    results = [
        attempt(JOBS[name], kernel, source)
        for kernel in arguments.kernels.split()
        for name in names
        if JOBS[name].fits(kernel)
    ]
    # a failed test says more than a machine that could not be had
    ranked = sorted(results, key=lambda status: (status in (NO_MACHINE, 0), status == 0))
    return ranked[0] if ranked else 0


if __name__ == "__main__":
    sys.exit(main())
