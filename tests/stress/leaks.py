"""What must not grow: descriptors and memory of who stays, and what a removed container had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support import leftovers

from .deaths import ours

if TYPE_CHECKING:
    from knarr import Engine

STAYING = ("launcher", "template", "server")


class Measured(NamedTuple):
    """One process: open descriptors, KiB of memory that is no file's, shared by a fork or not."""

    role: str
    descriptors: int
    memory: int


def measure(run_root: str) -> dict[int, Measured]:
    """Return the processes that stay while containers come and go, by pid."""
    found = {}
    for pid, role in ours(run_root):
        if role in STAYING:
            try:
                found[pid] = Measured(role, len(os.listdir(f"/proc/{pid}/fd")), _memory(pid))
            except OSError:
                continue  # it has ended: a waiting worker, most likely
    return found


def _memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def growth(before: dict[int, Measured], after: dict[int, Measured], memory: int) -> list[str]:
    """Return which processes have more descriptors, or ``memory`` KiB more, than before."""
    found = []
    for pid, now in after.items():
        then = before.get(pid)
        if then is None or then.role != now.role:
            continue
        # A template that has learned has its successor's, once; a server that was between two
        # waiting workers had one pipe less. What leaks grows with every command.
        if now.descriptors > then.descriptors + (now.role in ("template", "server")):
            names = [_target(pid, fd) for fd in os.listdir(f"/proc/{pid}/fd")]
            found.append(f"{now.role}: {then.descriptors} descriptors, then {sorted(names)}")
        if now.memory > then.memory + memory:
            found.append(f"{now.role}: {then.memory} KiB, then {now.memory} KiB")
    return found


def _target(pid: int, descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return "closed"


def supervisors(run_root: str) -> list[str]:
    """Return what stands out among supervisors of running containers: more descriptors than most.

    A terminal, standard input or somebody attached makes one or two more.
    """
    counted = {}
    for pid, role in ours(run_root):
        if role == "watch":
            try:
                counted[pid] = os.listdir(f"/proc/{pid}/fd")
            except OSError:
                continue
    if not counted:
        return []
    usual = sorted(len(fds) for fds in counted.values())[len(counted) // 2]
    return [
        f"supervisor {pid}: {sorted(_target(pid, fd) for fd in fds)}"
        for pid, fds in counted.items()
        if len(fds) > usual + 2
    ]


def rest(engine: Engine) -> list[str]:
    """Return what is left of containers when all were removed, anywhere."""
    settings = engine.settings
    found = [f"row {row.name} {row.state}" for row in engine.table.all()]
    found += [f"snapshot {key}" for key in engine.driver.list_keys()]
    for folder in (
        f"{settings.run_root}/containers", f"{settings.run_root}/locks",
        f"{settings.data_root}/containers", f"{settings.data_root}/trash",
    ):  # fmt: skip
        if os.path.isdir(folder):
            found += [f"{folder}/{name}" for name in os.listdir(folder)]
    found += [f"mount {path}" for path in leftovers.mounts(settings.data_root)]
    found += [f"mount {path}" for path in leftovers.mounts(settings.run_root)]
    for top in leftovers.cgroups(settings.cgroup_parent):
        found += [f"cgroup {path}" for path in Path(top).iterdir() if path.is_dir()]
    return found
