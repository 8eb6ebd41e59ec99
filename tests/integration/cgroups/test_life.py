"""Making, entering, freezing, killing and removing groups."""

import errno
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr.cgroups import UnsupportedResource, systemd
from knarr.kernel import clone
from knarr.runtime import init

from .conftest import Process, eventually, places

pytestmark = pytest.mark.root
Make = Callable[..., Any]
Start = Callable[[str], Process]

SLEEP = "time.sleep(600)"
FORK_ON = """
while True:
    try:
        if os.fork() == 0:
            pass
    except OSError:
        time.sleep(0.001)
"""


def test_destroy_leaves_nothing_and_can_be_repeated(
    machine: Any, make: Make, path: str, process: Start
) -> None:
    group = make({"pids": {"limit": 10}})
    group.attach(process(SLEEP).pid)
    directories = list(group.paths.values())
    assert all(os.path.isdir(one) for one in directories)
    group.destroy()
    group.destroy()
    machine.remove(group.path)
    left = [*directories, *places(machine, f"{path}-0")]
    assert not [one for one in left if os.path.exists(one)]


def test_destroy_kills_and_removes_what_was_made_inside(make: Make, process: Start) -> None:
    group = make()
    worker = process(SLEEP)
    group.attach(worker.pid)
    for directory in set(group.paths.values()):
        os.makedirs(f"{directory}/inner/most")
    tracked = group.paths.get("freezer") or group.paths["unified"]
    with open(f"{tracked}/inner/most/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(worker.pid))
    assert group.procs() == [worker.pid]
    group.destroy()
    assert worker.wait() == -signal.SIGKILL
    assert not [one for one in group.paths.values() if os.path.exists(one)]


def test_remove_works_in_another_process(machine: Any, make: Make, process: Start) -> None:
    kind = "systemd" if machine.name == "systemd" else "cgroupfs"
    group = make()
    worker = process(SLEEP)
    group.attach(worker.pid)
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        f"from knarr.cgroups import manager\n"
        f"for _ in range(2): manager.detect({kind!r}).remove({group.path!r})"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=120)
    assert worker.wait() == -signal.SIGKILL
    assert not [one for one in group.paths.values() if os.path.exists(one)]


def test_remove_of_a_frozen_group(machine: Any, make: Make, process: Start) -> None:
    group = make()
    worker = process(SLEEP)
    group.attach(worker.pid)
    group.freeze()
    machine.remove(group.path)
    assert worker.wait() == -signal.SIGKILL


def test_remove_of_a_group_that_nothing_entered(machine: Any, make: Make) -> None:
    group = make()
    machine.remove(group.path)
    assert not [one for one in group.paths.values() if os.path.exists(one)]


def test_freeze_and_thaw(make: Make, process: Start) -> None:
    group = make()
    worker = process("while True: print('x')")
    group.attach(worker.pid)
    worker.go()
    assert worker.line() == "x"
    group.freeze()
    assert group.frozen()
    worker.drain()
    assert not worker.readable(0.05)
    group.thaw()
    assert not group.frozen()
    assert worker.readable(30)


def test_kill_ends_everything_even_what_forks_on(make: Make, process: Start) -> None:
    group = make({"pids": {"limit": 40}})
    worker = process(FORK_ON)
    group.attach(worker.pid)
    worker.go()
    assert eventually(lambda: len(group.procs()) > 10)
    group.kill()
    assert worker.wait() == -signal.SIGKILL
    assert group.procs() == []
    assert group.wait_empty(10)
    group.kill()


def test_another_signal_reaches_all_and_leaves_the_group_running(
    make: Make, process: Start
) -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: print('got it'))\n"
        "print('ready')\nwhile True: signal.pause()"
    )
    group, workers = make(), [process(code), process(code)]
    for worker in workers:
        group.attach(worker.pid)
        worker.go()
        assert worker.line() == "ready"
    group.kill(signal.SIGUSR1)
    assert [worker.line() for worker in workers] == ["got it", "got it"]
    assert not group.frozen()
    assert all(worker.alive() for worker in workers)


