"""The launcher: starting, ending, hostile callers, and what it must not keep."""

from __future__ import annotations

import functools
import gc
import os
import random
import signal
import socket
import threading
from pathlib import Path

import pytest

from knarr.cgroups import manager
from knarr.config import Settings
from knarr.runtime import packets
from knarr.runtime.channel import Channel
from knarr.supervisor import rundir, wire
from knarr.supervisor import state as states
from knarr.supervisor.client import Launcher, LaunchFailed
from tests.support import processes
from tests.support.launch import Box, Spec
from tests.support.processes import children, name
from tests.support.waiting import wait_until

V = wire.VERSION + b"\0"


def connect(box: Box) -> socket.socket:
    sock = rundir.connect(box.settings.run_root, "launcher.sock")
    made = socket.socket(fileno=sock.detach())
    made.settimeout(20)
    return made


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in x)
    return int(line.split()[1]) * 1024


def at_rest(launcher: int) -> bool:
    """Whether all that the launcher has left is what it forks from, and one forked ahead."""
    left = [name(pid) for pid in children(launcher)]
    return [word for word in left if word != "knarr-template"] == ["knarr-spare"]


def has_nothing_to_do(launcher: int) -> bool:
    """Whether it waits for something to happen, and not for an answer of what it forks from.

    A word that somebody left who has ended meanwhile is none that it has still to read, then.
    """
    return "poll" in Path(f"/proc/{launcher}/wchan").read_text() and at_rest(launcher)


def test_it_is_not_a_child_of_its_caller(box: Box) -> None:
    """A program that lives long gets no zombie from every launcher that came and went."""
    box.run("true")
    assert processes.launcher(box.settings) not in children(os.getpid())


def test_two_launchers_started_at_once_are_one(box: Box) -> None:
    def ask(_: int) -> None:
        found.append(Launcher(box.settings).features(box.settings.data_root))

    found: list[Spec] = []
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    word = box.settings.run_root.encode()
    running = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and word in Path(f"/proc/{entry}/cmdline").read_bytes():
                running.append(int(entry))
        except OSError:
            continue
    mine = processes.launcher(box.settings)
    wait_until(lambda: all(p == mine or name(p) != "knarr-launcher" for p in running))


def test_callers_come_just_when_it_ends(settings: Settings, base: Path) -> None:
    """Idle after a millisecond: nearly every call meets a launcher that is ending."""
    hurried = Settings(
        data_root=settings.data_root,
        run_root=settings.run_root,
        cgroup_parent=settings.cgroup_parent,
        launcher_idle=0.001,
    )
    box = Box(hurried, base)
    try:
        for _ in range(25):
            assert box.launcher.features(box.settings.data_root)["mount_api"] is True
    finally:
        box.close()


def test_it_ends_when_idle_and_leaves_no_socket(settings: Settings, base: Path) -> None:
    hurried = Settings(
        data_root=settings.data_root,
        run_root=settings.run_root,
        cgroup_parent=settings.cgroup_parent,
        launcher_idle=0.05,
    )
    box = Box(hurried, base)
    one = box.start("cat", stdin=True)
    wait_until(lambda: not (Path(settings.run_root) / "launcher.sock").exists())
    assert one.client is not None
    one.client.send(b"c")
    assert one.exit().code == 0, "a container does not need it"
    box.close()


def test_a_caller_of_another_version_gets_a_launcher_of_its_own(box: Box) -> None:
    box.run("true")
    before = processes.launcher(box.settings)
    with connect(box) as sock:
        sock.send(b"a" + b"0.0.1\0" + b"/nowhere\0h{}")
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
    # It still serves who connects while it ends, so wait for its end.
    wait_until(lambda: not Path(f"/proc/{before}").exists())
    assert box.run("true").code == 0
    assert processes.launcher(box.settings) != before


def test_a_silent_caller_does_not_keep_it(settings: Settings, base: Path) -> None:
    hurried = Settings(
        data_root=settings.data_root,
        run_root=settings.run_root,
        cgroup_parent=settings.cgroup_parent,
        launcher_idle=0.3,
    )
    box = Box(hurried, base)
    box.run("true")
    silent = connect(box)
    wait_until(lambda: not (Path(settings.run_root) / "launcher.sock").exists())
    silent.close()
    box.close()


