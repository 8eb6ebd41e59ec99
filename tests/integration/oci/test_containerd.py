"""Debian's containerd: its shim for runc, pointed at another program by ``--runc-binary``."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Oci
from tests.support.terminals import read_all
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not all(map(shutil.which, ("containerd", "ctr", "containerd-shim-runc-v2"))),
        reason="needs containerd (Debian's package containerd)",
    ),
]
CONFIGURATION = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{folder}/s"
[ttrpc]
  address = "{folder}/t"
"""


class Containerd:
    """A containerd of the test's own, and its client."""

    def __init__(self, oci: Oci, folder: Path) -> None:
        self.oci = oci
        self.namespace = f"{oci.prefix}ctr"  # which is its containers' group, too
        self.folder = folder
        (folder / "config.toml").write_text(CONFIGURATION.format(folder=folder))
        self.log = (folder / "log").open("w")
        self.daemon = subprocess.Popen(
            ["containerd", "--config", str(folder / "config.toml")],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        wait_until(lambda: "successfully booted" in (folder / "log").read_text())
        # The shim passes a root of its own, by which it finds its containers again.
        self.program = folder / "knarr-oci"
        self.program.write_text(oci.program.read_text().replace(f"--root {oci.root}", ""))
        self.program.chmod(0o755)
        self.root = folder / "runc"

    def command(self, *words: str) -> list[str]:
        return ["ctr", "--address", str(self.folder / "s"), "--namespace", self.namespace, *words]

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, (words, done.returncode, done.stderr)
        return done.stdout + (done.stderr if status else "")

    def run(self, *flags: str) -> tuple[str, ...]:
        """The words that run a container whose root is the tests' tree."""
        runtime = ("--runc-binary", str(self.program), "--runc-root", str(self.root))
        return ("run", *runtime, *flags, "--rootfs", str(self.oci.rootfs))

    def states(self) -> list[str]:
        listed = subprocess.check_output(
            [str(self.program), "--root", str(self.root / self.namespace), "list", "-f", "json"]
        )
        return [one["status"] for one in json.loads(listed) or ()]

    def status(self, name: str) -> str:
        lines = [line.split() for line in self("task", "ls").splitlines()]
        return next((line[2] for line in lines if line[0] == name), "")

    def at_terminal(self, *words: str) -> tuple[int, str]:
        """Run a client at a terminal; return its status and what it showed."""
        pid, master = pty.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                words = tuple(self.command(*words))
                os.execvp(words[0], words)
            os._exit(127)
        said = read_all(master)
        os.close(master)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()

    def close(self) -> None:
        for name in self("task", "ls", "--quiet").split():
            self("task", "rm", "--force", name)
        for name in self("container", "ls", "--quiet").split():
            self("container", "rm", name)
        assert self.states() == []
        for group in self.oci.groups():
            os.rmdir(group)
        self.daemon.terminate()
        self.daemon.wait(60)
        self.log.close()


@pytest.fixture
def containerd(oci: Oci) -> Iterator[Containerd]:
    folder = Path(tempfile.mkdtemp(prefix="kt-", dir="/var/tmp"))  # sockets want it short
    made = Containerd(oci, folder)
    try:
        yield made
    finally:
        try:
            made.close()
        finally:
            made.daemon.kill()
            made.daemon.wait(60)
    shutil.rmtree(folder)


def test_containerd_runs_containers(containerd: Containerd, oci: Oci) -> None:
    name = oci.name("run")
    run = containerd.run("--rm")
    assert containerd(*run, name, "echo", "hello") == "hello\n"
    containerd(*run, name, "sh", "-c", "exit 7", status=7)
    assert "executable file not found in $PATH" in containerd(*run, name, "nosuch", status=1)
    assert containerd.states() == []


def test_life_by_containerd(containerd: Containerd, oci: Oci) -> None:
    name = oci.name("life")
    containerd(*containerd.run("--detach", "--memory-limit", "67108864"), name, "sleep", "1000")
    assert containerd.status(name) == "RUNNING"
    assert len(containerd("task", "ps", name).splitlines()) == 2
    assert "67108864" in containerd("task", "metrics", name)
    containerd("task", "pause", name)
    assert (containerd.status(name), containerd.states()) == ("PAUSED", ["paused"])
    containerd("task", "resume", name)
    assert (containerd.status(name), containerd.states()) == ("RUNNING", ["running"])
    containerd("task", "kill", "--signal", "KILL", name)
    wait_until(lambda: containerd.status(name) == "STOPPED")
    containerd("task", "rm", name)
    assert containerd.states() == []
    containerd("container", "rm", name)


def test_containerd_executes_commands(containerd: Containerd, oci: Oci) -> None:
    name = oci.name("exec")
    containerd(*containerd.run("--detach"), name, "sleep", "1000")
    enter = ("task", "exec", "--exec-id")
    assert containerd(*enter, "a", name, "echo", "inside") == "inside\n"
    containerd(*enter, "b", name, "sh", "-c", "exit 5", status=5)
    assert containerd(*enter, "c", "--user", "1000:1000", name, "id", "-u") == "1000\n"
    assert "executable file not found" in containerd(*enter, "d", name, "nosuch", status=1)
    status, said = containerd.at_terminal(*enter, "e", "--tty", name, "sh", "-c", "tty; exit 4")
    assert (status, "/dev/pts/" in said) == (4, True), said


def test_terminal_by_containerd(containerd: Containerd, oci: Oci) -> None:
    run = containerd.run("--rm", "--tty")
    status, said = containerd.at_terminal(*run, oci.name("tty"), "sh", "-c", "tty; exit 3")
    assert (status, "/dev/pts/0" in said) == (3, True), said


def test_containerd_removes_what_runs(containerd: Containerd, oci: Oci) -> None:
    """Also what is paused."""
    name = oci.name("force")
    containerd(*containerd.run("--detach"), name, "sleep", "1000")
    containerd("task", "pause", name)
    containerd("task", "rm", "--force", name)
    containerd("container", "rm", name)
    assert containerd.states() == []
