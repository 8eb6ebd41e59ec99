"""The thin command and its server: same results, and nobody notices when the server dies."""

from __future__ import annotations

import fcntl
import os
import platform
import select
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installations import REPOSITORY, Installation, end_server, make_installation
from tests.support.machinecode import emulator
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture(scope="module", params=["native", "other machine", "python"])
def prefix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation for each kind of thin command; that of another machine is emulated."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp("installed")
    make_installation(folder, REPOSITORY / "src")
    if kind == "other machine":
        _emulate(folder)
    elif kind == "python":
        shutil.rmtree(folder / "libexec")
    elif not (folder / "libexec" / "knarr" / f"client-{platform.machine()}").exists():
        pytest.skip("no native client for this machine")
    return folder


def _emulate(folder: Path) -> None:
    machine = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    (qemu,) = emulator(machine)
    client = folder / "libexec" / "knarr" / f"client-{machine}"
    (folder / "bin" / "knarr").write_text(
        f'#!/bin/sh\nexec {qemu} {client} --from-script {folder}/bin/python3 "$0" "$@"\n'
    )


def test_the_first_command_runs_and_starts_a_server(installed: Installation) -> None:
    code, out, err = installed.run("--version")
    assert (code, err) == (0, b"")
    assert out.startswith(b"knarr version ")
    wait_until(installed.listens)
    assert stat.S_IMODE(installed.run_root.stat().st_mode) == 0o700
    assert stat.S_IMODE((installed.run_root / "command.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("version", "--format", "{{.Version}} {{.PythonPath}}"),
        ("help", "run"),
        ("ps", "--nope"),
        ("run",),
        ("nonsense",),
        ("inspect", "nothing"),
        ("run", "--env-file", "relative/none", "x"),
    ],
)
def test_a_server_changes_nothing(installed: Installation, words: tuple[str, ...]) -> None:
    installed.server()
    assert installed.run(*words) == installed.run(*words, KNARR_SERVER="off")


def test_commands_really_go_through_the_server(installed: Installation) -> None:
    installed.server()
    process = installed.start("load")
    wait_until(lambda: bool(installed.workers()))
    process.communicate(b"", PATIENCE)
    assert process.returncode == 1


def test_off_means_off(installed: Installation) -> None:
    code, _, _ = installed.run("version", KNARR_SERVER="off")
    assert code == 0
    assert not (installed.run_root / "command.lock").exists()


def test_the_command_has_the_callers_directory_and_umask(
    installed: Installation, tmp_path: Path
) -> None:
    installed.server()
    (tmp_path / "settings.env").write_text("A B=1\n")
    process = installed.start("run", "--env-file", "settings.env", "x", cwd=tmp_path)
    _, err = process.communicate(b"", PATIENCE)
    assert b"variable 'A B' contains whitespaces" in err
    script = 'umask 027; exec "$0" run --cidfile id --env-file settings.env x'
    subprocess.run(
        ["sh", "-c", script, installed.program],
        cwd=tmp_path,
        env=installed.environment,
        check=False,
    )
    assert not (tmp_path / "id").exists()


def test_a_second_server_goes_away(installed: Installation) -> None:
    first = installed.server()
    assert installed.start_server().wait(PATIENCE) == 0
    assert installed.server_pid() == first
    assert installed.run("--version")[0] == 0