def _junk(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    deep = b'{"a":' * 30_000
    fixed = [
        b"",
        b"\0",
        b"r",
        b"r\0",
        b"r" + V + b"/nowhere\0",
        b"r" + V + b"/nowhere\0h",
        b"r" + V + b"/nowhere\0h[]",
        b"r" + V + b"/x\0m",
        b"r" + V + b"/x\0h" + deep,
        b"r" + V + b"/x\0h" + b"[" * 100_000,
        b"e" + V + b"/x\0h{}",
        b"e" + V + b'/x\0h{"run_dir":5}',
        b"r" + V + b'/x\0h{"run_dir":"/x","id":1}',
        b"f" + V + b"/nowhere\0h{}",
        b"f" + V + b'/x\0h{"directory":3}',
        b"a\0",
        b"a" + V + b"/nowhere\0h{}",
        b"z/x\0h{}",
        b"r" + b"a" * 5000 + b"\0h{}",
        b"\xff" * 3000,
        b"r" + V + b"/x\0h" + b'"' + b"9" * 100_000 + b'"',
        b"r" + V + b"/x\0h1e999",
        b"r" + V + b"/x\0hNaN",
        b"r" + V + b"/x\0hnull",
        b"r" + V + b"/\xff\xfe\0h{}",
    ]
    loose = [chance.randbytes(chance.randrange(1, 3000)) for _ in range(60)]
    # Never the one that ends it.
    return [packet for packet in [*fixed, *loose] if packet[:1] != b"q"]


def templates(launcher: int) -> list[int]:
    return [pid for pid in children(launcher) if name(pid) == "knarr-template"]


def test_what_it_forks_from_may_die(box: Box) -> None:
    box.run("true")
    launcher = processes.launcher(box.settings)
    wait_until(lambda: at_rest(launcher))
    before = templates(launcher)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        assert box.run("echo", "again").out == b"again\n"
    assert processes.launcher(box.settings) == launcher
    wait_until(lambda: templates(launcher) and not set(before) & set(templates(launcher)))


def test_what_it_forks_from_may_die_with_a_word_unheard(box: Box) -> None:
    box.run("true")
    launcher = processes.launcher(box.settings)
    wait_until(lambda: at_rest(launcher))
    before = templates(launcher)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    assert box.run("true").code == 0
    outs: list[bytes] = []
    second = threading.Thread(target=lambda: outs.append(box.run("echo", "again").out))
    second.start()
    second.join(0.1)  # the launcher waits for an answer, to this or to its wish for a spare
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    second.join()
    assert outs == [b"again\n"]
    assert processes.launcher(box.settings) == launcher


def test_the_last_that_learned_may_die_with_a_word_unheard(box: Box) -> None:
    """Those that stayed behind have its socket, and would keep the launcher waiting."""
    box.run("true")
    launcher = processes.launcher(box.settings)
    wait_until(lambda: len(templates(launcher)) > 1 and at_rest(launcher))
    wait_until(lambda: has_nothing_to_do(launcher))
    last = max(templates(launcher), key=lambda pid: states.start_time(pid) or 0)
    os.kill(last, signal.SIGSTOP)
    assert box.run("true").code == 0  # by the spare
    outs: list[bytes] = []
    second = threading.Thread(target=lambda: outs.append(box.run("echo", "again").out))
    second.start()
    second.join(0.1)
    os.kill(last, signal.SIGKILL)
    second.join()
    assert outs == [b"again\n"]
    assert processes.launcher(box.settings) == launcher


def test_it_outlives_a_full_table_of_processes(box: Box) -> None:
    """What cannot be forked ahead is tried again in a while, not over and over."""
    box.run("true")
    launcher = processes.launcher(box.settings)
    wait_until(lambda: at_rest(launcher))
    group = manager.detect("auto").create(f"{box.settings.cgroup_parent}/full", {})
    try:
        for pid in (launcher, *children(launcher)):
            group.attach(pid)
        log = Path(box.settings.run_root) / "launcher.log"
        for room in (0, 1):  # for the supervisor, not for its maker
            spare = next(pid for pid in children(launcher) if name(pid) == "knarr-spare")
            group.update({"pids": {"limit": len(children(launcher)) + room}})
            os.kill(spare, signal.SIGKILL)
            wait_until(lambda s=spare: name(s) == "")  # type: ignore[misc]
            with pytest.raises(LaunchFailed, match="temporarily unavailable"):
                box.run("true")
            group.update({"pids": {"limit": -1}})
            wait_until(lambda: at_rest(launcher))
        assert log.read_text().count("Traceback") == 0
        assert processes.launcher(box.settings) == launcher
        assert box.run("true").code == 0
    finally:
        box.launcher.quit()
        wait_until(lambda: not group.procs())
        group.destroy()


def test_what_it_forks_from_learns_in_a_child(box: Box) -> None:
    """Supervisors that were forked before share their memory with one that stays as it was."""
    box.run("true")
    launcher = processes.launcher(box.settings)
    # At rest first: what was just forked from a template still has its name for a moment.
    wait_until(lambda: at_rest(launcher) and len(templates(launcher)) > 1)
    before = templates(launcher)
    for _ in range(3):
        box.run("true")
    wait_until(lambda: at_rest(launcher))
    assert templates(launcher) == before  # there was nothing new


def test_it_survives_any_packet(box: Box) -> None:
    box.run("true")
    launcher = processes.launcher(box.settings)
    wait_until(lambda: at_rest(launcher))
    before = fds(launcher)
    for packet in _junk(7):
        with connect(box) as sock:
            sock.send(packet)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 17):
                continue
    for count in (1, 7, 250):
        for packet in (b"r" + V + b"/x\0m", b"r" + V + b"/x\0h{}", b"zz", b"e" + V + b"/x\0m"):
            with connect(box) as sock:
                null = os.open("/dev/null", os.O_RDONLY)
                socket.send_fds(sock, [packet], [null] * count)
                os.close(null)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 17):
                    continue
    for _ in range(20):
        connect(box).close()
    assert processes.launcher(box.settings) == launcher
    assert box.run("echo", "fine").out == b"fine\n"
    wait_until(lambda: fds(launcher) <= before)


