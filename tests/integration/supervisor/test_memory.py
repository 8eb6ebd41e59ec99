"""What a supervisor that has nothing to do keeps for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knarr import Engine, HealthCheck, Sandbox
from knarr.config import Settings
from knarr.engine.model import ContainerConfig
from knarr.runtime.program import carrier
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not carrier.SHARED, reason="no machine code for this machine"),
]
_MOST = 1024  # KiB


def private(pid: int) -> int:
    """Return the KiB that only this process has in memory (proc_pid_smaps_rollup(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


def supervisor(settings: Settings, identity: str) -> int:
    state = Path(settings.run_root, "containers", identity, "state.json")
    return int(json.loads(state.read_text())["supervisor_pid"])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"memory": "64m"},
        {"health": HealthCheck(("CMD", "true"), interval=3_600_000_000_000)},
    ],
    ids=["plain", "limited", "checked"],
)
def test_it_is_at_most_a_mebibyte(
    config: dict[str, Any], engine: Engine, settings: Settings
) -> None:
    with Sandbox("busybox", network="none", engine=engine, **config) as box:
        pid = supervisor(settings, box.id)
        wait_until(lambda: private(pid) <= _MOST, 20)
        assert box.run("echo", "here").stdout == b"here\n"
        assert box.run("sh", "-c", "yes | head -c 4000000").stdout.count(b"\n") == 2_000_000
        wait_until(lambda: private(pid) <= _MOST, 20)


@pytest.mark.parametrize(
    ("driver", "most"),
    # The first of a run root, whose pages nobody shares yet, with files to write in other forms.
    [("json-file", _MOST + 256), ("local", _MOST + 256), ("none", _MOST)],
)
def test_so_it_is_with_every_log(
    driver: str, most: int, engine: Engine, settings: Settings
) -> None:
    config = ContainerConfig(
        image="busybox",
        command=("/bin/sh", "-c", "echo begin; sleep 1000"),
        network="none",
        log_driver=driver,
    )
    container = engine.containers.create(config)
    container.start()
    pid = supervisor(settings, container.id)
    wait_until(lambda: private(pid) <= most, 20)
