"""Bundles of busybox, and ``knarr-oci`` as callers start it: a file with nothing but a path."""

from __future__ import annotations

import io
import json
import os
import resource
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import busybox

SOURCES = Path(__file__).resolve().parents[2] / "src"
_SCRIPT = """#!/bin/sh
exec {before} {python} -I -S -E -B -c 'import sys; sys.path.append("{sources}"); \
from knarr.oci.entry import main; main(sys.argv[1:])' {flags} "$@"
"""


def tree(target: Path) -> None:
    """Unpack busybox into a directory."""
    with tarfile.open(fileobj=io.BytesIO(busybox.layer())) as tar:
        # As an attribute: Debian 12's Python has no such argument yet, later ones ask for one.
        tar.extraction_filter = lambda member, _path: member
        tar.extractall(target)


class Oci:
    """The command with a ``--root`` of its own; every container is removed by ``close``."""

    before = ""  # who runs it
    python = sys.executable
    sources = SOURCES

    def __init__(self, folder: Path, rootfs: Path) -> None:
        self.folder = folder
        self.rootfs = rootfs
        self.root = folder / "states"
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.program = folder / "knarr-oci"
        self.always()
        self.program.chmod(0o755)
        self.prefix = f"t{secrets.token_hex(4)}-"

    def always(self, *flags: str) -> None:
        """Have these flags before every command, after ``--root``."""
        said = " ".join(("--root", str(self.root), *flags))
        self.program.write_text(self.script(self.before, said))

    def script(self, before: str, flags: str) -> str:
        """Return the text of a command that ``before`` runs, with these flags."""
        if installed := os.environ.get("KNARR_TEST_OCI"):
            # Engines hand on no more of an environment than they have to.
            server = os.environ.get("KNARR_OCI_SERVER", "/run/knarr-oci/@server")
            line = f'exec {before} env KNARR_OCI_SERVER={server} {installed} {flags} "$@"'
            return f"#!/bin/sh\n{line}\n"
        return _SCRIPT.format(before=before, python=self.python, sources=self.sources, flags=flags)

    def name(self, name: str) -> str:
        """Return a name that no other test on this machine has."""
        return self.prefix + name

    def __call__(self, *words: str, check: bool = True, status: int | None = -1) -> str:
        """Run a command; return its standard output, both outputs if it must not succeed.

        They go to files: a container keeps those that create had.
        status: the one that it has to have, None for any; both outputs are returned.
        """
        out, err = (self.folder / f"{name}-{secrets.token_hex(4)}" for name in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(
                [str(self.program), *words],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                check=False,
                timeout=60,
            )
        if status != -1:
            assert status in (None, done.returncode), (words, out.read_text(), err.read_text())
            return out.read_text() + err.read_text()
        if check:
            assert done.returncode == 0, (words, done.returncode, err.read_text())
            return out.read_text()
        assert done.returncode != 0, (words, out.read_text())
        return out.read_text() + err.read_text()

    def _write(self, bundle: Path) -> None:
        """Write the configuration to begin with."""
        self("spec", "--bundle", str(bundle))

    def bundle(self, *args: str, **changes: Any) -> Path:
        """Return a new bundle for a command; changes: of the configuration's top level."""
        path = self.folder / f"bundle-{secrets.token_hex(4)}"
        path.mkdir()
        self._write(path)
        file = path / "config.json"
        config = json.loads(file.read_text())
        config["root"] = {"path": str(self.rootfs)}
        config["process"] |= {"terminal": False, "args": list(args), "rlimits": []}
        for key, value in changes.items():
            config[key] = config[key] | value if isinstance(config.get(key), dict) else value
        file.write_text(json.dumps(config))
        return path

    @staticmethod
    @contextmanager
    def file_limit(most: int) -> Iterator[None]:
        """Let commands have no more descriptors than this."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    def copy_root(self, target: Path) -> None:
        """Make a copy of the busybox tree that a test may change."""
        target.mkdir()
        subprocess.run(["cp", "-a", f"{self.rootfs}/.", str(target)], check=True)

    @staticmethod
    def change(bundle: Path, act: Callable[[dict[str, Any]], object]) -> None:
        """Change a bundle's configuration."""
        file = bundle / "config.json"
        config = json.loads(file.read_text())
        act(config)
        file.write_text(json.dumps(config))

    def state(self, name: str) -> dict[str, Any]:
        """Return a container's state."""
        found: dict[str, Any] = json.loads(self("state", name))
        return found

    def groups(self) -> list[str]:
        """Return the control groups of this test's containers that are there."""
        return [
            str(path)
            for pattern in ("*", "*/*")
            for path in Path("/sys/fs/cgroup").glob(f"{pattern}{self.prefix}*")
            if path.is_dir()
        ]

    def close(self) -> None:
        """Remove every container, and see that nothing is left of any."""
        for name in self("list", "-q").split():
            self("delete", "--force", name)
        assert [path.name for path in self.root.glob("[!@]*")] == []
        assert self.groups() == []
