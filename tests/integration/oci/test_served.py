"""Commands that a worker of ``knarr-oci server`` carries out: nobody can tell the difference."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.ociserver import LOOK, UNSERVED, Server, need_clones
from tests.support.waiting import PATIENCE, wait_until

SLEEP = ("sleep", "1000")
LAST = max(signal.valid_signals())


def hooks(bundle: Path, text: str, *kinds: str) -> None:
    """Give a bundle hooks of these kinds that are a shell script and have their caller's words."""
    hook = {"path": "/bin/bash", "args": ["bash", "-c", text]}
    Oci.change(bundle, lambda config: config.update(hooks={kind: [hook] for kind in kinds}))


def stopped(oci: Oci, name: str) -> bool:
    return bool(oci.state(name)["status"] == "stopped")


def same(served: Server, *words: str, **options: Any) -> tuple[int, str, str]:
    """Return what a command says that says the same twice."""
    answer = served(*words, **options)
    assert answer[0] != UNSERVED
    assert answer == served.plain(*words, **options)
    return answer


def test_a_life(served: Server, oci: Oci) -> None:
    name = oci.name("life")
    oci("create", "-b", str(oci.bundle(*SLEEP)), name)
    assert json.loads(same(served, "state", name)[1])["status"] == "created"
    assert served("start", name) == (0, "", "")
    assert json.loads(same(served, "state", name)[1])["status"] == "running"
    assert "it is running, not created" in same(served, "start", name)[2]
    assert name in same(served, "list")[1]
    assert json.loads(same(served, "list", "-f", "json")[1])[0]["status"] == "running"
    assert served("pause", name) == (0, "", "")
    assert json.loads(same(served, "state", name)[1])["status"] == "paused"
    assert served("resume", name) == (0, "", "")
    assert "it is running, not stopped" in same(served, "delete", name)[2]
    assert served("kill", "--all", name, "KILL") == (0, "", "")
    wait_until(partial(stopped, oci, name))
    assert json.loads(same(served, "state", name)[1])["pid"] == 0
    assert "container not running" in same(served, "kill", name, "TERM")[2]
    assert served("delete", name) == (0, "", "")
    assert "does not exist" in same(served, "state", name)[2]
    assert same(served, "list", "-q") == (0, "", "")


@pytest.mark.parametrize(
    "words",
    [
        ("state",),
        ("state", "a", "b"),
        ("state", "../a"),
        ("state", "nothing"),
        ("start", "nothing"),
        ("kill", "nothing", "KILL"),
        ("kill", "nothing", "NOSUCH"),
        ("delete", "nothing"),
        ("delete", "--force", "nothing"),
        ("pause", "nothing"),
        ("list", "word"),
        ("list", "--format", "xml"),
        ("run", "--bundle", "/nowhere", "x"),
        ("run", "--bundle", "/etc", "--config", "passwd", "x"),
        ("run", "a", "b"),
    ],
)
def test_what_fails_fails_in_the_same_words(served: Server, words: tuple[str, ...]) -> None:
    status, out, _ = same(served, *words)
    assert (status, out) == (0 if "--force" in words else 1, "")


def test_errors_go_where_they_are_to_go(served: Server, tmp_path: Path) -> None:
    words = ("--log", "said.json", "--log-format", "json", "state", "nothing")
    answers = [ask(*words, cwd=tmp_path) for ask in (served, served.plain)]
    assert answers[0] == answers[1]
    lines = [json.loads(line) for line in (tmp_path / "said.json").read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0] | {"time": ""} == lines[1] | {"time": ""}


def test_streams_and_status(served: Server, oci: Oci) -> None:
    script = "read word; echo out $word; echo err $word >&2; cat; exit 43"
    bundle = str(oci.bundle("sh", "-c", script))
    answer = served("run", "-b", bundle, oci.name("streams"), input=b"first\nsecond\n")
    assert answer == (43, "out first\nsecond\n", "err first\n")
    assert oci("list", "-q") == ""


def test_killed_by_a_signal(served: Server, oci: Oci) -> None:
    name, bundle = oci.name("dies"), str(oci.bundle("sh", "-c", "echo ready; exec sleep 1000"))
    with served.call("run", "-b", bundle, name) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        assert served("kill", name, "KILL") == (0, "", "")
        assert caller.wait(PATIENCE) == 128 + signal.SIGKILL


def test_output_ends_with_the_command(served: Server, oci: Oci) -> None:
    """Its worker is gone by then, or has nothing of its caller's open: a reader waits for it."""
    bundle = str(oci.bundle("echo", "done"))
    for number in range(3):
        with served.call("run", "-b", bundle, oci.name(f"end{number}")) as caller:
            assert caller.stdout is not None
            assert caller.stdout.read() == b"done\n"
            assert caller.wait(PATIENCE) == 0


