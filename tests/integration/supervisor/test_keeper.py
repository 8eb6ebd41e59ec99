"""Namespaces made ahead: used by the container they fit, and gone with whoever waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.runtime.program import carrier, memory
from knarr.runtime.program.operations import SIZE
from knarr.supervisor import undo
from tests.support.launch import Box, Spec
from tests.support.processes import children, launcher, name
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not carrier.SHARED, reason="no machine code here, so no keepers"),
]
KINDS = ("user", "net", "ipc", "uts")


def namespaces(pid: int) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in (*KINDS, "mnt", "pid")}


def keeper_of(waiting: int) -> int | None:
    """Return the keeper of the process that was forked ahead, None when it has none (yet)."""
    ours = os.readlink("/proc/self/ns/net")
    for one in children(waiting):
        if name(one) == "knarr-spare":
            for below in children(one):
                try:
                    if os.readlink(f"/proc/{below}/ns/net") != ours:
                        return below
                except OSError:
                    continue
    return None


def awaited_keeper(box: Box) -> int:
    found: list[int] = []
    # Asked for once: every connection is an event, and it forks ahead when there are none.
    waiting = launcher(box.settings)

    def look() -> bool:
        keeper = keeper_of(waiting)
        found[:] = [] if keeper is None else [keeper]
        return bool(found)

    wait_until(look)
    return found[0]


@pytest.fixture
def warm(box: Box) -> Box:
    """A box in which one container has run, so that namespaces for the next are made ahead."""
    if not box.can("idmap"):
        pytest.skip("this kernel cannot map the owners of layers")
    assert box.run("true").code == 0
    return box


def test_the_next_container_gets_the_namespaces(warm: Box) -> None:
    keeper = awaited_keeper(warm)
    kept = namespaces(keeper)
    host = namespaces(os.getpid())
    assert all(kept[kind] != host[kind] for kind in KINDS)
    assert kept["mnt"] == host["mnt"], "it would hold on to what the host unmounts"
    one = warm.start("sleep", "1000")
    own = namespaces(one.pid)
    assert {kind: own[kind] for kind in KINDS} == {kind: kept[kind] for kind in KINDS}
    assert own["mnt"] not in (kept["mnt"], host["mnt"])
    assert own["pid"] not in (kept["pid"], host["pid"])
    wait_until(lambda: name(keeper) == "")
    assert one.kill().code == 137


def test_nothing_of_what_made_it_stays_beside_a_container(warm: Box) -> None:
    awaited_keeper(warm)
    one = warm.start("sleep", "1000")
    wait_until(lambda: children(one.supervisor) == [one.pid])
    folder = Path(f"/proc/{one.supervisor}/fd")
    held = [os.readlink(folder / fd) for fd in os.listdir(folder)]
    assert sum("pidfd" in what for what in held) == 1, f"of others than the container: {held}"
    one.kill()


def test_it_ends_with_what_waits(warm: Box) -> None:
    keeper = awaited_keeper(warm)
    (spare,) = (one for one in children(launcher(warm.settings)) if name(one) == "knarr-spare")
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: name(keeper) == "")
    assert warm.run("true").code == 0


def test_one_that_was_killed_is_done_without(warm: Box) -> None:
    os.kill(keeper := awaited_keeper(warm), signal.SIGKILL)
    assert warm.sh("echo still here").strip() == "still here"
    wait_until(lambda: name(keeper) == "")


def test_other_namespaces_are_made_anew(warm: Box) -> None:
    """A container with the host's users cannot have a namespace that others' users own."""
    keeper = awaited_keeper(warm)
    kept = namespaces(keeper)
    # Held, or the kernel gives the number of one that is gone to the next.
    held = [os.open(f"/proc/{keeper}/ns/{kind}", os.O_RDONLY) for kind in KINDS]
    one = warm.start("sleep", "1000", userns=False)
    own = namespaces(one.pid)
    assert all(own[kind] != kept[kind] for kind in KINDS)
    assert own["user"] == os.readlink("/proc/self/ns/user")
    for fd in held:
        os.close(fd)
    wait_until(lambda: name(keeper) == "")
    one.kill()


def test_a_command_does_not_take_it(warm: Box) -> None:
    one = warm.start("sleep", "1000")
    keeper = awaited_keeper(warm)
    assert one.run("readlink", "/proc/self/ns/net") == (
        0,
        f"{os.readlink(f'/proc/{one.pid}/ns/net')}\n".encode(),
    )
    wait_until(lambda: name(keeper) == "")
    one.kill()


def test_a_program_that_is_too_long_goes_without(warm: Box) -> None:
    """So many mounts that their operations have no room behind the keeper's."""
    awaited_keeper(warm)
    per_mount = 4  # operations that a mount has at the very least
    count = memory.PROGRAM_SIZE // SIZE // per_mount

    def many(spec: Spec) -> None:
        for number in range(count):
            spec["mounts"].append(
                {
                    "destination": f"/tmp/{number}",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["size=4k"],
                }
            )

    assert int(warm.sh("grep -c ' /tmp/' /proc/self/mountinfo", edit=many)) == count


def test_what_fails_leaves_nothing(warm: Box) -> None:
    """The process is cloned already when the plan is refused."""

    def bad(spec: Spec) -> None:
        spec["process"]["cwd"] = "relative"

    awaited_keeper(warm)
    request = warm.request("true", edit=bad)
    with pytest.raises(Exception, match="cwd"):
        warm.send(request)
    assert sorted(os.listdir(request["run_dir"])) == ["lock", "undo"]
    assert not undo.pending(request["run_dir"])
    assert warm.run("true").code == 0


# Whose children, and whose children's children, end up here: those of a maker and its keeper.
ALL_OF_THEM = """
import ctypes, os, sys
from knarr.runtime import keeper
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
for _ in range(20):
    if os.fork() == 0:
        keeper.make().close(wait=sys.argv[1] == "wait")
        os._exit(0)
    count = 0
    try:
        while os.wait():
            count += 1
    except ChildProcessError:
        print(count)
"""


@pytest.mark.parametrize("how", ["go on", "wait"])
def test_one_that_is_not_used_makes_nothing(how: str) -> None:
    """The end of its channel is no word to go: it would copy its maker, descriptors and all."""
    done = subprocess.run(
        [sys.executable, "-c", ALL_OF_THEM, how], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == {"2"}, done.stdout
