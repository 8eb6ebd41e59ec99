"""Debian's buildah, which drives a runtime itself: create, start, state, kill, delete."""

from __future__ import annotations

import contextlib
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
    pytest.mark.skipif(shutil.which("buildah") is None, reason="needs buildah"),
]


class Buildah:
    """buildah with storage of its own, and our runtime."""

    def __init__(self, oci: Oci, folder: Path) -> None:
        self.environment = os.environ | {
            "BUILDAH_ISOLATION": "oci", "BUILDAH_RUNTIME": str(oci.program),
        }  # fmt: skip
        self.head = [
            "buildah", "--root", str(folder / "root"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs",
        ]  # fmt: skip

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [*self.head, *words], env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, (words, done.returncode, done.stderr)
        return done.stdout + (done.stderr if status else "")

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command in the container ``box``."""
        return self("run", "--network", "none", *words, status=status)


@pytest.fixture
def buildah(oci: Oci) -> Iterator[Buildah]:
    folder = Path(tempfile.mkdtemp(prefix="kt-", dir="/var/tmp"))
    made = Buildah(oci, folder)
    made("from", "--pull-never", "--name", "box", "scratch")
    made("copy", "box", str(oci.rootfs), "/")
    yield made
    made("rm", "--all")
    made("rmi", "--all", "--force")
    shutil.rmtree(folder)


def test_buildah_runs_commands(buildah: Buildah, oci: Oci) -> None:
    assert buildah.run("box", "--", "echo", "hello") == "hello\n"
    # What the command did stays in the container.
    buildah.run("--user", "1000", "box", "--", "sh", "-c", "id -u >/tmp/user")
    assert buildah.run("box", "--", "cat", "/tmp/user") == "1000\n"
    buildah.run("box", "--", "sh", "-c", "exit 7", status=7)
    assert "executable file not found in $PATH" in buildah.run("box", "--", "nosuch", status=1)
    assert oci("list", "-q") == ""


def test_buildah_at_a_terminal(buildah: Buildah, oci: Oci) -> None:
    pid, master = pty.fork()
    if pid == 0:
        line = [*buildah.head, "run", "--network", "none", "--tty", "box", "--", "tty"]
        with contextlib.suppress(OSError):
            os.execvpe(line[0], line, buildah.environment)
        os._exit(127)
    said = read_all(master)
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    # buildah asks for ambient capabilities that are not inheritable, which is told there.
    assert said.endswith(b"/dev/pts/0\r\n"), said
    assert said.count(b"\n") <= 2
    assert oci("list", "-q") == ""


def test_buildah_that_is_interrupted_removes_its_container(buildah: Buildah, oci: Oci) -> None:
    line = [*buildah.head, "run", "--network", "none", "box", "--", "sleep", "1000"]
    with subprocess.Popen(line, env=buildah.environment, stdin=subprocess.DEVNULL) as process:
        wait_until(lambda: oci("list", "-q") != "")
        wait_until(lambda: "running" in oci("list"))
        process.terminate()
        process.wait(120)
    wait_until(lambda: oci("list", "-q") == "")


def test_buildah_builds(buildah: Buildah, oci: Oci, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(
        "FROM scratch\nCOPY . /\nRUN echo built >/made && mkdir /work\nWORKDIR /work\n"
        "USER 1000\nRUN pwd >/tmp/where; id -u >>/tmp/where\n"
    )
    buildah("build", "--network", "none", "--file", str(tmp_path / "Containerfile"),
            "--tag", "made", str(oci.rootfs))  # fmt: skip
    buildah("from", "--pull-never", "--name", "two", "made")
    assert buildah.run("two", "--", "cat", "/made", "/tmp/where") == "built\n/work\n1000\n"
