"""Commands that get a signal before any of their calls of the kernel, one after the other.

What is killed leaves what ``delete --force`` finds; what is asked to end leaves nothing, or all.
KNARR_KILL_STEP=1 tries every call; by default one of a few, another each time.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.cgroups import files
from knarr.cgroups.manager import detect
from tests.support import badconfigs
from tests.support.ocidriver import Driver

STEP = int(os.environ.get("KNARR_KILL_STEP", "40"))


class Place:
    """A bundle, and names for containers of it."""

    def __init__(self, folder: Path, rootfs: Path) -> None:
        self.prefix = f"t{secrets.token_hex(4)}"
        self.bundle = folder / "bundle"
        self.bundle.mkdir()
        subprocess.run(["cp", "-a", str(rootfs), str(self.bundle / "rootfs")], check=True)
        config = badconfigs.anywhere()
        config["process"]["args"] = ["sleep", "1000"]
        config["linux"]["cgroupsPath"] = ""
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.driver = Driver(folder, folder / "states", f"*{self.prefix}")
        self.pid_file = folder / "pid"

    @property
    def name(self) -> str:
        return f"{self.prefix}-c"

    def create(self) -> list[str]:
        """Return the words of create."""
        return ["create", "-b", str(self.bundle), "--pid-file", str(self.pid_file), self.name]

    def run(self) -> list[str]:
        """Return the words of a run that does not wait."""
        return ["run", "-d", "-b", str(self.bundle), self.name]

    def expect(self, *words: str) -> None:
        status, said = self.driver(*words)
        assert (status, said) == (0, ""), words


@pytest.fixture
def place(tmp_path: Path, rootfs: Path) -> Iterator[Place]:
    made = Place(tmp_path, rootfs)
    yield made
    made.driver("delete", "--force", made.name)  # of a test that has failed
    made.driver.close()


pytestmark = pytest.mark.timeout(180 + 6000 // STEP)

LIMIT = ("--pids-limit", "77")
COMMANDS = ["create", "run", "start", "kill", "delete", "delete-created",
            "exec", "pause", "resume", "update"]  # fmt: skip


def prepare(place: Place, command: str) -> list[str]:
    """Have the container as the command needs it, and return the command's words."""
    if command in ("create", "run"):
        return place.create() if command == "create" else place.run()
    place.expect(*place.create())
    if command == "start":
        return ["start", place.name]
    if command == "delete-created":
        return ["delete", "--force", place.name]
    place.expect("start", place.name)
    if command in ("pause", "update"):
        return [command, *(LIMIT if command == "update" else ()), place.name]
    if command == "resume":
        place.expect("pause", place.name)
        return ["resume", place.name]
    if command == "kill":
        return ["kill", place.name, "KILL"]
    if command == "exec":
        return ["exec", "--detach", place.name, "sleep", "1000"]
    return ["delete", "--force", place.name]


def limits_of(place: Place) -> tuple[int | None, str]:
    """The limit of processes that is written down, and the one that holds."""
    folder = place.driver.root / place.name
    config = json.loads((folder / "config.json").read_text())
    state = json.loads((folder / "state.json").read_text())
    paths = detect("cgroupfs").open(state["cgroup"]["path"]).paths
    written = config["linux"].get("resources", {}).get("pids", {}).get("limit")
    directory = paths.get("pids", paths.get("unified"))
    return written, files.read(f"{directory}/pids.max").strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_call(place: Place, command: str) -> None:
    """SIGKILL: the next delete --force finds all that there was."""
    at = random.randint(1, STEP)
    reached = True
    while reached:
        words = prepare(place, command)
        reached, status, said = place.driver.signalled(at, signal.SIGKILL, *words)
        assert (status == -signal.SIGKILL) == reached, (at, status, said)
        status, said = place.driver("delete", "--force", place.name)
        assert (status, said) == (0, ""), at
        assert place.driver.left() == [], at
        at += random.randint(1, 2 * STEP - 1) if STEP > 1 else 1


@pytest.mark.parametrize("command", COMMANDS)
def test_asked_to_end_at_any_call(place: Place, command: str) -> None:
    """SIGTERM: what was not done is undone; what was done is reported as done."""
    at = random.randint(1, STEP)
    reached = True
    while reached:
        words = prepare(place, command)
        reached, status, said = place.driver.signalled(at, signal.SIGTERM, *words)
        assert status in (0, 128 + signal.SIGTERM, -signal.SIGTERM), (at, status, said)
        assert "Traceback" not in said, (at, said)
        if status and command in ("create", "run"):
            assert place.driver.left() == [], (at, status, said)
            assert not place.pid_file.exists(), at
        elif status == 0 and command in ("create", "run"):
            state = json.loads(place.driver("state", place.name)[1])
            assert state["status"] == ("created" if command == "create" else "running"), at
        elif command in ("pause", "resume"):
            state = json.loads(place.driver("state", place.name)[1])
            paused = (status == 0) == (command == "pause")
            assert state["status"] == ("paused" if paused else "running"), (at, status)
        elif command == "update":
            assert limits_of(place) == ((77, "77") if status == 0 else (100, "100")), at
        status, said = place.driver("delete", "--force", place.name)
        assert (status, said) == (0, ""), at
        assert place.driver.left() == [], at
        place.pid_file.unlink(missing_ok=True)
        at += random.randint(1, 2 * STEP - 1) if STEP > 1 else 1
