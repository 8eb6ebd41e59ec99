"""A supervisor that waits for out-of-memory kills, whatever becomes of the group."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr.cgroups import oom
from knarr.supervisor.oom import OomWatch
from tests.support.waiting import wait_until

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


def test_a_kill_that_comes_after_the_word_of_it(make: Callable[..., Group], tmp_path: Path) -> None:
    """Who is about to kill waits for a processor: the event is there, and the count is not."""
    group = make({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    if "memory" not in group.paths:
        pytest.skip("v2 tells when the count has changed")
    watch = OomWatch(str(tmp_path), oom.watch(group), "cgroupfs", group.path, fresh=True)
    assert watch.is_event
    os.eventfd_write(watch.fd, 1)
    watch.turn()
    assert watch.moment
    assert (watch.kills, watch.told) == (0, False)
    hungry = "echo $$ >$0/cgroup.procs; exec $1 -c 'b\"x\" * 99999999'"
    words = ["sh", "-c", hungry, group.paths["memory"], sys.executable]
    done = subprocess.run(words, check=False)
    assert done.returncode == -9
    wait_until(lambda: watch.look_if_due() and watch.kills)
    assert watch.told
    assert not watch.moment
    assert not watch.look_if_due()
    watch.close()


def test_nobody_looks_for_ever(make: Callable[..., Group], tmp_path: Path) -> None:
    group = make({"memory": {"limit": 64 << 20}})
    if "memory" not in group.paths:
        pytest.skip("v2 tells when the count has changed")
    watch = OomWatch(str(tmp_path), oom.watch(group), "cgroupfs", group.path, fresh=True)
    os.eventfd_write(watch.fd, 1)
    watch.turn()
    looks = 0
    while watch.moment:
        time.sleep(max(0.0, watch.moment - time.monotonic()))
        looks += watch.look_if_due()
    assert 5 < looks < 15
    watch.close()