def test_the_kill_of_an_exec_ends_only_its_own(make: Make, process: Start) -> None:
    group = make({"pids": {"limit": 100}})
    main, first, second = process(SLEEP), process(SLEEP), process(SLEEP)
    group.attach(main.pid)
    one, two = group.child("exec-1"), group.child("exec-2")
    one.attach(first.pid)
    two.attach(second.pid)
    assert sorted(group.procs()) == sorted([main.pid, first.pid, second.pid])
    assert group.stats()["pids"]["current"] == 3
    one.kill()
    assert first.wait() == -signal.SIGKILL
    assert main.alive()
    assert second.alive()
    one.destroy()
    one.destroy()
    group.child("exec-1", made=True).destroy()
    group.child("exec-2", made=True).destroy()
    assert second.wait() == -signal.SIGKILL
    assert main.alive()
    assert group.procs() == [main.pid]


def test_a_group_with_processes_is_not_taken_over(
    machine: Any, make: Make, path: str, process: Start
) -> None:
    group = make()
    worker = process(SLEEP)
    group.attach(worker.pid)
    with pytest.raises(OSError, match=r"cgroup is not empty: \d process") as caught:
        machine.create(f"{path}-0", {})
    assert caught.value.errno == errno.EBUSY
    assert worker.alive()


def test_open_finds_what_is_there(machine: Any, make: Make, path: str, process: Start) -> None:
    with pytest.raises(FileNotFoundError):
        machine.open(f"{path}-0")
    group = make()
    worker = process(SLEEP)
    group.attach(worker.pid)
    again = machine.open(f"{path}-0")
    assert again.procs() == [worker.pid]
    assert again.paths == group.paths


