"""An engine of the benchmark's own: roots, control group and image that nobody else uses."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from knarr import Engine
from knarr.config import Settings
from tests.support import busybox, leftovers

from .harness import BUILD, run_folder


@dataclass(frozen=True)
class World:
    """An engine, its settings, and the environment in which a command uses the same."""

    engine: Engine
    settings: Settings

    @property
    def environment(self) -> dict[str, str]:
        """The process environment for ``knarr`` commands in this world."""
        return {
            **os.environ,
            "KNARR_ROOT": self.settings.data_root,
            "KNARR_RUN_ROOT": self.settings.run_root,
            "KNARR_CGROUP_PARENT": self.settings.cgroup_parent,
        }

    @property
    def command(self) -> str:
        """Path of the ``knarr`` command that belongs to this interpreter."""
        beside = Path(sys.executable).parent / "knarr"
        found = str(beside) if beside.exists() else shutil.which("knarr")
        if found is None:
            raise FileNotFoundError("knarr is not installed: sh tools/ensure bench")
        return found


@contextmanager
def world() -> Iterator[World]:
    """Make the world with busybox in it; remove its containers, processes and files at the end."""
    data_root = BUILD / f"data-{os.getpid()}"
    settings = Settings(
        data_root=str(data_root),
        run_root=str(run_folder() / f"knarr-bench-{os.getpid()}"),
        cgroup_parent=f"/knarr-bench-{os.getpid()}",
    )
    archive = BUILD / f"busybox-{os.getpid()}.tar"
    BUILD.mkdir(parents=True, exist_ok=True)
    busybox.docker_archive(archive)
    try:
        with Engine(settings) as engine:
            engine.images.load(str(archive))
            try:
                yield World(engine, settings)
            finally:
                for container in engine.containers.list(all=True):
                    container.remove(force=True)
    finally:
        for name in ("command.sock", "launcher.sock"):
            leftovers.end_server(f"{settings.run_root}/{name}")
        leftovers.settle(lambda: leftovers.processes(settings.run_root))
        leftovers.remove_cgroups(settings.cgroup_parent)
        archive.unlink(missing_ok=True)
        shutil.rmtree(data_root, ignore_errors=True)
        shutil.rmtree(settings.run_root, ignore_errors=True)
