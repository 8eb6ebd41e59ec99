"""Many at once: processes and threads that create, run and remove, and never meet."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import knarr
from knarr import ContainerConfig, Engine, errors

if TYPE_CHECKING:
    from knarr import Settings

CREATORS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from knarr import ContainerConfig, Engine, Settings
engine = Engine(Settings(data_root=sys.argv[1], run_root=sys.argv[2], cgroup_parent=sys.argv[3],
                         default_network="none"))
with ThreadPoolExecutor(10) as pool:
    made = list(pool.map(lambda n: engine.containers.create(ContainerConfig("busybox")), range(10)))
print(len({c.name for c in made}), len({c.record.id_slot for c in made}))
"""
RUNNERS = """
import sys
from knarr import Engine, Sandbox, Settings
engine = Engine(Settings(data_root=sys.argv[1], run_root=sys.argv[2], cgroup_parent=sys.argv[3],
                         default_network="none"))
for number in range(4):
    with Sandbox("busybox", engine=engine) as box:
        assert box.run("echo", str(number), timeout=60).text == f"{number}\\n"
print("done")
"""


def side_by_side(count: int, script: str, settings: Settings) -> list[str]:
    """Run the script in so many processes at once; return what each printed."""
    source = str(Path(knarr.__file__).parents[1])
    command = [sys.executable, "-c", script, settings.data_root, settings.run_root,
               settings.cgroup_parent]  # fmt: skip
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": source},
        )
        for _ in range(count)
    ]  # fmt: skip
    return [process.communicate(timeout=120)[0].decode() for process in started]


def test_fifty_creators_at_once(engine: Engine, settings: Settings) -> None:
    """Five processes of ten threads: no locked database, no name and no range twice."""
    ranges = engine.machine.private_users()  # where the kernel has none, nobody gets one
    engine.containers.create(ContainerConfig("busybox")).remove()  # unpacked beforehand
    assert side_by_side(5, CREATORS, settings) == [f"10 {10 if ranges else 1}\n"] * 5
    rows = engine.table.all()
    assert len(rows) == len({row.name for row in rows}) == 50
    slots = {row.id_slot for row in rows}
    assert len(slots) == 50 if ranges else slots == {None}
    removed, _ = engine.containers.prune()
    assert len(removed) == 50


def test_sandboxes_from_several_processes(engine: Engine, settings: Settings) -> None:
    """The first of them also race for the unpacking and for starting the launcher."""
    said = "".join(side_by_side(4, RUNNERS, settings)).splitlines()
    assert said.count("done") == 4, "\n".join(said)
    warnings = [line for line in said if line != "done"]  # one for all, where there is reason
    assert len(warnings) == (0 if engine.machine.private_users() else 1), said
    assert engine.table.all() == []


def test_one_name_for_many(engine: Engine) -> None:
    def create(_: int) -> str:
        try:
            return engine.containers.create(ContainerConfig("busybox", name="only")).id
        except errors.Conflict:
            return ""

    with ThreadPoolExecutor(12) as pool:
        made = [found for found in pool.map(create, range(24)) if found]
    assert len(made) == 1
    engine.containers.get("only").remove()
    assert engine.driver.list_keys() == []


def test_one_container_is_removed_by_many(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox"))

    def remove(_: int) -> bool:
        try:
            engine.containers.get(container.id).remove()
        except errors.NotFound:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(remove, range(8))) == 1


def test_one_container_is_started_by_many(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "100")))

    def start(_: int) -> bool:
        try:
            engine.containers.get(container.id).start()
        except errors.NotModified:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(start, range(8))) == 1
    assert container.state.running
