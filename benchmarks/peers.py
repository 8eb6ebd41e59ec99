"""Debian's podman, crun and runc, each started the way it works on this machine.

crun refuses hybrid control groups (v1 controllers beside a mounted v2 tree).
The peers therefore run in a mount namespace of their own, in which the v2 tree
of a hybrid machine is covered; the host's mounts stay as they are. On a pure
v2 machine nothing is covered. podman sets limits that a caller without
CAP_SYS_RESOURCE may not raise, so it is told lower ones.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from knarr.kernel import process
from tests.support import leftovers
from tests.support.waiting import wait_until

from .harness import BUILD, Contestant, busybox_tree, run_folder

IMAGE = "localhost/busybox:bench"

# Runs in the private mount namespace. A line in: words and variables; out: seconds and status.
HELPER = """
import json, os, sys, time
null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
for line in sys.stdin:
    words, variables = json.loads(line)
    environment = {**os.environ, **variables}
    started = time.perf_counter()
    pid = os.posix_spawnp(words[0], words, environment, file_actions=null)
    status = os.waitpid(pid, 0)[1]
    print(time.perf_counter() - started, status, flush=True)
"""


class Peers:
    """A helper process in the private mount namespace; a context manager."""

    def __init__(self) -> None:
        hybrid = Path("/sys/fs/cgroup/unified").is_dir()
        cover = "mount -t tmpfs cover /sys/fs/cgroup/unified && " if hybrid else ""
        script = f'{cover}exec python3 -c "$0"'
        self._helper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, HELPER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        # podman keeps the place of its run root in its data root, so both are new
        self._podman_root = BUILD / f"podman-{os.getpid()}"
        self._podman_run = run_folder() / f"knarr-bench-podman-{os.getpid()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._helper.stdin is not None
        self._helper.stdin.close()
        self._helper.wait(10)
        # What conmon starts when a container ends still writes there.
        leftovers.settle(lambda: leftovers.processes(str(self._podman_root)))
        for folder in (self._podman_root, self._podman_run):
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, words: list[str], variables: dict[str, str] | None = None) -> float:
        """Run a command in the namespace; return its seconds. Raises RuntimeError on failure."""
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        self._helper.stdin.write(json.dumps([words, variables or {}]) + "\n")
        answer = self._helper.stdout.readline().split()
        if len(answer) != 2 or answer[1] != "0":
            raise RuntimeError(f"{' '.join(words)}: {answer}")
        return float(answer[0])

    def podman(self, *words: str) -> list[str]:
        """Return a podman command line with storage of its own below build/bench."""
        return [
            "podman", "--root", str(self._podman_root), "--runroot", str(self._podman_run),
            "--cgroup-manager", "cgroupfs", "--runtime", "crun", "--log-level", "error", *words,
        ]  # fmt: skip

    def prepare_podman(self) -> Contestant:
        """Import the busybox tree into podman; return ``podman run --rm --network none``."""
        self.run(self.podman("import", "--quiet", str(busybox_archive()), IMAGE))
        words = self.podman("run", "--rm", *ulimits(), "--network", "none", IMAGE, "/bin/true")
        return lambda: self.run(words)

    def remove_all(self) -> None:
        """Remove all of podman's containers."""
        self.run(self.podman("rm", "--force", "--all", "--time", "0"))

    def bundle(self, runtime: str) -> Contestant:
        """Return ``RUNTIME run`` of a bundle with the default spec and ``true`` as its command."""
        folder = make_bundle(runtime, runtime)
        words = [runtime, "run", "--bundle", str(folder), _name(runtime)]
        return lambda: self.run(words)

    def life(
        self, runtime: str, folder: Path, variables: dict[str, str] | None = None
    ) -> Contestant:
        """Return ``create``, ``start`` and ``delete`` as engines call them, one after the other.

        What passes between ``start`` and the program's end does not count.
        """
        name, pid_file = _name(runtime), folder / f"pid-{os.getpid()}"

        def act() -> float:
            words = [runtime, "create", "--bundle", str(folder), "--pid-file", str(pid_file), name]
            seconds = self.run(words, variables) + self.run([runtime, "start", name], variables)
            pid = int(pid_file.read_text())
            wait_until(lambda: _has_ended(pid))
            return seconds + self.run([runtime, "delete", "--force", name], variables)

        return act

    @contextmanager
    def oci_server(self, program: str) -> Iterator[dict[str, str]]:
        """Have a server for ``knarr-oci`` in the namespace; yields what tells the command of it."""
        folder = run_folder() / f"knarr-bench-oci-{os.getpid()}"
        variables = {"KNARR_OCI_SERVER": str(folder)}
        self.run(["sh", "-c", f"{program} server 2>/dev/null &"], variables)
        wait_until((folder / "command.sock").exists)
        try:
            yield variables
        finally:
            os.kill(int((folder / "command.lock").read_text()), signal.SIGTERM)
            wait_until(lambda: not (folder / "command.sock").exists())
            shutil.rmtree(folder)


def _name(runtime: str) -> str:
    return f"knarr-bench-{Path(runtime).name}-{os.getpid()}"


def make_bundle(runtime: str, spec: str) -> Path:
    """Return a bundle of ``true`` for a runtime, with the configuration that ``spec`` writes.

    Raises FileNotFoundError when one of them is not installed.
    """
    for each in (runtime, spec):
        if shutil.which(each) is None:
            raise FileNotFoundError(f"{each} is not installed")
    folder = BUILD / f"bundle-{Path(runtime).name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run([spec, "spec", "--bundle", folder], check=True)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    config["root"] = {"path": str(busybox_tree()), "readonly": True}
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    config["process"].pop("rlimits", None)
    config_file.write_text(json.dumps(config))
    return folder


def _has_ended(pid: int) -> bool:
    """Return whether a process has ended; that of nobody's child is reaped by whoever got it."""
    try:
        return process.stat_fields(pid)[0] == b"Z"
    except OSError:
        return True


def ulimits() -> list[str]:
    """Return podman options for limits below this process's own, so that nothing is raised."""
    options = []
    for name, which in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(which)[1]
        limit = 1024 if hard == resource.RLIM_INFINITY else min(hard, 1024)
        options += ["--ulimit", f"{name}={limit}:{limit}"]
    return options


def busybox_archive() -> Path:
    """Return a tar of the busybox tree, for peers to import."""
    archive = BUILD / "busybox.tar"
    subprocess.run(["tar", "-C", busybox_tree(), "-cf", archive, "."], check=True)
    return archive
