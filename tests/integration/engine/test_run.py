"""``containers.run``: output, exit codes, input, time, and nothing left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, Engine, Limits, errors
from knarr.engine.machine import NO_IDMAP
from knarr.engine.model import BindMount, RunResult
from tests.support import leftovers

if TYPE_CHECKING:
    from pathlib import Path


def run(engine: Engine, *command: str, **options: object) -> RunResult:
    options.setdefault("auto_remove", True)
    return engine.containers.run(ContainerConfig("busybox", command, **options))  # type: ignore[arg-type]


def disk(engine: Engine) -> list[str]:
    """What is left of containers, once supervisors had the time to finish."""
    engine.tidier.wait()
    return leftovers.settle(lambda: _disk(engine))


def _disk(engine: Engine) -> list[str]:
    """Everything on disk and in the database that belongs to a container."""
    found = [row.id for row in engine.table.all()] + engine.driver.list_keys()
    for folder in (
        f"{engine.settings.data_root}/containers",
        f"{engine.settings.data_root}/trash",
        f"{engine.settings.run_root}/containers",
        f"{engine.settings.run_root}/locks",
    ):
        if os.path.isdir(folder):
            found += os.listdir(folder)
    return found


def test_output_and_exit_code(engine: Engine) -> None:
    result = run(engine, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 3)


def test_usage_comes_from_the_kernel(engine: Engine) -> None:
    result = run(engine, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert result.usage.cpu_total is not None
    assert result.usage.cpu_total > 1_000_000
    assert result.usage.memory_peak is None or result.usage.memory_peak > 100_000


def test_a_signal_is_128_and_its_number(engine: Engine) -> None:
    assert run(engine, "sh", "-c", "kill -9 $$").exit_code in (0, 137)
    assert run(engine, "sh", "-c", "sh -c 'kill -TERM $$'; exit $?").exit_code == 143


def test_binary_output_of_some_size_is_untouched(engine: Engine) -> None:
    count = 3 << 20
    result = run(engine, "sh", "-c", f"head -c {count} /dev/urandom | tee /dev/stderr")
    assert len(result.stdout) == count
    assert result.stdout == result.stderr


def test_input_reaches_stdin_and_ends(engine: Engine) -> None:
    data = bytes(range(256)) * 20_000
    config = ContainerConfig("busybox", ("cat",), open_stdin=True, auto_remove=True)
    assert engine.containers.run(config, input=data).stdout == data


def test_input_that_nobody_reads(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("true",), open_stdin=True, auto_remove=True)
    assert engine.containers.run(config, input=b"x" * 5_000_000).exit_code == 0


def test_without_input_stdin_is_empty(engine: Engine) -> None:
    assert run(engine, "cat").stdout == b""


def test_time_runs_out(engine: Engine) -> None:
    # Longer than any test may take: nobody waits for its own end.
    config = ContainerConfig("busybox", ("sh", "-c", "echo on; sleep 1000"), auto_remove=True)
    result = engine.containers.run(config, timeout=1.0)
    assert (result.timed_out, result.exit_code, result.stdout) == (True, 137, b"on\n")
    assert disk(engine) == []


def test_root_inside_is_nobody_outside(engine: Engine) -> None:
    if not engine.machine.private_users():
        pytest.skip("this kernel cannot map owners")
    result = run(engine, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /f; stat -c %u /f")
    lines = result.text.split()
    assert (lines[0], lines[-1]) == ("0", "0")
    assert lines[1:4] == ["0", str(engine.ranges.first_id(0)), "65536"]


def test_the_hosts_users_on_request(engine: Engine) -> None:
    result = run(engine, "cat", "/proc/self/uid_map", userns="host")
    assert result.text.split() == ["0", "0", "4294967295"]


def test_own_names_and_files(engine: Engine) -> None:
    result = run(engine, "sh", "-c", "hostname; cat /etc/hostname; cat /etc/hosts", hostname="box")
    assert result.text.startswith("box\nbox\n127.0.0.1\tlocalhost\n")


def test_environment_directory_and_user(engine: Engine) -> None:
    result = run(
        engine, "sh", "-c", "pwd; echo $A-$HOME; id -u; id -g",
        env=("A=1",), working_dir="/tmp", user="12:34",
    )  # fmt: skip
    assert result.text.split() == ["/tmp", "1-/", "12", "34"]


def test_nothing_is_left(engine: Engine) -> None:
    run(engine, "sh", "-c", "echo x > /file")
    assert disk(engine) == []


def test_a_command_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(errors.CommandNotFound, match="no-such-thing"):
        run(engine, "no-such-thing")
    assert disk(engine) == []


def test_a_command_that_cannot_be_run(engine: Engine) -> None:
    with pytest.raises(errors.NotExecutable, match="/etc/hostname"):
        run(engine, "/etc/hostname")
    assert disk(engine) == []


def test_an_image_that_is_missing_says_how_to_get_it(engine: Engine) -> None:
    with pytest.raises(errors.NotFound, match="`knarr pull debian:bookworm`") as caught:
        engine.containers.run(ContainerConfig("debian:bookworm", pull="never"))
    assert "\n" not in str(caught.value)
    assert disk(engine) == []


def test_a_name_in_use(engine: Engine) -> None:
    first = engine.containers.create(ContainerConfig("busybox", name="web"))
    with pytest.raises(errors.Conflict, match=f'by container "{first.id}"'):
        run(engine, "true", name="web")
    first.remove()
    assert disk(engine) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"user": "nobody-at-all"}, "unable to find user nobody-at-all"),
        ({"working_dir": "relative"}, "working directory"),
        ({"userns": "weird"}, "weird"),
        ({"cap_add": ("NOPE",)}, "NOPE"),
        ({"security_opt": ("what=ever",)}, "what=ever"),
        ({"stop_signal": "NOSIG"}, "NOSIG"),
        ({"pull": "sometimes"}, "sometimes"),
        ({"name": "-x"}, "Invalid container name"),
        ({"limits": Limits(memory=1)}, "memory"),
    ],
)
def test_bad_values_are_one_line_and_leave_nothing(
    engine: Engine, options: dict[str, object], text: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        run(engine, "true", **options)
    assert text.lower() in str(caught.value).lower()
    assert "\n" not in str(caught.value)
    assert disk(engine) == []


def test_pull_always_asks_the_registry(engine: Engine) -> None:
    with pytest.raises(errors.Unavailable, match="Connection refused"):
        run(engine, "true", pull="always")
    assert disk(engine) == []


def test_a_platform_the_image_is_not_for(engine: Engine) -> None:
    with pytest.raises(errors.NotFound, match="linux/s390x"):
        run(engine, "true", platform="linux/s390x", pull="never")


def test_a_bind_mount(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from outside")
    result = run(
        engine, "sh", "-c", "cat /m/in; echo from inside > /m/out; stat -c %u /m/in",
        binds=(BindMount(str(tmp_path), "/m"),),
    )  # fmt: skip
    assert result.text == "from outside0\n", result.stderr
    assert (tmp_path / "out").read_text() == "from inside\n"
    assert (tmp_path / "out").stat().st_uid == 0


def test_a_read_only_bind_mount(engine: Engine, tmp_path: Path) -> None:
    mount = BindMount(str(tmp_path), "/m", read_only=True)
    assert run(engine, "touch", "/m/x", binds=(mount,)).exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bind_source(engine: Engine, tmp_path: Path) -> None:
    missing = tmp_path / "a" / "b"
    strict = BindMount(str(missing), "/m", create_source=False)
    with pytest.raises(errors.InvalidArgument, match=f"path does not exist: {missing}"):
        run(engine, "true", binds=(strict,))
    assert disk(engine) == []
    assert run(engine, "true", binds=(BindMount(str(missing), "/m"),)).exit_code == 0
    assert missing.is_dir()


def test_a_bind_mount_of_the_wrong_kind(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for source, target, words in (
        (tmp_path / "file", "/tmp", "a file cannot be mounted on the directory /tmp"),
        (tmp_path, "/etc/passwd", "openat2: Not a directory: /etc/passwd"),
    ):
        with pytest.raises(errors.InvalidArgument, match=f"bind {source} on {target}: {words}"):
            run(engine, "true", binds=(BindMount(str(source), target),))


def test_files_that_will_belong_to_nobody_are_told(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """One line where a file system has no id-mapped mounts, as sysfs; none where it has."""
    if not engine.machine.private_users():
        pytest.skip("this kernel cannot map the owners of layers")
    binds = (BindMount("/sys/kernel", "/seen"),)
    assert run(engine, "stat", "-c", "%u", "/seen", name="one", binds=binds).text == "65534\n"
    (told,) = (record.getMessage() for record in caplog.records if "/seen" in record.getMessage())
    assert told == (
        "container one: /sys/kernel: its file system has no id-mapped mounts, "
        "so files on /seen belong to nobody inside the container"
    )
    caplog.clear()
    assert run(engine, "true", binds=(BindMount("/etc", "/seen"),)).exit_code == 0
    assert "/seen" not in caplog.text


def test_where_owners_cannot_be_mapped_the_old_way_is_told_once(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    if engine.machine.features["idmap"]:
        pytest.skip("this kernel maps the owners of layers; see test_bad_places")
    for _ in range(2):
        assert run(engine, "cat", "/proc/self/uid_map").text.split() == ["0", "0", "4294967295"]
    assert [told for record in caplog.records if "owners" in (told := record.getMessage())] == [
        NO_IDMAP
    ]


def test_out_of_memory_is_seen(engine: Engine) -> None:
    limits = Limits(memory=8 << 20, memory_swap=8 << 20)
    result = run(engine, "sh", "-c", "x=$(tr '\\0' x < /dev/zero)", limits=limits)
    assert result.oom_killed
    assert result.exit_code != 0


def test_a_failed_start_leaves_a_created_container(engine: Engine) -> None:
    """As with Docker: without --rm one can look at it afterwards."""
    with pytest.raises(errors.CommandNotFound):
        engine.containers.run(ContainerConfig("busybox", ("nope",), name="left"))
    container = engine.containers.get("left")
    assert container.status == "created"
    assert os.listdir(f"{engine.settings.run_root}/containers") == []
    container.remove()


def shown(engine: Engine, name: str) -> tuple[str, int, str]:
    """What an engine that knows of nothing before finds: status, exit code, error."""
    with Engine(engine.settings) as fresh:
        state = fresh.containers.get(name).inspect()["State"]
    return state["Status"], state["ExitCode"], state["Error"]


def test_a_failed_start_is_kept_with_the_container(engine: Engine) -> None:
    """Its exit code is Docker's, its error what the caller was told, until a start works."""
    create = engine.containers.create
    for name, code, words in (
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/etc", 126, "/etc"),
    ):
        container = create(ContainerConfig("busybox", (name,), name=f"c{code}"))
        with pytest.raises(errors.KnarrError) as caught:
            container.start()
        status, found, error = shown(engine, container.name)
        assert (status, found) == ("created", code)
        assert words in error
        assert str(caught.value) == f"container {container.name}: {error}"
        assert container.describe() == "Created"
    container = create(ContainerConfig("busybox", user="nosuch", name="other"))
    with pytest.raises(errors.UnknownUser):
        container.start()
    assert shown(engine, "other") == (
        "created", 128, "unable to find user nosuch: no matching entries in passwd file",
    )  # fmt: skip


