"""``knarr-oci`` as an ordinary user calls it: what he can read is copied, the rest is his own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.bundles import SOURCES, Oci, tree

UID, GID = 54321, 54322
AS_USER = f"setpriv --reuid {UID} --regid {GID} --clear-groups"
# Who keeps namespaces for all commands of a test, and which of them these enter.
NESTED = {
    "nested": ("unshare --user --map-root-user", "--user"),
    "nested-mounts": (f"{AS_USER} unshare --user --map-root-user --mount", "--user --mount"),
}
SUBORDINATE = 700000  # of the user, where tests say what /etc/subuid is
_WITH_FILES = """#!/bin/sh
# In a mount namespace of its own: this user exists here only.
exec unshare --mount sh -c '
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/group /etc/group
mount --bind {folder}/subuid /etc/subuid
mount --bind {folder}/subgid /etc/subgid
exec {user} "$@"' sh "$@"
"""


class Users:
    """A folder, a tree of busybox and a copy of the sources that every user can read."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kt-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.rootfs = self.folder / "rootfs"
        self.rootfs.mkdir()
        tree(self.rootfs)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCES / "knarr", self.folder / "src/knarr", ignore=ignored)
        subprocess.run(["chmod", "-R", "a+rX", str(self.folder)], check=True)
        self.python = os.path.realpath(sys.executable)
        seen = subprocess.run(
            [*AS_USER.split(), self.python, "-I", "-S", "-E", "-c", ""], check=False
        )
        if seen.returncode:
            pytest.skip(f"{self.python} cannot be run by an ordinary user")

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)


class UserOci(Oci):
    """The command without root. before: ``AS_USER``, or a key of ``NESTED``."""

    def __init__(self, users: Users, before: str = AS_USER) -> None:
        folder = Path(tempfile.mkdtemp(dir=users.folder))
        self.before = before
        self.python = users.python
        self.sources = users.folder / "src"
        self.keeper: subprocess.Popen[bytes] | None = None
        self.ids = (UID, GID)
        if before in NESTED:
            make, enter = NESTED[before]
            self.keeper = _keep(make)
            self.before = f"nsenter --target {self.keeper.pid} {enter}"
            self.ids = (UID, GID) if AS_USER in make else (0, 0)
        folder.chmod(0o755)
        super().__init__(folder, users.rootfs)
        for path in (folder, self.root):
            os.chown(path, *self.ids)

    def close(self) -> None:
        """As ``Oci.close``, and let go of the namespaces."""
        super().close()
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.communicate()

    def _write(self, bundle: Path) -> None:
        """Write the configuration that a user can run."""
        os.chown(bundle, *self.ids)
        self("spec", "--rootless", "--bundle", str(bundle))

    def as_subordinate(self, uids: int = 65536, gids: int = 65536) -> None:
        """Give the user a name and that many subordinate ids (subuid(5)), for this command only."""
        for name, line in (
            ("passwd", f"root:x:0:0::/:/bin/sh\nkt:x:{UID}:{GID}::/:/bin/sh\n"),
            ("group", f"root:x:0:\nkt:x:{GID}:\n"),
            ("subuid", f"kt:{SUBORDINATE}:{uids}\n" if uids else ""),
            ("subgid", f"kt:{SUBORDINATE}:{gids}\n" if gids else ""),
        ):
            (self.folder / name).write_text(line)
        script = self.folder / "as-user"
        script.write_text(_WITH_FILES.format(folder=self.folder, user=self.before))
        script.chmod(0o755)
        self.before = str(script)
        self.always()


def _keep(make: str) -> subprocess.Popen[bytes]:
    """Return a process that is in new namespaces, by way of its first line."""
    words = [*make.split(), "sh", "-c", "echo; exec sleep 3600"]
    made = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert made.stdout is not None
    assert made.stdout.readline() == b"\n"
    return made


def mapping(*lines: tuple[int, int, int]) -> list[dict[str, int]]:
    """Return id mappings: first id inside, first id outside, how many."""
    return [
        {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in lines
    ]
