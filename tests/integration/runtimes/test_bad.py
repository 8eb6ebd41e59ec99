"""Runtimes that are not there, hang, die, talk nonsense or lie: an error, and nothing is left."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr import Engine, ExecConfig, Settings, errors
from knarr.engine.waiting import await_supervisor
from tests.integration.runtimes.conftest import Box
from tests.support import leftovers, runtimes
from tests.support.waiting import wait_until

# What a script does with one of the calls, and passes on to runc otherwise.
ON = """
for word in "$@"; do
    if [ "$word" = {verb} ]; then
        {act}
    fi
done
exec runc "$@"
"""
# The same after all words were looked at.
LATE = """
for word in "$@"; do
    [ "$word" = {verb} ] && found=1
    [ "$before" = --pid-file ] && pid_file=$word
    before=$word
done
if [ "$found" ]; then
    {act}
fi
exec runc "$@"
"""


@pytest.fixture
def hasty(engine: Engine, runc: str) -> Iterator[Engine]:
    """An engine that gives runtimes two seconds; scripts of these tests go on to runc."""
    del runc
    settings = engine.settings
    own = {name: getattr(settings, name) for name in settings.__slots__}
    with Engine(Settings(**{**own, "runtime_timeout": 2.0})) as made:
        yield made


@pytest.fixture
def mark() -> str:
    """An argument of sleep(1) by which what a script leaves is found."""
    return f"6000.{secrets.randbelow(10**9):09}"


def running(mark: str) -> list[str]:
    """Return the processes that have this argument."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes() if entry.isdigit() else b""
        except OSError:
            continue
        if line.startswith(b"sleep") and mark.encode() in line:
            found.append(entry)
    return found


def bad(folder: Path, verb: str, act: str) -> str:
    return runtimes.script(folder / "bad", ON.format(verb=verb, act=act))


def failing(engine: Engine, runtime: str, **said: Any) -> errors.KnarrError:
    """Start a container, which fails; nothing of it runs or is mounted."""
    box = Box(engine, runtime)
    made = engine.containers.create(box.config("sleep", "600", **said))
    with pytest.raises(errors.KnarrError) as caught:
        made.start()
    await_supervisor(made.paths)
    assert made.state.status == "created"
    assert not os.path.exists(made.paths.run)
    assert leftovers.mounts(engine.settings.data_root) == []
    for folder in leftovers.cgroups(engine.settings.cgroup_parent):
        assert [each for each in Path(folder).iterdir() if each.is_dir()] == []
    made.remove()
    return caught.value


@pytest.mark.parametrize("verb", ["create", "start"])
def test_one_that_hangs(hasty: Engine, tmp_path: Path, mark: str, verb: str) -> None:
    runtime = bad(tmp_path, verb, f"sleep {mark}; exit 1")
    error = failing(hasty, runtime)
    assert re.search(rf"OCI runtime {verb} failed: bad did not end in 2 seconds$", str(error))
    wait_until(lambda: not running(mark))


@pytest.mark.parametrize("verb", ["create", "start"])
def test_one_that_is_killed(hasty: Engine, tmp_path: Path, verb: str) -> None:
    error = failing(hasty, bad(tmp_path, verb, "kill -9 $$"))
    assert str(error).endswith(f"OCI runtime {verb} failed: bad was killed by signal 9")


def test_one_that_says_nothing(hasty: Engine, tmp_path: Path) -> None:
    error = failing(hasty, bad(tmp_path, "create", "exit 3"))
    assert str(error).endswith("OCI runtime create failed: bad ended with 3, and says nothing")


def test_one_that_talks_nonsense(hasty: Engine, tmp_path: Path) -> None:
    """What comes out of it is one line without control characters."""
    act = r"""printf '{"level":"error"}\n[1,2\n\000\033[31m' > "$4"
        head -c 60000 /dev/urandom
        printf 'first\n\033[31mnot \a good\n\n' >&2; exit 1"""
    error = failing(hasty, bad(tmp_path, "create", act))
    assert str(error).isprintable()
    assert str(error).endswith("OCI runtime create failed: bad: ?[31mnot ? good")


