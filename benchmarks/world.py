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
            "KNARR_STORAGE_DRIVER": self.settings.storage_driver,
            "KNARR_DEFAULT_NETWORK": self.settings.default_network,
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
def world(storage_driver: str = "auto") -> Iterator[World]:
    """Make the world with busybox in it; remove its containers, processes and files at the end."""
    name = f"{os.getpid()}-{storage_driver}"
    data_root = BUILD / f"data-{name}"
    settings = Settings(
        default_network="none",
        data_root=str(data_root),
        run_root=str(run_folder() / f"knarr-bench-{name}"),
        cgroup_parent=f"/knarr-bench-{name}",
        storage_driver=storage_driver,
    )
    archive = BUILD / f"busybox-{name}.tar"
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
                engine.driver.cleanup()  # the mounts of layers
    finally:
        for name in ("command.sock", "launcher.sock"):
            leftovers.end_server(f"{settings.run_root}/{name}")
        leftovers.end_resolver(settings.run_root)
        leftovers.settle(lambda: leftovers.processes(settings.run_root))
        leftovers.remove_cgroups(settings.cgroup_parent)
        archive.unlink(missing_ok=True)
        shutil.rmtree(data_root, ignore_errors=True)
        shutil.rmtree(settings.run_root, ignore_errors=True)