def test_one_that_is_not_to_stay_goes_when_it_cannot_be_started(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("nope",), name="gone", auto_remove=True)
    container = engine.containers.create(config)
    with pytest.raises(errors.CommandNotFound):
        container.start()
    with pytest.raises(errors.NotFound):
        engine.containers.get("gone")
    config = ContainerConfig("busybox", ("sleep", "100"), name="here", auto_remove=True)
    container = engine.containers.create(config)
    container.start()
    with pytest.raises(errors.NotModified):
        container.start()
    assert container.state.running


def test_a_start_that_works_takes_the_failure_away(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "there"
    source.mkdir()
    bind = BindMount(str(source), "/m", create_source=False)
    config = ContainerConfig("busybox", ("sh", "-c", "exit 3"), name="box", binds=(bind,))
    container = engine.containers.create(config)
    source.rmdir()
    for status, started in (("created", False), ("exited", True)):
        with pytest.raises(errors.KnarrError):
            container.start()
        assert shown(engine, "box")[:2] == (status, 128)
        assert str(source) in shown(engine, "box")[2]
        assert (container.state.started_at > 0) is started
        source.mkdir()
        container.start()
        assert container.wait(30).exit_code == 3
        assert shown(engine, "box") == ("exited", 3, "")
        source.rmdir()
    before = container.state
    with pytest.raises(errors.KnarrError):
        container.start()
    after = container.state
    assert (after.started_at, after.finished_at) == (before.started_at, before.finished_at)
    assert after.exit_code == 128


def test_init_reaps_and_passes_on_the_exit_code(engine: Engine) -> None:
    result = run(engine, "sh", "-c", "echo $$; exit 7", init=True)
    assert result.exit_code == 7
    assert int(result.text) > 1
