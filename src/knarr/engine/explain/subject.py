"""The container that is explained, and what several parts want to know of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState


@dataclass(frozen=True)
class Subject:
    """One container in the state that it was found in. spec: its OCI spec, {} without one."""

    engine: Engine
    record: ContainerRecord
    paths: Paths
    state: ContainerState
    spec: dict[str, Any]

    @property
    def config(self) -> ContainerConfig:
        """The configuration it was created with."""
        return self.record.config

    @property
    def running(self) -> bool:
        """Whether there is a process to look at, paused or not."""
        return self.state.running

    @property
    def linux(self) -> dict[str, Any]:
        """``linux`` of the spec."""
        return self.spec.get("linux") or {}

    @property
    def settings(self) -> dict[str, Any]:
        """``process`` of the spec."""
        return self.spec.get("process") or {}

    def proc(self, name: str) -> str:
        """Return the path of a file of its first process in the host's procfs."""
        return f"/proc/{self.state.pid}/{name}"

    def read(self, name: str) -> str:
        """Return such a file. Raises FileNotFoundError, ProcessLookupError when it has ended."""
        with open(self.proc(name), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def link(self, name: str) -> str:
        """Return where such a link leads; empty where this process may not look."""
        try:
            return os.readlink(self.proc(name))
        except PermissionError:
            return ""  # without CAP_SYS_PTRACE, as in a container that runs containers

    @cached_property
    def status(self) -> dict[str, str]:
        """The lines of proc_pid_status(5), {} when it does not run."""
        if not self.running:
            return {}
        pairs = (line.partition(":") for line in self.read("status").splitlines())
        return {name: value.strip() for name, _, value in pairs}

    def inode(self, kind: str, pid: int | str | None = None) -> int:
        """Return the inode of a namespace (a name in /proc/PID/ns), by default of its own."""
        return os.stat(f"/proc/{self.state.pid if pid is None else pid}/ns/{kind}").st_ino
