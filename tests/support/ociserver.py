"""``knarr-oci server`` of an installation, and callers whose commands its workers carry out.

Whether they do is told by what the client executes otherwise: a program that ends with UNSERVED.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.waiting import PATIENCE, wait_until

UNSERVED = 97
# What a program has of whoever started it.
LOOK = """
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/timerslack_ns /proc/self/cgroup
cat /proc/self/coredump_filter /proc/self/loginuid; cut -d' ' -f 18,19,40,41 /proc/self/stat
grep -E '^(Cap|Sig[^QP]|Uid|Gid|Groups|NoNew|Seccomp|Cpus|Mems|Spec|Umask|THP)' /proc/self/status
for fd in /proc/self/fd/[0-9]; do echo $fd; done
umask; pwd; env | sort"""


def need_clones() -> None:
    """Skip the test where a file cannot be executed from a read-only clone of its mount."""
    major, minor = (int(number) for number in platform.release().split(".")[:2])
    if (major, minor) < (5, 12):
        pytest.skip("this kernel has no mount_setattr: thin commands make no container's process")


class Server:
    """A server in a directory of its own.

    prefix: of the installation. root: where the states of containers are. program: what the
    client executes where nobody serves it.
    """

    def __init__(self, prefix: Path, directory: Path, root: Path) -> None:
        self.script = prefix / "bin" / "knarr-oci"
        self.directory = directory
        self.root = root
        self.environment = {**os.environ, "KNARR_OCI_SERVER": str(directory)}
        self.started: list[subprocess.Popen[bytes]] = []
        client = prefix / "libexec" / "knarr" / f"client-{platform.machine()}"
        if not client.exists():
            pytest.skip("no native client for this machine")
        program = prefix / "unserved"
        program.write_text(f"#!/bin/sh\nexit {UNSERVED}\n")
        program.chmod(0o755)
        python = str(prefix / "bin" / "python3")
        # As the script has it: a container's process is of a file that nobody can write to.
        clone = str(client.with_name(f"readonly-{platform.machine()}"))
        self._client = [clone, str(client), str(client), "--runtime", str(directory)]
        self._client += [str(program), python, python, "-I", "-S", "-E", str(self.script)]

    def start(
        self, *words: str, before: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a server, whether there is one or not; options as for Popen.

        before: words that lead to it.
        """
        line = [*before, str(self.script), "server", *words]
        started = subprocess.Popen(line, env=self.environment, **options)
        self.started.append(started)
        return started

    def up(self, *before: str, **options: Any) -> subprocess.Popen[bytes]:
        """Return a server that listens; as ``start``."""
        started = self.start(before=before, stdin=subprocess.DEVNULL, **options)
        wait_until(lambda: self.socket.exists() or started.poll() is not None)
        assert started.poll() is None
        return started

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / "command.sock"

    def workers(self, *, waiting: bool = False) -> list[int]:
        """Return the workers that carry a command out, or those that wait for one."""
        found = (pid for one in self.started for pid in processes.children(one.pid))
        return [pid for pid in found if (processes.name(pid) == "knarr-oci") is not waiting]

    def two_wait(self) -> list[int]:
        """Return the workers that wait once there are as many as there are to be."""
        wait_until(lambda: len(self.workers(waiting=True)) == 2)
        return self.workers(waiting=True)

    def words(self, *words: str) -> list[str]:
        """Return the words of a caller that does nothing itself."""
        return [*self._client, "--root", str(self.root), *words]

    def call(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Have a command carried out; options as for Popen, streams are pipes."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        chosen = {**pipes, "env": self.environment, **options}
        started: subprocess.Popen[bytes] = subprocess.Popen(self.words(*words), **chosen)
        return started

    def __call__(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """Return status, output and error output of a command that is carried out."""
        said = options.pop("input", b"")
        with self.call(*words, **options) as process:
            out, err = process.communicate(said, PATIENCE)
        return process.returncode, out.decode(), err.decode()

    def plain(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """Return the same of a command that was called with no server there."""
        environment = {**options.pop("env", self.environment), "KNARR_SERVER": "off"}
        done = subprocess.run(
            [str(self.script), "--root", str(self.root), *words],
            env=environment, capture_output=True, check=False, timeout=PATIENCE, **options,
        )  # fmt: skip
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def close(self) -> None:
        """End what was started."""
        for started in self.started:
            started.terminate()
            started.wait(PATIENCE)
