"""The command as a user without rights: one line that says so, and nothing that is not true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.config import Settings
from tests.conftest import REPOSITORY
from tests.support import leftovers
from tests.support.waiting import PATIENCE

USER = 65534
HINT = b"(knarr needs root: run it with sudo)"


class User:
    """Somebody who is not root, with a copy of the package that he can read."""

    def __init__(self, folder: Path, python: str, environment: dict[str, str]) -> None:
        self.python = python
        self.folder = folder
        hidden = {**environment, "PYTHONPATH": str(folder / "src"), "KNARR_SERVER": "off"}
        self.environment = {**hidden, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}

    def run(self, *words: str) -> tuple[int, bytes, bytes]:
        """Run the command; return exit code, stdout and stderr."""
        done = subprocess.run(
            [self.python, "-m", "knarr.cli", *words], env=self.environment, cwd=self.folder,
            capture_output=True, user=USER, group=USER, extra_groups=(), timeout=PATIENCE,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def is_able(self) -> bool:
        """Return whether this Python runs for him, and is one that knarr runs on."""
        try:
            return self.run("--version")[0] == 0
        except PermissionError:
            return False


@pytest.fixture
def user(settings: Settings, environment: dict[str, str]) -> Iterator[User]:
    """A user who has data root and run root of his own."""
    folder = Path(settings.run_root).parent
    folder.chmod(0o755)
    shutil.copytree(
        REPOSITORY / "src" / "knarr", folder / "src" / "knarr",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    for root in (settings.data_root, settings.run_root):
        os.mkdir(root, 0o700)
        os.chown(root, USER, USER)
    # Python may be installed where only root can go.
    pythons = (os.path.realpath(sys.executable), "/usr/bin/python3")
    able = [one for one in (User(folder, path, environment) for path in pythons) if one.is_able()]
    if not able:
        pytest.skip("no Python that others than root can run")
    yield able[0]
    leftovers.end_server(f"{settings.run_root}/launcher.sock")
    for root in (settings.data_root, settings.run_root):
        shutil.rmtree(root, ignore_errors=True)


def test_roots_of_his_own(user: User) -> None:
    """What the kernel refuses him says nothing about the kernel."""
    probing = b"knarr: probing the kernel's features: fsopen: Operation not permitted"
    for words in (("run", "--rm", "busybox", "true"), ("run", "-d", "busybox", "true")):
        code, out, err = user.run(*words)
        assert (code, out) == (125, b"")
        assert err.startswith(probing)
        assert err.endswith(HINT + b"\n")
        assert err.count(b"\n") == 1
    code, out, err = user.run("info")
    assert (code, out, err.count(b"\n")) == (1, b"", 1)
    assert HINT in err


def test_what_he_may_not_do_is_not_remembered(user: User, settings: Settings) -> None:
    user.run("run", "--rm", "busybox", "true")
    assert not os.path.exists(f"{settings.run_root}/features.json")
    assert not os.path.exists(f"{settings.run_root}/warned-idmap")


def test_roots_that_are_roots(user: User, settings: Settings) -> None:
    for root in (settings.data_root, settings.run_root):
        os.chown(root, 0, 0)
    for words, code in ((("run", "--rm", "busybox", "true"), 125), (("ps",), 1), (("images",), 1)):
        found, out, err = user.run(*words)
        assert (found, out) == (code, b"")
        assert err.endswith(HINT + b"\n")
        assert err.count(b"\n") == 1
