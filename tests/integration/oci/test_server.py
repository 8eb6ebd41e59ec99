"""``knarr-oci server``: how it begins, who may not meddle with it, and how commands outlive it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.bundles import SOURCES, Oci
from tests.support.installations import make_installation
from tests.support.ociserver import UNSERVED, Server
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture
def made(oci: Oci, installation: Path, tmp_path: Path) -> Iterator[Server]:
    """An installation without a server."""
    server = Server(installation, tmp_path / "server", oci.root)
    yield server
    server.close()


def ended(process: subprocess.Popen[bytes]) -> int:
    """Return the status of a server that ends by itself."""
    return process.wait(PATIENCE)


def test_only_root_comes_near(made: Server) -> None:
    made.up()
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.socket.stat().st_mode) == 0o600


def test_nobody_writes_to_its_file(made: Server, oci: Oci) -> None:
    server = made.up()
    with made.call("run", "-b", str(oci.bundle("cat")), oci.name("watched")) as caller:
        wait_until(made.workers)
        for pid in (server.pid, *made.workers(), *made.workers(waiting=True)):
            assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY
        caller.communicate(b"", PATIENCE)


def test_nobody_looks_into_it(made: Server) -> None:
    """Not even who has all its rights, without the capability to look at everybody (ptrace(2))."""
    without = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-all")

    def can_look(pid: int) -> bool:
        line = [*without, "readlink", f"/proc/{pid}/cwd"]
        done = subprocess.run(line, capture_output=True, check=False, timeout=PATIENCE)
        return done.returncode == 0

    server = made.up(*without)
    with subprocess.Popen([*without, "cat"], stdin=subprocess.PIPE) as open_to_all:
        wait_until(lambda: processes.name(open_to_all.pid) == "cat")
        assert can_look(open_to_all.pid)
        open_to_all.communicate(timeout=PATIENCE)
    assert not [pid for pid in (server.pid, *made.two_wait()) if can_look(pid)]


def test_another_server_is_refused(made: Server) -> None:
    first = made.up()
    second = made.start(stderr=subprocess.PIPE)
    _, err = second.communicate(timeout=PATIENCE)
    assert second.returncode == 1
    assert f"another server listens in {made.directory}" in err.decode()
    assert first.poll() is None
    assert made("list")[0] == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--idle", "soon"), "--idle: 'soon' is not a number"),
        (("--idle", "-1"), "--idle: '-1' is not a number"),
        (("--idle",), "--idle: needs a value"),
        (("--idling",), "--idling: there is no such flag"),
        (("now",), "server takes no words"),
    ],
)
def test_words_that_are_wrong(made: Server, words: tuple[str, ...], text: str) -> None:
    server = made.start(*words, stderr=subprocess.PIPE)
    _, err = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    assert text in err.decode()
    assert not made.directory.exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_no_server_where_others_may_write(made: Server, mode: int) -> None:
    made.directory.mkdir()
    made.directory.chmod(mode)
    server = made.start(stderr=subprocess.PIPE)
    _, err = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    assert f"others may write there: {made.directory}" in err.decode()
    assert list(made.directory.iterdir()) == []


def test_no_server_in_a_directory_of_somebody_else(made: Server) -> None:
    made.directory.mkdir(mode=0o700)
    os.chown(made.directory, 65534, 65534)
    assert ended(made.start(stderr=subprocess.DEVNULL)) == 1
    assert list(made.directory.iterdir()) == []


def test_no_server_without_root(made: Server, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    os.chown(tmp_path / "own", 65534, 65534)
    made.environment["XDG_RUNTIME_DIR"] = str(tmp_path / "own")
    caps = "+dac_read_search"  # to come to the installation
    user = ["setpriv", "--reuid", "65534", "--clear-groups", f"--inh-caps={caps}"]
    server = made.start(before=[*user, f"--ambient-caps={caps}"], stderr=subprocess.PIPE)
    _, err = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    assert "only root can have one" in err.decode()
    assert not made.directory.exists()


def test_help_says_what_there_is_to_say(made: Server) -> None:
    server = made.start("--help", stdout=subprocess.PIPE)
    out, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert b"--idle VALUE" in out
    assert not made.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_leaves_nothing(made: Server, number: signal.Signals) -> None:
    server = made.up()
    waiting = [os.pidfd_open(pid) for pid in made.two_wait()]
    server.send_signal(number)
    assert ended(server) == (0 if number == signal.SIGTERM else 128 + number)
    for pidfd in waiting:
        assert select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)
    assert not made.socket.exists()
    assert made("list")[0] == UNSERVED
    assert made.plain("list")[0] == 0


def test_it_ends_when_nobody_calls(made: Server) -> None:
    assert ended(made.start("--idle", "1", stdin=subprocess.DEVNULL)) == 0
    assert not made.socket.exists()


def test_a_command_outlives_its_server(made: Server, oci: Oci) -> None:
    server = made.up()
    bundle = str(oci.bundle("sh", "-c", "echo here; read word; exit $word"))
    with made.call("run", "-b", bundle, oci.name("long")) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"here\n"
        server.kill()
        ended(server)
        caller.communicate(b"7\n", PATIENCE)
    assert caller.returncode == 7
    assert oci("list", "-q") == ""


def test_a_killed_server_is_not_noticed_and_replaced(made: Server) -> None:
    server = made.up()
    waiting = [os.pidfd_open(pid) for pid in made.two_wait()]
    server.kill()
    ended(server)
    for pidfd in waiting:
        assert select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)
    assert made.socket.exists()  # nobody is behind it
    assert made("list")[0] == UNSERVED
    done = subprocess.run(
        [str(made.script), "--root", str(made.root), "list", "-q"],
        env=made.environment, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    before = made.socket.stat().st_ino
    made.start(stdin=subprocess.DEVNULL)
    wait_until(lambda: made.socket.stat().st_ino != before)
    assert made("list")[0] == 0


def test_a_killed_worker_is_reported(made: Server, oci: Oci) -> None:
    made.up()
    bundle, name = str(oci.bundle("sh", "-c", "echo here; exec sleep 1000")), oci.name("orphan")
    with made.call("run", "-b", bundle, name) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"here\n"
        (worker,) = made.workers()
        os.kill(worker, signal.SIGKILL)
        assert caller.wait(PATIENCE) == 125
        assert caller.stderr is not None
        assert b"died before the command ended" in caller.stderr.readline()
        assert oci.state(name)["status"] == "running"
        oci("delete", "--force", name)


def test_without_its_socket_it_goes(made: Server) -> None:
    """Whatever stands there now is somebody else's, and is left alone."""
    server = made.up()
    made.socket.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(made.socket))
        assert ended(server) == 0
    assert made.socket.exists()