def test_bundle_and_files_are_the_callers(served: Server, oci: Oci) -> None:
    bundle = oci.bundle(*SLEEP)
    caller = served.call("run", "--pid-file", "pid", oci.name("here"), cwd=bundle)
    with caller:
        wait_until(lambda: (bundle / "pid").exists() and (bundle / "pid").read_text())
        state = oci.state(oci.name("here"))
        assert state["bundle"] == str(bundle)
        assert (bundle / "pid").read_text() == str(state["pid"])
        caller.send_signal(signal.SIGKILL)
    oci("delete", "--force", oci.name("here"))


def test_kept_when_it_has_ended(served: Server, oci: Oci) -> None:
    name = oci.name("kept")
    assert served("run", "--keep", "-b", str(oci.bundle("true")), name) == (0, "", "")
    assert oci.state(name)["status"] == "stopped"
    assert served("delete", name) == (0, "", "")


def test_only_standard_descriptors(served: Server, oci: Oci) -> None:
    """None of the worker's: its socket, its pipe, what it prepared. And none of the caller's."""
    fd = os.open("/etc", os.O_RDONLY)
    bundle = str(oci.bundle("ls", "/proc/self/fd"))
    said = served("run", "-b", bundle, oci.name("fds"), pass_fds=[fd])
    os.close(fd)
    assert said == (0, "0\n1\n2\n3\n", "")  # the last is that of ls itself


PREPARED = {
    "as it is": [],
    "limits": ["prlimit", "--nofile=200:300", "--core=0", "--nproc=5000:6000"],
    "nice": ["nice", "-n", "5"],
    "score": ["sh", "-c", 'echo 300 >/proc/self/oom_score_adj; exec "$@"', "sh"],
    "umask": ["sh", "-c", 'umask 027; exec "$@"', "sh"],
    "directory": ["sh", "-c", 'cd /etc; exec "$@"', "sh"],
    "affinity": ["taskset", "-c", str(min(os.sched_getaffinity(0)))],
    "environment": ["env", "-i", "ONLY=this", "PATH=/usr/bin:/bin"],
    "dumps": ["sh", "-c", 'echo 0x7 >/proc/self/coredump_filter; exec "$@"', "sh"],
    "input and output": ["ionice", "-c", "3"],
    "timers": ["python3", "-c", ("import ctypes, os, sys; ctypes.CDLL(None).prctl(29, 123456);"
               "os.execvp(sys.argv[1], sys.argv[1:])")],
    "blocked signals": ["python3", "-c", (
        "import os, signal, sys; signal.pthread_sigmask(0, [10, 12, 15]);"
        "os.execvp(sys.argv[1], sys.argv[1:])")],
    "ignored signals": ["sh", "-c", 'trap "" USR1 QUIT; exec "$@"', "sh"],
    "scheduler": ["chrt", "--batch", "0"],
    "idle": ["chrt", "--idle", "0"],
    "no new privileges": ["setpriv", "--no-new-privs"],
    "capabilities": ["setpriv", "--bounding-set", "-net_raw"],
}  # fmt: skip


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("what", PREPARED)
def test_what_is_inherited(
    served: Server, oci: Oci, tmp_path: Path, what: str, detached: bool
) -> None:
    """By the container, and by hooks at all times: as much as of a caller that does it itself."""
    bundle = oci.bundle("sh", "-c", LOOK)
    hooks(bundle, f"({LOOK}) >>{tmp_path}/$WHO", "prestart", "poststart", "poststop")
    said = []
    for who, server in (("plain", "off"), ("served", "")):
        # Through the script: what no worker can take over is done by the caller there.
        environment = {**served.environment, "KNARR_SERVER": server, "WHO": who}
        names = ("KNARR_OCI_SERVER", "KNARR_SERVER", "WHO")
        setting = [f"{key}={environment[key]}" for key in names]
        line = [*PREPARED[what], "env", *setting, str(served.script), "--root", str(served.root)]
        run = ["run", "--detach"] if detached else ["run"]
        with (tmp_path / "out").open("w") as out:
            subprocess.run(
                [*line, *run, "-b", str(bundle), oci.name("heir")],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True,
                timeout=PATIENCE,
            )  # fmt: skip
        if detached:
            wait_until(partial(stopped, oci, oci.name("heir")))
            subprocess.run([*line, "delete", oci.name("heir")], env=environment, check=True)
        said.append(((tmp_path / "out").read_text(), told(tmp_path / who)))
    assert said[0] == said[1]
    assert said[0][1].count("Max open files") == 3