def test_one_that_is_about_to_end_is_waited_for(installed: Installation) -> None:
    """It has let go of its socket and not yet of its lock; whoever met it starts another once."""
    installed.run_root.mkdir(exist_ok=True)
    with (installed.run_root / "command.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = installed.start_server()
        wait_until(lambda: second.poll() is not None or _has_open(second.pid, "command.lock"))
    wait_until(lambda: second.poll() is not None or installed.listens())
    assert (second.poll(), installed.server_pid()) == (None, second.pid)


def _has_open(pid: int, name: str) -> bool:
    try:
        return any(link.readlink().name == name for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def test_a_killed_server_is_not_noticed_and_replaced(installed: Installation) -> None:
    first = installed.server()
    with open(os.pidfd_open(first), "rb") as handle:
        os.kill(first, signal.SIGKILL)
        assert select.select([handle], [], [], PATIENCE)[0]  # no worker of its own takes any more
    for _ in range(3):
        code, out, err = installed.run("--version")
        assert (code, err) == (0, b"")
        assert out.startswith(b"knarr version")
    wait_until(lambda: installed.server_pid() != first and installed.listens())
    assert installed.run("--version")[0] == 0


def test_a_killed_worker_is_reported(installed: Installation) -> None:
    installed.server()
    process = installed.start("load")
    wait_until(lambda: bool(installed.workers()))
    os.kill(installed.workers()[0], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert err == b"knarr: the worker of the command server died before the command ended\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("server", ["on", "off"])
def test_signals_end_the_command_as_if_it_ran_here(
    installed: Installation, number: signal.Signals, server: str
) -> None:
    installed.server()
    process = installed.start("load", env={**installed.environment, "KNARR_SERVER": server})
    if server == "on":
        wait_until(lambda: bool(installed.workers()))
        wait_until(lambda: _reads(installed.workers()[0]))
    else:
        wait_until(lambda: _reads(process.pid))
    process.send_signal(number)
    process.wait(PATIENCE)  # before its input is closed, which would end it otherwise
    out, err = process.communicate(timeout=PATIENCE)
    if err.startswith(b"qemu: uncaught target signal"):
        err = b""  # the emulator's own word
    assert (process.returncode, out, err) == (-number, b"", b"")
    wait_until(lambda: not installed.workers())


def _reads(pid: int) -> bool:
    """Return whether a process waits for its stdin, a pipe.

    A signal that comes just before would be noticed by Python only afterwards.
    """
    return "pipe_read" in Path(f"/proc/{pid}/wchan").read_text()


def test_an_ignored_signal_stays_ignored(installed: Installation) -> None:
    installed.server()
    process = installed.start(
        "load", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    wait_until(lambda: bool(installed.workers()))
    process.send_signal(signal.SIGHUP)
    process.communicate(b"", PATIENCE)
    assert process.returncode == 1


def test_a_worker_ends_when_its_caller_is_killed(installed: Installation) -> None:
    installed.server()
    process = installed.start("load")
    wait_until(lambda: bool(installed.workers()))
    worker = installed.workers()[0]
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: worker not in installed.workers())
    assert installed.run("--version")[0] == 0


def test_stop_and_continue(installed: Installation) -> None:
    installed.server()
    process = installed.start("load", process_group=0)
    wait_until(lambda: bool(installed.workers()))
    worker = installed.workers()[0]
    wait_until(lambda: _reads(worker))
    process.send_signal(signal.SIGTSTP)
    wait_until(lambda: _state(process.pid) == "T")
    process.send_signal(signal.SIGCONT)
    process.communicate(b"", PATIENCE)
    assert process.returncode == 1


def test_stopping_where_nobody_could_continue_it(installed: Installation) -> None:
    installed.server()
    process = installed.start("load", start_new_session=True)  # an orphaned group: signal(7)
    wait_until(lambda: bool(installed.workers()))
    worker = installed.workers()[0]
    wait_until(lambda: _reads(worker))
    process.send_signal(signal.SIGTSTP)
    process.communicate(b"", PATIENCE)
    assert process.returncode == 1


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_reader_that_leaves_ends_it_by_sigpipe(installed: Installation) -> None:
    installed.server()
    reader, writer = os.pipe()
    os.close(reader)
    process = installed.start("help", "run", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (-signal.SIGPIPE, b"")


def test_closed_standard_streams(installed: Installation) -> None:
    installed.server()
    for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        script = f'"$0" version {closing}'
        done = subprocess.run(
            ["sh", "-c", script, installed.program],
            env=installed.environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert b"Traceback" not in done.stderr, closing
        if ">&-" not in closing.replace("2>&-", ""):
            assert b"Engine: knarr" in done.stdout, closing


def test_arguments_that_fit_no_packet(installed: Installation) -> None:
    installed.server()
    big = ["x" * 100_000] * 4
    code, _, err = installed.run("version", *big)
    assert code == 1
    assert b"accepts no arguments" in err


def test_arguments_that_are_no_text(installed: Installation) -> None:
    installed.server()
    done = subprocess.run(
        [installed.program.encode(), b"inspect", b"a\xff\xfeb"],
        env=installed.environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == b"Error: b'a\\xff\\xfeb': no such name: it is not valid UTF-8\n"


def test_other_roots_and_other_pythons_are_not_served(installed: Installation) -> None:
    installed.server()
    if "qemu" in Path(installed.program).read_text():
        pytest.skip("it is for the script alone")
    before = installed.server_pid()
    python = str(installed.folder / "bin" / "python")  # the same one by another name
    done = subprocess.run(
        [python, "-I", "-S", "-E", installed.program, "version"],
        env=installed.environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
    assert f"{python}\n".encode() in done.stdout
    assert installed.server_pid() == before


def test_a_link_to_the_script_finds_its_python(installed: Installation, tmp_path: Path) -> None:
    link = tmp_path / "knarr"
    link.symlink_to(installed.program)
    done = subprocess.run(
        [str(link), "version", "--format", "{{.PythonPath}}"],
        env=installed.environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.decode().strip() == str(installed.folder / "bin" / "python3")


def test_the_server_ends_when_idle(installed: Installation) -> None:
    installed.environment = {**installed.environment, "KNARR_SERVER_IDLE": "0.2"}
    pid = installed.server()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or _state(pid) == "Z")
    assert not installed.listens()
    assert installed.run("--version")[0] == 0


def test_a_long_run_root(installed: Installation) -> None:
    deep = installed.run_root / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    installed.environment = {**installed.environment, "KNARR_RUN_ROOT": str(deep)}
    installed.run_root = deep
    installed.server()
    process = installed.start("load")
    wait_until(lambda: bool(installed.workers()))
    process.communicate(b"", PATIENCE)
    end_server(installed)


def test_a_stale_socket_is_replaced(installed: Installation) -> None:
    pid = installed.server()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or _state(pid) == "Z")
    assert installed.listens()  # by its file; nobody is behind it
    assert installed.run("--version")[0] == 0
    wait_until(lambda: installed.server_pid() != pid)
    wait_until(lambda: installed.run("version")[0] == 0)


def test_a_run_root_that_cannot_be_written_needs_no_server(installed: Installation) -> None:
    installed.environment = {**installed.environment, "KNARR_RUN_ROOT": "/proc/none"}
    code, out, err = installed.run("--version")
    assert (code, err) == (0, b"")
    assert out.startswith(b"knarr version")


def test_no_server_where_others_may_write(installed: Installation) -> None:
    installed.run_root.mkdir(mode=0o777)
    installed.run_root.chmod(0o777)
    python = str(installed.folder / "bin" / "python3")
    refused = subprocess.run(
        [python, "-I", "-m", "knarr.cli.server", str(installed.run_root)],
        env=installed.environment,
        timeout=PATIENCE,
        check=False,
    )
    assert refused.returncode == 1
    assert list(installed.run_root.iterdir()) == []
    assert installed.run("--version")[0] == 0


def test_twenty_at_once(installed: Installation) -> None:
    installed.server()
    processes = [installed.start("--version") for _ in range(20)]
    outputs = {process.communicate(timeout=PATIENCE)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 20
    assert len(outputs) == 1


def test_a_command_that_lasts_keeps_nobody_waiting(installed: Installation) -> None:
    installed.server()
    first = installed.start("load")
    wait_until(lambda: bool(installed.workers()))
    assert installed.run("--version")[0] == 0  # another worker is made for it at once
    wait_until(lambda: bool(installed.workers("python3")))  # and one more, since the first goes on
    first.communicate(b"", PATIENCE)
    assert first.returncode == 1


def test_a_caller_that_is_gone_at_once_does_not_end_the_server(installed: Installation) -> None:
    pid = installed.server()
    for _ in range(8):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.connect(str(installed.run_root / "command.sock"))
    assert installed.run("--version")[0] == 0
    assert installed.server_pid() == pid
    assert installed.listens()


@pytest.mark.slow
def test_a_server_that_hangs_is_given_up(installed: Installation) -> None:
    installed.server()
    waiting = installed.workers("python3")
    for pid in waiting:
        os.kill(pid, signal.SIGSTOP)
    try:
        code, out, _ = installed.run("--version")
        assert code == 0
        assert out.startswith(b"knarr version")
    finally:
        for pid in waiting:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def copied(tmp_path: Path, environment: dict[str, str]) -> Iterator[Installation]:
    """An installation with a copy of the package that may be changed."""
    shutil.copytree(
        REPOSITORY / "src" / "knarr",
        tmp_path / "src" / "knarr",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    make_installation(tmp_path / "venv", tmp_path / "src")
    made = Installation(tmp_path / "venv", environment)
    yield made
    end_server(made)


def test_an_upgrade_is_seen_by_the_next_command(copied: Installation) -> None:
    first = copied.server()
    file = copied.folder.parent / "src" / "knarr" / "_version.py"
    file.write_text('__version__ = "99.0"\n')
    assert copied.run("--version") == (0, b"knarr version 99.0\n", b"")
    wait_until(lambda: copied.server_pid() != first and copied.listens())
    assert copied.run("--version") == (0, b"knarr version 99.0\n", b"")