def test_who_calls_and_says_nothing_does_no_harm(made: Server) -> None:
    server = made.up()
    for _ in range(8):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.connect(str(made.socket))
    for packet in (b"", b"knarr/1", b"\0" * 20, b"x" * 1000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(PATIENCE)
            link.connect(str(made.socket))
            assert link.recv(10) == b"H"
            link.send(packet)
            assert link.recv(10) in (b"N", b"")
    assert made("list")[0] == 0
    assert server.poll() is None


def test_somebody_else_is_told_nothing(made: Server) -> None:
    """Even with a way to the socket."""
    made.up()
    made.socket.chmod(0o666)
    handle = os.open(made.socket, os.O_PATH)
    script = (
        "import os, socket; os.setuid(65534); link = socket.socket(socket.AF_UNIX, 5);"
        f" link.connect('/proc/self/fd/{handle}'); print(link.recv(10))"
    )
    done = subprocess.run(
        ["python3", "-c", script],
        pass_fds=[handle], capture_output=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    os.close(handle)
    assert done.stdout == b"b''\n"


def test_its_callers_descriptors_and_signals_go_no_further(made: Server, oci: Oci) -> None:
    """Hooks of containers would have them."""
    hear, say = os.pipe()

    def prepare() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    made.up(pass_fds=[say], preexec_fn=prepare)
    os.close(say)
    with open(hear, "rb") as ending:
        assert ending.read() == b""
    bundle = oci.bundle("true")
    text = f"grep -E 'Sig(Ign|Blk)' /proc/self/status >{made.directory}/said"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", text]}
    oci.change(bundle, lambda config: config.update(hooks={"poststart": [hook]}))
    assert made("run", "-b", str(bundle), oci.name("clean")) == (0, "", "")
    said = (made.directory / "said").read_text().split()
    assert int(said[1], 16) == 0
    # Nor has it more than an interpreter ignores, and the two signals of the C library's own,
    # which nobody can reset by its functions: make(1) has its children ignore them.
    settled = (signal.SIGPIPE, signal.SIGXFSZ, 32, 33)
    assert int(said[3], 16) & ~sum(1 << number - 1 for number in settled) == 0


def test_an_upgrade_ends_it(oci: Oci, tmp_path: Path) -> None:
    """Commands are those of the new version at once."""
    shutil.copytree(SOURCES / "knarr", tmp_path / "src" / "knarr",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    make_installation(tmp_path / "venv", tmp_path / "src")
    server = Server(tmp_path / "venv", tmp_path / "server", oci.root)
    first = server.up()
    assert server("list")[0] == 0
    (tmp_path / "src" / "knarr" / "_version.py").write_text('__version__ = "99.0"\n')
    assert server("list")[0] == UNSERVED
    assert ended(first) == 0
    assert server.plain("list")[0] == 0
    assert "99.0" in server.plain("--version")[1]
    second = server.up()
    assert server("list")[0] == 0
    second.terminate()
    assert ended(second) == 0
