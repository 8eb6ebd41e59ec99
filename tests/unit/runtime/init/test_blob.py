"""knarr's init as bytes: what was assembled is what the sources say, and it is a small ELF."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.runtime import init
from tests.support.machinecode import MACHINES, assembled, check_executable, emulator
from tests.support.waiting import PATIENCE


@pytest.fixture(params=MACHINES)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command that runs init of each machine, through an emulator where needed."""
    machine: str = request.param
    path = tmp_path / "init"
    path.write_bytes(init.blob(machine))
    path.chmod(0o755)
    return [*emulator(machine), str(path)]


@pytest.mark.parametrize("machine", MACHINES)
def test_sources_assemble_to_the_same_bytes(machine: str) -> None:
    assert assembled("src/knarr/runtime/init", machine) == init.blob(machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_it_is_a_small_static_executable(machine: str) -> None:
    blob = init.blob(machine)
    assert len(blob) < 1024
    check_executable(blob, machine)


def test_unknown_machine() -> None:
    with pytest.raises(LookupError, match="vax"):
        init.blob("vax")


def test_this_machine_is_the_default() -> None:
    if platform.machine() not in MACHINES:
        pytest.skip("no init for this machine")
    assert init.blob() == init.blob(platform.machine())


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_it_ends_as_the_command_ends(program: list[str], script: str, code: int) -> None:
    assert subprocess.run([*program, "--", "/bin/sh", "-c", script], check=False).returncode == code


def test_arguments_and_environment_arrive(program: list[str]) -> None:
    result = subprocess.run(
        [*program, "--", "/bin/sh", "-c", 'echo "$0|$1|$2|$WORD"', "--", "", "b c"],
        env={"WORD": "of the wise"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "--||b c|of the wise\n"


def test_dashes_may_be_left_out(program: list[str]) -> None:
    result = subprocess.run([*program, "/bin/echo", "--"], capture_output=True, check=True)
    assert result.stdout == b"--\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [("/no/such/command", 127), ("/etc/passwd/x", 127), ("/etc/passwd", 126), ("/etc", 126)],
)
def test_command_that_cannot_be_executed(program: list[str], command: str, code: int) -> None:
    result = subprocess.run([*program, "--", command], capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert result.stderr == f"init: cannot execute {command}\n"


def test_command_has_the_signal_mask_of_the_caller(program: list[str]) -> None:
    if len(program) > 1:
        pytest.skip("the emulator keeps a mask of its own")
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        result = subprocess.run(
            [*program, "--", "/bin/grep", "SigBlk", "/proc/self/status"],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    assert int(result.stdout.split()[1], 16) == 1 << signal.SIGUSR2 - 1


def test_signals_are_handed_on(program: list[str]) -> None:
    names = ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT"]
    if len(program) == 1:
        names.append("WINCH")  # the emulator swallows it
    script = (
        "import signal as s, sys; s.pthread_sigmask(s.SIG_BLOCK, s.valid_signals());"
        "print('ready', flush=True);"
        "[print(s.Signals(s.sigwait(s.valid_signals())).name, flush=True) for _ in sys.argv[1:]]"
    )
    with subprocess.Popen(
        [*program, "--", sys.executable, "-I", "-S", "-c", script, *names],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for name in names:
            process.send_signal(getattr(signal, "SIG" + name))
            assert process.stdout.readline() == f"SIG{name}\n"
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_waiting_init_ends_on_a_signal_to_end(program: list[str], name: str) -> None:
    number = getattr(signal, name)
    with subprocess.Popen(program) as process:
        wait_until_blocked(process.pid, emulated=len(program) > 1)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number


def test_waiting_init_ends_on_a_real_time_signal(program: list[str]) -> None:
    if len(program) > 1:
        pytest.skip("the emulator numbers them differently")
    with subprocess.Popen(program) as process:
        wait_until_blocked(process.pid, emulated=len(program) > 1)
        process.send_signal(signal.SIGRTMIN + 3)
        assert process.wait(PATIENCE) == 128 + signal.SIGRTMIN + 3


def test_waiting_init_ignores_the_others(program: list[str]) -> None:
    with subprocess.Popen(program) as process:
        wait_until_blocked(process.pid, emulated=len(program) > 1)
        for number in (signal.SIGCONT, signal.SIGWINCH, signal.SIGPIPE, signal.SIGTSTP):
            process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM


def wait_until_blocked(pid: int, *, emulated: bool) -> None:
    """Return once init waits in rt_sigtimedwait, with every signal taken."""
    wanted = (1 << signal.SIGUSR1 - 1) | (1 << signal.SIGTERM - 1)
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        taken = int(fields["SigBlk"], 16) | (int(fields["SigCgt"], 16) if emulated else 0)
        sleeping = fields["State"].startswith("S")
        waiting = not emulated and "init" in fields["Name"] and sleeping
        if waiting or (emulated and taken & wanted == wanted and sleeping):
            return
        os.sched_yield()
