"""``knarr-oci exec`` in a container that does nothing by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.bundles import Oci


class Execs:
    """One running container, and commands in it."""

    def __init__(self, oci: Oci, name: str, **changes: Any) -> None:
        self.oci = oci
        self.name = oci.name(name)
        bundle = oci.bundle("sleep", "1000")
        file = bundle / "config.json"
        config = json.loads(file.read_text())
        for key, value in changes.items():
            config[key] |= value
        file.write_text(json.dumps(config))
        oci("create", "--bundle", str(bundle), self.name)
        self.pid: int = oci.state(self.name)["pid"]

    def start(self) -> Execs:
        """Let the container's own program run."""
        self.oci("start", self.name)
        return self

    def words(self, *words: str) -> list[str]:
        """Return a whole command line; words: flags, ``ID``, the command."""
        names = [self.name if word == "ID" else word for word in words]
        return [str(self.oci.program), "exec", *names]

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Carry a command line out, in the foreground."""
        options = {"stdin": subprocess.DEVNULL, "timeout": 60} | options
        line = self.words(*words)
        return subprocess.run(line, capture_output=True, text=True, check=False, **options)

    def __call__(self, *words: str, status: int = 0, **options: Any) -> str:
        """Return what it says: with another status than 0 on both streams."""
        done = self.run(*words, **options)
        assert done.returncode == status, (words, done)
        return done.stdout + (done.stderr if status else "")

    def detached(self, *words: str) -> int:
        """Have a command run in the background; returns its pid. words: as for ``words``."""
        file = self.oci.folder / "pid"
        line = self.words("--detach", "--pid-file", str(file), *words)
        subprocess.run(line, stdin=subprocess.DEVNULL, check=True, timeout=60)
        return int(file.read_text())

    def process(self, *args: str, status: int = 0, **fields: Any) -> str:
        """Return what a process object's command says."""
        return self("--process", str(self.file(*args, **fields)), "ID", status=status)

    def file(self, *args: str, **fields: Any) -> Path:
        """Return a file with a process object."""
        path = self.oci.folder / "process.json"
        path.write_text(json.dumps({"args": list(args), "cwd": "/", **fields}))
        return path


# An exec that stops when the command's process is in the container and may not go on yet.
_HALTED = """
import sys
from knarr.oci import main, protection
from knarr.runtime.waiting import Waiting
ready = Waiting.await_ready
def halt(process, look=None):
    ready(process, look)
    print("ready", flush=True)
    sys.stdin.readline()
Waiting.await_ready = halt
protection.be_read_only = lambda: None
main.main(sys.argv[1:])
"""


@contextmanager
def halted(box: Execs, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have an exec stand still inside the container for as long as the block runs."""
    line = [sys.executable, "-c", _HALTED, "--root", str(box.oci.root), *box.words(*words)[1:]]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        if process.poll() is None:
            process.stdin.write(b"\n")
        process.stdin.close()
        process.wait(60)


def user_namespace(oci: Oci, folder: Path) -> dict[str, Any]:
    """Return changes of a configuration: 2000 ids of its own, and a root that belongs to them."""
    root = folder / "root"
    subprocess.run(["cp", "-a", str(oci.rootfs), str(root)], check=True)
    subprocess.run(["chown", "-R", "100000:100000", str(root)], check=True)
    for parent in (folder, *folder.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o005)
    maps = [{"containerID": 0, "hostID": 100000, "size": 2000}]
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
    linux = {
        "uidMappings": maps,
        "gidMappings": maps,
        "namespaces": [{"type": kind} for kind in kinds],
    }
    return {"root": {"path": str(root)}, "linux": linux}
