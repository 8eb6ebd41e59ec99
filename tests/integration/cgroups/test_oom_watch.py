"""A supervisor that waits for out-of-memory kills, whatever becomes of the group."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr.supervisor.oom import OomWatch

if TYPE_CHECKING:
    from knarr.cgroups.protocol import Group


@pytest.mark.vm
def test_a_group_that_is_gone_is_no_failure(make: Callable[..., Group], tmp_path: Path) -> None:
    group = make({"memory": {"limit": 64 << 20}})
    folder = group.paths.get("memory")
    file = f"{folder}/memory.oom_control" if folder else f"{group.paths['unified']}/memory.events"
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    watch = OomWatch(str(tmp_path), handle, "cgroupfs", group.path, fresh=True)
    assert not watch.is_event  # a file, as v2 has it
    watch.kills = 1  # as if one had been seen
    group.destroy()  # as systemd does with the group of a scope, before its supervisor looks
    with pytest.raises(OSError, match="No such device"):
        os.pread(handle, 1, 0)
    watch.turn()
    watch.close()
    assert not watch.told
    assert watch.kills == 1  # which is still known where the group's figures are not
