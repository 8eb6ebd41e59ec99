"""config.json as enemies write it, on the real thing: what is wrong is named, nothing is left.

KNARR_FUZZ_EXAMPLES sets how many configurations are tried; each is created, started and removed in
mount and PID namespaces of the test's own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support import badconfigs
from tests.support.ocidriver import Driver

EXAMPLES = int(os.environ.get("KNARR_FUZZ_EXAMPLES", "60"))
NAMED = re.compile(
    r"knarr-oci: (ociVersion|root|process|hostname|domainname|annotations|mounts|hooks|linux"
    r"|/.*/config\.json|config\.json|exec: |working directory )"
)


class Place:
    """A bundle that is used again, and who runs commands on it."""

    def __init__(self, folder: Path, rootfs: Path) -> None:
        self.prefix = f"t{secrets.token_hex(4)}"
        self.bundle = folder / "bundle"
        self.bundle.mkdir()
        self.states = folder / "states"
        subprocess.run(["cp", "-a", str(rootfs), str(self.bundle / "rootfs")], check=True)
        self.driver = Driver(folder, self.states, self.prefix)
        self.count = 0
        self.group = ""

    def write(self, data: bytes) -> None:
        (self.bundle / "config.json").write_bytes(data)

    def tame(self, data: bytes) -> bytes:
        """Return it with what it would do to this machine moved to where nobody minds."""
        try:
            config = json.loads(data)
        except ValueError:
            return data
        if not isinstance(config, dict):
            return data
        self._tame_root(config.get("root"))
        self.group = ""
        linux = config.get("linux")
        if isinstance(linux, dict) and isinstance(linux.get("cgroupsPath"), str):
            path = linux["cgroupsPath"]
            if path and "\0" not in path and ".." not in path:
                linux["cgroupsPath"] = f"/{self.prefix}/{path}"
                self.group = os.path.normpath(linux["cgroupsPath"])
        return json.dumps(config).encode("utf-8", "surrogatepass")

    def _tame_root(self, root: Any) -> None:
        path = root.get("path") if isinstance(root, dict) else None
        if not isinstance(path, str) or "\0" in path:
            return
        try:
            real = os.path.realpath(self.bundle / path)
        except (OSError, ValueError):
            return
        if os.path.isdir(real) and not real.startswith(f"{self.bundle}/"):
            root["path"] = "rootfs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, rootfs: Path) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("fuzz"), rootfs)
    yield made
    for name in made.driver("list", "-q")[1].split():
        made.driver("delete", "--force", name)
    made.driver.close()


def lives(place: Place) -> None:
    """Create, start and remove what is in the bundle."""
    place.count += 1
    name = f"{place.prefix}-{place.count}"
    status, said = place.driver("create", "-b", str(place.bundle), name)
    if status:
        _check(status, said)
    else:
        status, said = place.driver("start", name)
        if status:
            _check(status, said)
        status, said = place.driver("delete", "--force", name)
        assert (status, _complaints(said)) == (0, "")
    assert place.driver.left(place.group) == []


def _check(status: int, said: str) -> None:
    last = said.splitlines()[-1] if said else ""
    assert status == 1, said
    assert "Traceback" not in said
    assert NAMED.match(last), said[-500:]


def _complaints(said: str) -> str:
    return "" if "Traceback" not in said else said


@pytest.mark.timeout(180 + EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(badconfigs.configs(badconfigs.anywhere))
def test_whatever_is_wrong_is_named_and_nothing_left(place: Place, data: bytes) -> None:
    place.write(place.tame(data))
    lives(place)


def test_correct_configurations_live(place: Place) -> None:
    """What the others are changes of: else they would all fail for the same reason."""
    place.write(place.tame(json.dumps(badconfigs.anywhere()).encode()))
    name = f"{place.prefix}-correct"
    assert place.driver("create", "-b", str(place.bundle), name) == (0, "")
    assert place.driver("start", name) == (0, "")
    assert place.driver("delete", "--force", name)[0] == 0
    assert place.driver.left(place.group) == []


@pytest.fixture(scope="module")
def running(place: Place) -> Iterator[str]:
    """A container in which commands can be executed."""
    config = badconfigs.anywhere()
    config["process"]["args"] = ["sleep", "1000"]
    place.write(place.tame(json.dumps(config).encode()))
    name = f"{place.prefix}-running"
    for words in (("create", "-b", str(place.bundle), name), ("start", name)):
        assert place.driver(*words) == (0, "")
    yield name
    assert json.loads(place.driver("state", name)[1])["status"] == "running"
    assert place.driver("delete", "--force", name) == (0, "")
    assert place.driver.left(place.group) == []


@pytest.mark.timeout(180 + EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(badconfigs.processes())
def test_process_of_exec_that_is_wrong(place: Place, running: str, data: bytes) -> None:
    """Named as well, and the container lives on."""
    file = place.bundle / "process.json"
    file.write_bytes(data)
    status, said = place.driver("exec", "--detach", "--process", str(file), running)
    assert "Traceback" not in said
    if status:
        last = said.splitlines()[-1]
        assert status == 255, said[-500:]
        assert re.match(
            r"knarr-oci: (process|/.*/process\.json|exec: |working directory )", last
        ), last