def test_a_body_that_is_a_pipe_without_a_writer_does_not_stop_others(box: Box) -> None:
    box.run("true")
    reader, writer = os.pipe()
    with connect(box) as sock:
        socket.send_fds(sock, [b"r" + V + b"/x\0m"], [reader])
        assert box.run("echo", "fine").out == b"fine\n"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("change", ["attach", "seccomp", "init", "mount_fds"])
@pytest.mark.parametrize("value", [99, -1, "x"])
def test_a_descriptor_number_that_was_not_sent(box: Box, change: str, value: object) -> None:
    request = box.request("true")
    request[change] = {"0": value} if change == "mount_fds" else value
    if change == "init":
        request["spec"]["process"]["args"] = ["/dev/init", "--", "true"]
    if change == "mount_fds":
        request["spec"]["mounts"].insert(
            0, {"destination": "/data", "type": "bind", "source": "/", "options": ["bind"]}
        )
    with pytest.raises(LaunchFailed):
        box.launcher.start(request, [])
    wait_until(lambda: not rundir.is_locked(request["run_dir"]))
    assert not (Path(request["run_dir"]) / "state.json").exists()


def test_a_huge_spec(box: Box) -> None:
    """Beyond a packet's size it travels in memory."""
    many = [f"VAR{n}={'x' * 1000}" for n in range(600)]
    done = box.run("sh", "-c", "env | wc -l", edit=lambda s: s["process"]["env"].extend(many))
    assert int(done.out) >= 600


def test_another_container_of_the_same_name_is_busy(box: Box) -> None:
    request = box.request("sleep", "1000")
    one = box.send(request)
    with pytest.raises(LaunchFailed) as caught:
        box.launcher.start(request, [])
    assert caught.value.kind == "busy"
    assert one.run("true")[0] == 0


def test_a_start_that_was_announced(box: Box) -> None:
    """Whoever is going to make it waits for the rest, for as long as the caller is there."""
    for apart in (False, True, True):
        request = box.request("echo", "here")
        run_dir = request["run_dir"]
        line = box.launcher.announce(run_dir, apart=apart)
        wait_until(functools.partial(rundir.is_locked, run_dir))
        with pytest.raises(LaunchFailed) as caught:
            box.launcher.start(request, [])
        assert caught.value.kind == "busy"
        assert box.send(request, announced=line).exit().text == "here\n"
        assert line.sock.fileno() == -1


@pytest.mark.parametrize("word", [b"", b"nonsense", b"r" + V + b"/x\0l", b"r" + V + b"/x\0hnull"])
def test_nothing_that_can_be_done_follows_an_announcement(box: Box, word: bytes) -> None:
    run_dir = box.request("true")["run_dir"]
    for apart in (False, True):
        line = box.launcher.announce(run_dir, apart=apart)
        wait_until(lambda: rundir.is_locked(run_dir))
        if word:
            line.sock.send(word)
            told = line.receive()[0]["error"]
            assert told["message"].startswith("launcher: the request is not"), told
        line.close()
        wait_until(lambda: not rundir.is_locked(run_dir))
        assert os.listdir(run_dir) in ([], ["lock"])
    assert box.run("echo", "fine").out == b"fine\n"


def test_the_launcher_ends_after_an_announcement(box: Box) -> None:
    """What was announced to one is asked of the next."""
    box.run("true")
    request = box.request("echo", "again")
    path, other = packets.pair()
    other.close()
    assert box.send(request, announced=Channel(path)).exit().text == "again\n"


