"""Random lives of many containers from several shells at once, without and with deaths of knarr.

Each shell knows what it did to its containers, so what knarr shows of them must fit, all the
time and at the end; containers that all shells use only have to stay whole. Then everything is
removed, and nothing may be left: no row, mount, control group, process or descriptor, and no
memory in the processes that stay. ``make stress`` does it for five minutes each, with 500
containers of which 100 run. The seed is printed; ``KNARR_STRESS_SEED`` repeats its choices.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stress import leaks
from tests.stress.deaths import Reaper, ours
from tests.stress.model import BY_DEATHS
from tests.support import leftovers
from tests.support.installations import Installation, end_server, make_installation
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Container, Engine, Settings

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("KNARR_STRESS_SECONDS") or 9)
CONTAINERS = int(os.environ.get("KNARR_STRESS_CONTAINERS") or 120)
RUNNING = int(os.environ.get("KNARR_STRESS_RUNNING") or 24)
SHELLS = int(os.environ.get("KNARR_STRESS_SHELLS") or 8)
SHARED = 6
_MEMORY = 3 * 1024  # KiB by which a process that stays may have grown
_TRACE_LINES = 40

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS * 3 + 240)]


@pytest.fixture
def installed(
    tmp_path_factory: pytest.TempPathFactory,
    environment: dict[str, str],
    busybox_archive: Path,
) -> Iterator[Installation]:
    """The command, with a warm server and the image busybox."""
    folder = tmp_path_factory.mktemp("installed")
    make_installation(folder, REPOSITORY / "src")
    made = Installation(folder, environment)
    assert made.run("load", "-q", "-i", str(busybox_archive))[0] == 0
    yield made
    end_server(made)


class World:
    """All shells of one test, what they wrote, and what is to be true in the end."""

    def __init__(self, engine: Engine, installed: Installation, folder: Path) -> None:
        self.engine = engine
        self.installed = installed
        self.folder = folder
        self.seed = os.environ.get("KNARR_STRESS_SEED") or secrets.token_hex(4)
        print(f"KNARR_STRESS_SEED={self.seed}")

    def live(self, *, deaths: bool) -> list[str]:
        """Run all shells to their end; return what went wrong."""
        environment = {
            **self.installed.environment,
            "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}",
        }
        words = [
            self.seed, str(SECONDS), str(CONTAINERS // SHELLS), str(RUNNING // SHELLS),
            str(SHARED), str(int(deaths)), self.installed.program, str(self.folder),
        ]  # fmt: skip
        shells = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.stress.shell", str(number), *words],
                env=environment, cwd=REPOSITORY,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for number in range(SHELLS)
        ]  # fmt: skip
        said = [shell.communicate()[0].decode() for shell in shells]
        return [text for text in said if text]

    def believed(self) -> list[dict[str, object]]:
        """Return what the shells believe of the containers that they have left."""
        found: list[dict[str, object]] = []
        for path in sorted(self.folder.glob("end-*.json")):
            found += json.loads(path.read_text())
        return found

    def agree(self) -> list[str]:
        """Return where engine and shells differ, and what is not whole."""
        problems = []
        present = {container.id: container for container in self.engine.containers.list(all=True)}
        for box in self.believed():
            container = present.pop(str(box["id"]), None)
            problems += _differences(container, box)
        problems += [
            f"{container.name} ({container.status}) is nobody's"
            for container in present.values()
            if "shared" not in container.labels and not container.config.auto_remove
        ]
        for container in self.engine.containers.list(all=True):
            problems += _not_whole(container)
        return problems

    def tell(self, problems: list[str]) -> str:
        """Return the failure with the seed and the end of the traces that matter."""
        lines = [f"KNARR_STRESS_SEED={self.seed}", *problems]
        words = {word.strip(":,") for text in problems for word in text.split()}
        names = {word for word in words if word.startswith(("s", "shared-")) and "-" in word}
        for path in sorted(self.folder.glob("trace-*")):
            trace = path.read_text().splitlines()
            about = [line for line in trace if names & set(line.replace(":", " ").split())]
            lines += [f"--- {path.name}", *about[-_TRACE_LINES:]] if about else []
        return "\n".join(lines)


def _differences(container: Container | None, box: dict[str, object]) -> list[str]:
    may = box["may"]
    assert isinstance(may, list)
    if container is None:
        gone = any(status == "absent" for status, _, _ in may)
        return [] if gone else [f"{box['name']} is gone, not {may}"]
    state = container.state
    fits = any(
        state.status == status and (status != "exited" or state.exit_code in (code, *BY_DEATHS))
        for status, code, _ in may
    )
    found = [] if fits else [f"{container.name} is {state.status} ({state.exit_code}), not {may}"]
    if container.name != box["name"]:
        found.append(f"{container.name} should be called {box['name']}")
    memory = container.config.limits.memory or 0
    if memory not in box["memory"]:  # type: ignore[operator]
        found.append(f"{container.name} may use {memory} bytes, not {box['memory']}")
    return found


def _not_whole(container: Container) -> list[str]:
    """Return what contradicts itself in what is shown of one container."""
    state = container.state
    shown = container.inspect()["State"]
    if state.status == "restarting" or shown["Status"] != state.status:
        return []  # it moves
    alive = bool(shown["Pid"]) and Path(f"/proc/{shown['Pid']}").exists()
    if alive != state.running and container.state == state:
        return [f"{container.name} is {state.status}, its process {shown['Pid']} lives: {alive}"]
    return []


@pytest.fixture
def world(engine: Engine, installed: Installation, tmp_path: Path) -> World:
    """The shells, which have not been started yet."""
    return World(engine, installed, tmp_path)


def _clean_up(world: World) -> list[str]:
    """Remove all containers; return what is left of them."""
    engine = world.engine
    problems = []
    for container in engine.containers.list(all=True):
        try:
            container.remove(force=True)
        except Exception as error:
            problems.append(f"rm -f {container.name}: {type(error).__name__}: {error}")
    engine.empty_trash()
    engine.driver.cleanup()  # layers stay mounted for the next container
    return problems + leftovers.settle(lambda: leaks.rest(engine), 20)


def _warm_up(world: World) -> None:
    """Have everything done once, so that what is measured next is there to stay."""
    for _ in range(12):
        world.installed.run("run", "--rm", "busybox", "true")
    world.installed.run("run", "-d", "--name", "warm", "busybox", "sleep", "1000")
    world.installed.run("exec", "warm", "true")
    world.installed.run("rm", "-f", "warm")
    roles = {each.role for each in leaks.measure(world.engine.settings.run_root).values()}
    assert roles >= {"launcher", "template", "server"}


def test_shells_and_engine_agree(world: World, settings: Settings) -> None:
    """Nobody dies: every command does what it says, and nothing grows."""
    _warm_up(world)
    before = leaks.measure(settings.run_root)
    problems = world.live(deaths=False)
    if not problems:
        problems += world.agree() + leaks.supervisors(settings.run_root)
    if not problems:
        problems += _clean_up(world)
        world.installed.run("run", "--rm", "busybox", "true")
        wait_until(lambda: not _busy(settings))
        problems += leftovers.settle(
            lambda: leaks.growth(before, leaks.measure(settings.run_root), _MEMORY), 20
        )  # a descriptor more for a moment is one that is just being used
    if problems:
        pytest.fail(world.tell(problems), pytrace=False)


def _busy(settings: Settings) -> bool:
    """Return whether the launcher still has more to do than to wait."""
    return any(each.role in ("watch", "worker") for each in ours(settings.run_root))


def test_they_agree_while_knarr_is_killed(world: World, settings: Settings) -> None:
    """Everything of knarr dies again and again; what a container is does not depend on it."""
    reaper = Reaper(settings.run_root, world.seed, 0.8, world.engine.recover)
    reaper.start()
    try:
        problems = world.live(deaths=True)
    finally:
        reaper.finish()
    print("\n".join(reaper.log))
    problems += reaper.problems
    report = world.engine.recover()
    problems += report.problems
    if not problems:
        problems += world.agree() + leaks.supervisors(settings.run_root)
    if not problems:
        problems += _clean_up(world)
        again = world.engine.recover()
        problems += again.lines()
    if problems:
        pytest.fail(world.tell(problems), pytrace=False)