def test_one_whose_words_are_in_its_log(hasty: Engine, tmp_path: Path) -> None:
    act = r"""printf '{"level":"info","msg":"no"}\n{"level":"error","msg":"so\\nit is"}\n' > "$4"
        exit 1"""
    assert str(failing(hasty, bad(tmp_path, "create", act))).endswith(": bad: so it is")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("exit 0", "it wrote no pid of a process that runs"),
        ("printf x > {pid}; exit 0", "it wrote no pid of a process that runs"),
        ("printf 99999999999999999999 > {pid}; exit 0", "it wrote no pid of a process that runs"),
        ("printf -- -1 > {pid}; exit 0", "it wrote no pid of a process that runs"),
        ("printf 1 > {pid}; exit 0", "process 1, which it says is the container's, is not ours"),
        ("printf $PPID > {pid}; exit 0", "is not in the container's control group"),
        ("sleep {mark} & printf $! > {pid}; exit 0", "is not in the container's control group"),
    ],
)
def test_one_that_lies_about_its_process(
    hasty: Engine, tmp_path: Path, mark: str, act: str, said: str
) -> None:
    """Nobody is harmed whom it names, and what it has begun ends."""
    act = 'while [ "$1" != --pid-file ]; do shift; done; ' + act.format(pid='"$2"', mark=mark)
    assert said in str(failing(hasty, bad(tmp_path, "create", act)))
    wait_until(lambda: not running(mark))


def test_one_that_sends_no_terminal(hasty: Engine, tmp_path: Path) -> None:
    act = """config=$(dirname "$pid_file")/bundle/config.json
        sed -i 's/"terminal": true/"terminal": false/' "$config"
        left=; for each in "$@"; do
            case "$skip$each" in --console-socket) skip=x;; x*) skip=;; *) left="$left $each";; esac
        done; exec runc $left"""
    path = runtimes.script(tmp_path / "bad", LATE.format(verb="create", act=act))
    error = failing(hasty, path, tty=True)
    assert str(error).endswith("OCI runtime: it did not send a terminal")


def test_one_that_hangs_at_a_signal_or_at_the_end(hasty: Engine, tmp_path: Path, mark: str) -> None:
    """The container can be killed and is removed all the same."""
    for verb in ("kill", "delete"):
        box = Box(hasty, bad(tmp_path, verb, f"exec sleep {mark}"))
        web = box.launch("sleep", "600")
        web.stop(timeout=1)
        assert web.state.exit_code == 137
        web.remove()
        assert not os.path.exists(web.paths.run)
        wait_until(lambda: not running(mark))


def test_one_whose_kill_fails(hasty: Engine, tmp_path: Path) -> None:
    """The signal is sent otherwise."""
    box = Box(hasty, bad(tmp_path, "kill", "exit 1"))
    web = box.launch("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 1 & wait $!; done")
    wait_until(lambda: list(web.logs()))
    web.stop()
    assert web.state.exit_code == 5


def test_one_that_is_removed_meanwhile(hasty: Engine, tmp_path: Path) -> None:
    box = Box(hasty, bad(tmp_path, "nothing", "true"))
    web, other = box.launch("sleep", "600"), box.launch("sleep", "600")
    os.unlink(box.runtime)
    with pytest.raises(errors.KnarrError, match=r"OCI runtime bad: .*: No such file"):
        web.exec_run(ExecConfig(("true",)))
    web.kill("TERM")  # its process 1 has no handler, so nothing follows
    web.kill()
    assert web.wait(60).exit_code == 137
    with pytest.raises(errors.InvalidArgument, match="there is no such program"):
        web.start()
    for each in (web, other):
        each.remove(force=True)
        assert not os.path.exists(each.paths.run)


@pytest.mark.parametrize("act", ["sleep {mark}", "kill -9 $$", "exit 0", "echo no >&2; exit 4"])
def test_an_exec_that_goes_wrong(hasty: Engine, tmp_path: Path, mark: str, act: str) -> None:
    box = Box(hasty, bad(tmp_path, "exec", act.format(mark=mark) + "; exit 1"))
    web = box.launch("sleep", "600")
    with pytest.raises(errors.KnarrError, match="OCI runtime"):
        web.exec_run(ExecConfig(("true",)))
    wait_until(lambda: not running(mark))
    assert web.state.running
    wait_until(lambda: not [each for each in os.listdir(web.paths.run) if each.startswith("exec")])


def test_a_program_that_is_none(hasty: Engine, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"\x7fELFno")
    text.chmod(0o755)
    assert "Exec format error" in str(failing(hasty, str(text)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuch", "unknown or invalid runtime name: nosuch: no such program in /usr/local/sbin:"),
        ("/nosuch", "unknown or invalid runtime name: /nosuch: there is no such program"),
        ("/etc", "unknown or invalid runtime name: /etc: there is no such program"),
        ("/etc/passwd", "unknown or invalid runtime name: /etc/passwd: there is no such program"),
        ("./runc", "invalid runtime: ./runc: a path has to be absolute"),
    ],
)
def test_one_that_is_not_there(engine: Engine, name: str, said: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=re.escape(said)):
        engine.containers.create(Box(engine, name).config("true"))
    assert engine.containers.list(all=True) == []