def told(file: Path) -> str:
    """Return what hooks wrote, without what tells who calls.

    An interpreter that begins without a locale adds one (PEP 538).
    """
    return re.sub("(?m)^(WHO|KNARR_SERVER|LC_CTYPE)=.*\\n", "", file.read_text())


def test_delete_has_hooks_as_its_caller(served: Server, oci: Oci, tmp_path: Path) -> None:
    bundle = oci.bundle("true")
    hooks(bundle, f"({LOOK}) >>{tmp_path}/$WHO", "poststop")
    found = []
    for who, ask in (("plain", served.plain), ("served", served)):
        name = oci.name(who)
        oci("run", "-d", "-b", str(bundle), name)
        wait_until(partial(stopped, oci, name))
        answer = ask("delete", name, env={**served.environment, "WHO": who}, cwd="/usr")
        assert answer == (0, "", "")
        found.append(told(tmp_path / who))
    assert found[0] == found[1]
    assert "/usr" in found[0]


TRAPS = """
for number in {numbers}; do trap "echo got $number" $number; done
trap 'echo got 15; exit 3' 15
echo ready; while :; do sleep 0.05; done"""
PASSED_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGIO,
             signal.SIGCONT, LAST)  # fmt: skip


def test_signals_reach_the_program(served: Server, oci: Oci) -> None:
    numbers = " ".join(str(int(number)) for number in PASSED_ON)
    bundle = str(oci.bundle("sh", "-c", TRAPS.format(numbers=numbers)))
    with served.call("run", "-b", bundle, oci.name("signals")) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        for number in (*PASSED_ON, *PASSED_ON):
            caller.send_signal(number)
            assert caller.stdout.readline() == b"got %d\n" % number
        caller.send_signal(signal.SIGWINCH)
        caller.send_signal(signal.SIGTERM)
        assert caller.stdout.read() == b"got 15\n"
    assert caller.returncode == 3
    assert oci("list", "-q") == ""


def test_a_killed_caller_leaves_the_container(served: Server, oci: Oci) -> None:
    """As one does that carries it out itself: who called has to say what becomes of it."""
    name = oci.name("left")
    bundle = str(oci.bundle("sh", "-c", "echo ready; exec sleep 1000"))
    with served.call("run", "-b", bundle, name) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        (worker,) = served.workers()
        caller.kill()
        caller.wait(PATIENCE)
    wait_until(lambda: worker not in served.workers())
    assert oci.state(name)["status"] == "running"
    oci("delete", "--force", name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("command", ["run", "create"])
def test_asked_to_end_while_it_makes_a_container(
    served: Server, oci: Oci, tmp_path: Path, number: signal.Signals, command: str
) -> None:
    if command == "create":
        need_clones()
    bundle = oci.bundle(*SLEEP)
    os.mkfifo(tmp_path / "fifo")
    hooks(bundle, f"echo here >{tmp_path}/fifo; exec sleep 1000", "createRuntime")
    with served.call(command, "-b", str(bundle), oci.name("half")) as caller:
        with (tmp_path / "fifo").open() as fifo:
            assert fifo.readline() == "here\n"
        caller.send_signal(number)
        _, err = caller.communicate(timeout=PATIENCE)
    assert caller.returncode == 128 + number
    assert f"interrupted by {number.name}" in err.decode()
    assert oci("list", "-q") == ""


def test_killed_while_it_makes_a_container(served: Server, oci: Oci, tmp_path: Path) -> None:
    name, bundle = oci.name("half"), oci.bundle(*SLEEP)
    os.mkfifo(tmp_path / "fifo")
    hooks(bundle, f"echo here >{tmp_path}/fifo; exec sleep 1000", "createRuntime")
    with served.call("run", "-b", str(bundle), name) as caller:
        with (tmp_path / "fifo").open() as fifo:
            assert fifo.readline() == "here\n"
        caller.kill()
    wait_until(lambda: not served.workers())
    assert served("delete", "--force", name) == (0, "", "")
    assert oci("list", "-q") == ""


def test_many_at_once(served: Server, oci: Oci) -> None:
    bundle = str(oci.bundle("sh", "-c", "echo $HOSTNAME; hostname"))
    callers = [served.call("run", "-b", bundle, oci.name(f"m{number}")) for number in range(8)]
    for caller in callers:
        out, err = caller.communicate(b"", PATIENCE)
        assert (caller.returncode, err) == (0, b"")
        assert out
    assert oci("list", "-q") == ""
