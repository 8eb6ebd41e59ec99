"""knarr as it is installed: python, package, scripts and clients in a directory of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

from tests.support.waiting import PATIENCE, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]


class Installation:
    """A virtual environment with the thin command, and one run root to use it with."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.program = str(folder / "bin" / "knarr")
        self.environment = environment
        self.run_root = Path(environment["KNARR_RUN_ROOT"])
        self.servers: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """Start the command; options as for Popen, streams are pipes."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        chosen = {**pipes, "env": self.environment, **options}
        return subprocess.Popen([self.program, *words], **chosen)  # type: ignore[call-overload,no-any-return]

    def run(self, *words: str, input: bytes = b"", **environment: str) -> tuple[int, bytes, bytes]:
        """Run the command; return exit code (-n: signal n), stdout and stderr."""
        with self.start(*words, env={**self.environment, **environment}) as process:
            out, err = process.communicate(input, PATIENCE)
        return process.returncode, out, err

    def server(self) -> int:
        """Return the pid of a command server that listens, starting one when there is none."""
        if not self.listens():
            self.start_server()
        wait_until(self.listens)
        return self.server_pid()

    def start_server(self) -> subprocess.Popen[bytes]:
        """Start a command server, whether there is one or not."""
        python = str(self.folder / "bin" / "python3")
        started = subprocess.Popen(
            [python, "-I", "-m", "knarr.cli.server", str(self.run_root)],
            env=self.environment,
            start_new_session=True,
        )
        self.servers.append(started)
        return started

    def server_pid(self) -> int:
        """Return the pid that the server wrote into its lock."""
        return int((self.run_root / "command.lock").read_text().split("\n")[0])

    def listens(self) -> bool:
        """Return whether a server's socket is there."""
        return (self.run_root / "command.sock").exists()

    def workers(self, name: str = "knarr") -> list[int]:
        """Return the children of the server that carry out a command."""
        server = str(self.server_pid())
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except OSError:
                continue
            comm, _, rest = text.partition("(")[2].rpartition(")")
            if comm == name and rest.split()[1] == server:
                found.append(int(stat.parent.name))
        return found


def make_installation(folder: Path, source: Path) -> None:
    """Make a virtual environment in ``folder`` that imports knarr from ``source``."""
    venv.create(folder, symlinks=True)
    paths = [str(source), *(path for path in sys.path if path.endswith("site-packages"))]
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "tree.pth").write_text("\n".join(paths) + "\n")
    for script in ("knarr", "knarr-oci"):
        shutil.copy(REPOSITORY / "scripts" / script, folder / "bin" / script)
    clients = folder / "libexec" / "knarr"
    clients.mkdir(parents=True)
    for client in (REPOSITORY / "client").rglob("*-*"):
        shutil.copy(client, clients)


def end_server(made: Installation) -> None:
    """End the server of an installation, if one runs."""
    for started in made.servers:
        started.kill()
        started.wait(PATIENCE)
    try:
        handle = os.pidfd_open(made.server_pid())
    except (OSError, ValueError):
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        assert select.select([handle], [], [], PATIENCE)[0], "the server does not end"
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
