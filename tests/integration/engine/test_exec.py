"""Commands in a running container."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, ExecConfig, errors
from knarr.kernel.files import TMPFS_MAGIC, fstatfs_type

if TYPE_CHECKING:
    from knarr import Engine


@pytest.fixture
def container(engine: Engine) -> Container:
    """A running container that does nothing."""
    made = engine.containers.create(
        ContainerConfig("busybox", ("sleep", "1000"), env=("BASE=1", "DROP=2"))
    )
    made.start()
    return made


def execute(container: Container, *command: str, **options: object) -> tuple[bytes, bytes, int]:
    result = container.exec_run(ExecConfig(command, **options))  # type: ignore[arg-type]
    return result.stdout, result.stderr, result.exit_code


def test_output_and_exit_code(container: Container) -> None:
    script = "echo out; echo err >&2; exit 3"
    assert execute(container, "sh", "-c", script) == (b"out\n", b"err\n", 3)


@pytest.mark.parametrize("user", ["0", "1000"])
def test_its_streams_can_be_opened_by_name(user: str, container: Container) -> None:
    script = "echo out > /dev/stdout; echo err > /dev/stderr"
    assert execute(container, "sh", "-c", script, user=user) == (b"out\n", b"err\n", 0)


def test_it_shares_the_containers_view(container: Container) -> None:
    execute(container, "sh", "-c", "echo here > /file")
    out = execute(container, "sh", "-c", "cat /file; hostname; cat /proc/1/cmdline")[0]
    assert out.split(b"\n")[:2] == [b"here", container.short_id.encode()]
    assert b"sleep\x001000" in out


def test_environment_directory_user(container: Container) -> None:
    out = execute(
        container, "sh", "-c", "echo $BASE $DROP $MINE; pwd; id -u; id -g",
        env=("MINE=3", "DROP"), working_dir="/etc", user="7:8",
    )[0]  # fmt: skip
    assert out == b"1 3\n/etc\n7\n8\n"


def test_it_has_no_more_rights_than_the_container(container: Container) -> None:
    wanted = execute(container, "grep", "-E", "^(Cap|Seccomp:|NoNew)", "/proc/1/status")[0]
    assert execute(container, "grep", "-E", "^(Cap|Seccomp:|NoNew)", "/proc/self/status")[0] == (
        wanted
    )


def test_input(container: Container) -> None:
    data = bytes(range(256)) * 8000
    assert container.exec_run(ExecConfig(("cat",)), input=data).stdout == data
    assert container.exec_run(ExecConfig(("true",)), input=data).exit_code == 0


def test_time_runs_out_and_children_die_too(container: Container) -> None:
    begin = time.monotonic()
    result = container.exec_run(
        ExecConfig(("sh", "-c", "echo on; sleep 500 & sleep 500")), timeout=1
    )
    assert time.monotonic() - begin < 20
    assert (result.timed_out, result.exit_code, result.stdout) == (True, 137, b"on\n")
    assert b"500" not in execute(container, "ps")[0]


def test_what_goes_on_in_the_background_is_not_waited_for(container: Container) -> None:
    begin = time.monotonic()
    assert execute(container, "sh", "-c", "echo x; sleep 300 &") == (b"x\n", b"", 0)
    assert time.monotonic() - begin < 60


def test_errors(container: Container) -> None:
    with pytest.raises(errors.CommandNotFound, match="nope"):
        execute(container, "nope")
    with pytest.raises(errors.NotExecutable, match="/etc/passwd"):
        execute(container, "/etc/passwd")
    with pytest.raises(errors.InvalidArgument, match="no command"):
        execute(container)
    with pytest.raises(errors.InvalidArgument, match="unable to find user"):
        execute(container, "true", user="who")
    with pytest.raises(errors.NotExecutable, match="absolute"):
        execute(container, "true", working_dir="here")
    container.kill()
    container.wait(30)
    with pytest.raises(errors.Conflict, match="is not running"):
        execute(container, "true")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_streams_of_the_caller(container: Container, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with container.exec(ExecConfig(("echo", "direct")), stdout=writer) as session:
        assert session.wait(30) == 0
        os.close(writer)
        assert os.read(reader, 100) == b"direct\n"


@pytest.mark.parametrize("user", ["0", "1000"])
def test_pipes_of_the_caller_can_be_opened_by_name(
    user: str, container: Container, pipe: tuple[int, int]
) -> None:
    """One pipe for stdout and stderr keeps the order; its mode stays the caller's."""
    reader, writer = pipe
    given, typed = os.pipe()
    os.write(typed, b"in\n")
    os.close(typed)
    script = "cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr; echo end"
    config = ExecConfig(("sh", "-c", script), user=user)
    with container.exec(config, stdin=given, stdout=writer, stderr=writer, by_name=True) as session:
        assert session.wait(30) == 0
    assert os.read(reader, 100) == b"in\nout\nerr\nend\n"
    assert os.fstat(writer).st_mode & 0o777 == 0o600
    os.close(given)


def test_files_are_relayed_not_handed_in(container: Container, tmp_path: Path) -> None:
    """A program that had the host's file itself could open it anew for writing."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"input")
    with source.open("rb") as stdin, target.open("wb") as stdout:
        session = container.exec(
            ExecConfig(("sh", "-c", "cat; echo evil > /proc/self/fd/0; readlink /proc/self/fd/1")),
            stdin=stdin.fileno(), stdout=stdout.fileno(),
        )  # fmt: skip
        with session:
            session.wait(30)
    assert source.read_bytes() == b"input"
    assert target.read_bytes().startswith(b"inputpipe:")


def test_a_terminal(container: Container, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    config = ExecConfig(("sh", "-c", "test -t 0 && stty size"), tty=True)
    with container.exec(config, stdout=writer, size=(44, 99)) as session:
        assert session.wait(30) == 0
    os.close(writer)
    assert os.read(reader, 100) == b"44 99\r\n"


def test_a_signal(container: Container) -> None:
    with container.exec(ExecConfig(("sleep", "100"))) as session:
        session.signal(15)
        assert session.wait(30) == 143


def test_waiting_can_end_early(container: Container) -> None:
    with container.exec(ExecConfig(("sleep", "100"))) as session:
        with pytest.raises(errors.Timeout):
            session.wait(0.05)
        session.kill()
        assert session.wait(30) == 137


def test_usage(container: Container) -> None:
    result = container.exec_run(
        ExecConfig(("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
    )
    assert result.usage.cpu_total is not None
    assert result.usage.cpu_total > 1_000_000


def test_what_it_wrote_is_in_its_usage(container: Container) -> None:
    """Bytes, of the command and the children it waited for; what only a group counts is None."""
    script = "dd if=/dev/zero of=/file bs=65536 count=64 && sync /file"
    quiet = container.exec_run(ExecConfig(("true",))).usage
    used = container.exec_run(ExecConfig(("sh", "-c", script))).usage
    with Path(container.paths.data, "spec.json").open() as file:
        if fstatfs_type(file.fileno()) == TMPFS_MAGIC:
            pytest.skip("no block device is written to here")
    assert used.io_write_bytes is not None
    assert 4 << 20 <= used.io_write_bytes < 6 << 20
    assert quiet.io_write_bytes == 0
    assert (used.io_read_ops, used.io_write_ops, used.memory_current, used.pids_peak) == (None,) * 4


def test_no_descriptors_are_left(container: Container) -> None:
    execute(container, "true")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        execute(container, "true")
        with pytest.raises(errors.CommandNotFound):
            execute(container, "nope")
    assert sorted(os.listdir("/proc/self/fd")) == before
