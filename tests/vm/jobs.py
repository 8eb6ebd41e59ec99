"""What runs inside the machines, by name. The scripts are in ``jobs/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "jobs"


@dataclass(frozen=True)
class Job:
    """Scripts for consecutive boots of one disk.

    limit: seconds for each boot. kernels: on which it says something; none means all.
    """

    name: str
    scripts: tuple[Path, ...]
    limit: float
    memory: int = 3072
    kernels: frozenset[str] = frozenset()

    def fits(self, kernel: str) -> bool:
        """Return whether the job has anything to say about that kernel."""
        return not self.kernels or kernel in self.kernels


def _job(name: str, limit: float, *scripts: str, kernels: frozenset[str] = frozenset()) -> Job:
    return Job(name, tuple(FOLDER / script for script in scripts), limit, kernels=kernels)


# The machine is Debian 12: README's promise is about that with the kernel it comes with.
ITS_OWN = frozenset({"6.1"})

JOBS = {
    job.name: job
    for job in (
        # a few minutes, for CI: the command, limits, an OOM kill, devices, then some of the suite
        _job("smoke", 600, "smoke.sh"),
        # every test marked vm
        _job("suite", 5400, "suite.sh"),
        # every test that needs a real kernel
        _job("long", 10800, "long.sh"),
        # containers run, the plug is pulled, the disk boots again, recover
        _job("power-loss", 600, "before-power-loss.sh", "after-power-loss.sh"),
        # README's two commands where nothing is installed
        _job("bare", 5400, "bare.sh", kernels=ITS_OWN),
    )
}