def failing(box: Box) -> list[Spec]:
    """Return requests that fail at different points."""
    return [
        box.request("nope"),
        box.request("true", edit=lambda s: s["process"].update(cwd="/etc/passwd")),
        box.request(
            "true",
            edit=lambda s: s["mounts"].append(
                {
                    "destination": "/x",
                    "type": "bind",
                    "source": "/nowhere/at/all",
                    "options": ["bind"],
                }
            ),
        ),
        box.request(
            "true",
            edit=lambda s: s["mounts"].append(
                {"destination": "/x", "type": "nofs", "source": "", "options": []}
            ),
        ),
        box.request("true", edit=lambda s: s["linux"]["resources"].update(pids={"limit": "many"})),
        box.request("true", edit=lambda s: s["linux"].update(maskedPaths=["/dev/stdin"])),
        box.request(
            "true", edit=lambda s: s["process"]["user"].update({"x-knarr-name": "nobody9"})
        ),
        box.request("true", rootfs=[{"type": "overlay", "source": "/nowhere", "destination": "/"}]),
        box.request("true", rootfs=[]),
        box.request("true", spec={}),
        box.request("nope", tty=True),
        {**box.request("true"), "log": "/nowhere/log"},
        box.request("true", cgroup={"manager": "x", "path": "/y"}),
        box.request(
            "true",
            edit=lambda s: s["linux"].update(
                uidMappings=[{"containerID": 0, "hostID": 2**32 - 1, "size": 65536}]
            ),
        ),
    ]


def test_nothing_is_left_by_a_start_that_fails(box: Box) -> None:
    box.run("true")
    launcher = processes.launcher(box.settings)
    wait_until(lambda: at_rest(launcher))
    before = fds(launcher)
    for number, request in enumerate(failing(box)):
        with pytest.raises(LaunchFailed) as caught:
            box.launcher.start(request, [])
            pytest.fail(f"request {number} did not fail")
        assert caught.value.kind != "launcher", caught.value
        assert caught.value.message
        assert "\n" not in caught.value.message
        wait_until(lambda d=request["run_dir"]: not rundir.is_locked(d))  # type: ignore[misc]
        assert set(os.listdir(request["run_dir"])) <= {"lock", "undo"}
        undo = Path(request["run_dir"]) / "undo"
        assert not undo.exists() or undo.stat().st_size == 0
        for folder in Path("/sys/fs/cgroup").glob(f"*{box.settings.cgroup_parent}/{request['id']}"):
            pytest.fail(f"{folder} is left")
    wait_until(lambda: fds(launcher) <= before and at_rest(launcher))


def test_what_a_killed_drill_left_goes(box: Box) -> None:
    left = Path(box.settings.run_root) / f"drill.{2**22 + 1}"  # no process has that number
    left.mkdir(parents=True)
    (left / "lock").touch()
    box.run("true")
    launcher = processes.launcher(box.settings)  # once: it forks ahead when nobody connects
    wait_until(lambda: at_rest(launcher))
    assert not list(Path(box.settings.run_root).glob("drill*"))


def test_it_keeps_nothing_of_many_containers(box: Box) -> None:
    """Descriptors, children and memory after a hundred starts are those after twenty."""

    def many(count: int) -> None:
        for _ in range(count):
            box.running.append(one := box.start("true"))
            one.exit()
            one.settled()

    many(20)
    launcher = processes.launcher(box.settings)
    wait_until(lambda: at_rest(launcher))
    before, memory = fds(launcher), resident(launcher)
    many(80)
    wait_until(lambda: at_rest(launcher))
    wait_until(lambda: fds(launcher) <= before)
    assert resident(launcher) < memory + 512 * 1024
    gc.collect()


def test_it_survives_a_flood_of_callers(box: Box) -> None:
    box.run("true")
    silent = [connect(box) for _ in range(200)]
    assert box.run("echo", "fine").out == b"fine\n"
    for sock in silent:
        sock.close()
    launcher = processes.launcher(box.settings)
    wait_until(lambda: fds(launcher) < 20)


def test_signals_of_a_terminal_do_not_end_it(box: Box) -> None:
    box.run("true")
    launcher = processes.launcher(box.settings)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(launcher, number)
    box.run("true")
    assert processes.launcher(box.settings) == launcher


def test_the_callers_open_file_limit_is_the_containers(box: Box) -> None:
    """The launcher raises its own for its many descriptors; containers do not get that."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = box.sh("ulimit -n; ulimit -Hn").split()
    expected = ["unlimited" if n == resource.RLIM_INFINITY else str(n) for n in (soft, hard)]
    assert shown == expected


def test_a_request_with_too_many_descriptors_is_refused_here(box: Box) -> None:
    with pytest.raises(OSError) as caught:
        box.launcher.start(box.request("true"), [0] * (packets.MAX_FDS + 1))
    assert caught.value.errno == 7
