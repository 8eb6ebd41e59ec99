"""What runs inside the machines, by name. The scripts are in ``jobs/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "jobs"


@dataclass(frozen=True)
class Job:
    """Scripts for consecutive boots of one disk; ``limit`` is seconds for each boot."""

    name: str
    scripts: tuple[Path, ...]
    limit: float
    memory: int = 3072


def _job(name: str, limit: float, *scripts: str) -> Job:
    return Job(name, tuple(FOLDER / script for script in scripts), limit)


JOBS = {
    job.name: job
    for job in (
        # a few minutes, for CI: the command, limits, an OOM kill, devices, then some of the suite
        _job("smoke", 480, "smoke.sh"),
        # every test marked vm
        _job("suite", 2400, "suite.sh"),
        # containers run, the plug is pulled, the disk boots again, recover
        _job("power-loss", 400, "before-power-loss.sh", "after-power-loss.sh"),
        # README's two commands where nothing is installed
        _job("bare", 3600, "bare.sh"),
    )
}