@pytest.mark.parametrize(
    ("resources", "error"),
    [
        ({"memory": {"limit": "much"}}, ValueError),
        ({"memory": {"useHierarchy": False}}, UnsupportedResource),
        ({"unified": {"nothing.max": "1"}}, UnsupportedResource),
        ({"devices": [{"allow": True, "type": "x"}]}, ValueError),
    ],
)
def test_a_refused_group_leaves_nothing(
    machine: Any, path: str, process: Start, resources: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        machine.create(path, {"pids": {"limit": 5}, **resources}).attach(process(SLEEP).pid)
    assert not [one for one in places(machine, path) if os.path.exists(one)]


def test_what_this_machine_cannot_do(machine: Any) -> None:
    asked: dict[str, Any] = {
        "memory": {"useHierarchy": False, "limit": 1 << 26},
        "unified": {"nothing.max": "1"},
        "pids": {"limit": 5},
    }
    fields = [one.field for one in machine.unsupported(asked)]
    assert fields == ["memory.useHierarchy", "unified.nothing.max"]
    assert "useHierarchy" in asked["memory"]


def test_a_process_that_is_gone(make: Make, process: Start) -> None:
    group = make()
    group.attach(process(SLEEP).pid)
    ended = process("")
    ended.result()
    with pytest.raises(ProcessLookupError):
        group.attach(ended.pid)


def test_many_at_once_under_a_new_parent(machine: Any, path: str) -> None:
    """Start, and remove, groups from eight processes; the parent does not exist before."""
    pids = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for turn in range(5):
                    group = machine.create(f"{path}/{number}-{turn}", {"pids": {"limit": 9}})
                    child = os.fork()
                    if child == 0:
                        signal.pause()
                    group.attach(child)
                    group.destroy()
                    os.waitpid(child, 0)
                status = 0
            except BaseException:
                traceback.print_exc()  # else nobody would know why
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 8


def test_a_process_can_start_inside(make: Make, process: Start) -> None:
    group = make()
    if (fd := group.clone_fd()) is None:
        pytest.skip("needs pure cgroup v2")
    pid, pidfd = clone.clone3(0, cgroup_fd=fd)
    if pid == 0:
        signal.pause()
    os.close(fd)
    try:
        assert group.procs() == [pid]
    finally:
        group.kill()
        os.waitpid(pid, 0)
        os.close(pidfd)


@pytest.mark.parametrize("owner", [1000, (1000, 1001)])
def test_delegation(
    machine: Any, make: Make, process: Start, owner: "int | tuple[int, int]"
) -> None:
    if machine.version != 2:
        pytest.skip("needs pure cgroup v2")
    group = make({"pids": {"limit": 50}}, owner=owner)
    group.attach(process(SLEEP).pid)
    directory = group.paths["unified"]
    gid = 0 if owner == 1000 else 1001
    for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
        found = os.stat(directory + name)
        assert (found.st_uid, found.st_gid) == (1000, gid)
    assert os.stat(f"{directory}/pids.max").st_uid == 0


def test_a_cpuset_parent_that_is_empty(machine: Any, path: str, process: Start) -> None:
    if "cpuset" not in getattr(machine, "controllers", {}):
        pytest.skip("needs the cpuset hierarchy of v1")
    parent = f"{machine.controllers['cpuset']}{path}"
    os.makedirs(parent)
    worker = process("print(len(os.sched_getaffinity(0)))")
    group = machine.create(f"{path}/one", {})
    try:
        # Not only when somebody enters: a process that does it by itself cannot mend it.
        for name in ("cpuset.cpus", "cpuset.mems"):
            with open(f"{parent}/one/{name}", encoding="ascii") as file:
                assert file.read().strip()
        group.attach(worker.pid)
        assert worker.result() == str(os.cpu_count())
    finally:
        group.destroy()


def test_a_process_can_enter_by_itself(make: Make) -> None:
    group = make({"pids": {"limit": 20}})
    child = group.child("exec")
    for one in (group, child):
        pid = os.fork()
        if pid == 0:
            try:
                for name in one.entrances():
                    fd = os.open(name, os.O_WRONLY)
                    os.write(fd, b"0")
                    os.close(fd)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        try:
            assert eventually(lambda one=one: len(one.procs()) == 1)  # type: ignore[misc]
            assert eventually(lambda: group.stats()["pids"]["current"] == 1)
            assert one.procs() == [pid]
        finally:
            one.kill()
            os.waitpid(pid, 0)


def test_keeper_ends_with_a_maker_that_was_killed(process: Start) -> None:
    """Before the scope is there, by which anybody could find it."""
    code = (
        f"sys.path[:0] = {sys.path!r}\n"
        "from knarr.cgroups import systemd\n"
        "keeper, stay = systemd.start_keeper()\n"
        "print(keeper, flush=True)\n"
        "time.sleep(1000)"
    )
    maker = process(code)
    maker.go()
    keeper = int(maker.line())
    pidfd = os.pidfd_open(keeper)
    try:
        maker.end()
        assert select.select([pidfd], [], [], 100)[0]
    finally:
        os.close(pidfd)


def test_keeper_becomes_a_program_that_waits() -> None:
    """And so keeps nothing of its maker's memory."""
    pid, stay = systemd.start_keeper(init.blob())
    try:
        os.write(stay, b"1")
        maps = Path(f"/proc/{pid}/maps")
        words = Path(f"/proc/{pid}/cmdline")
        assert eventually(lambda: words.read_bytes() == b"knarr-keeper\0")
        assert "memfd:knarr-keeper" in maps.read_text()
        assert "python" not in maps.read_text()
        assert os.listdir(f"/proc/{pid}/fd") == []
    finally:
        os.close(stay)
        os.kill(pid, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (-signal.SIGTERM, 128 + signal.SIGTERM)  # before and after it handles them


def test_keeper_whose_program_cannot_be_executed_waits_all_the_same() -> None:
    pid, stay = systemd.start_keeper(b"no program")
    try:
        os.write(stay, b"1")
        assert eventually(lambda: os.listdir(f"/proc/{pid}/fd") == [])
    finally:
        os.close(stay)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
