"""Sandboxes: commands, files, time, and the tie to their owner."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import knarr
from knarr import AsyncSandbox, Engine, Sandbox, errors
from knarr.engine.sandbox import CommandFailed

if TYPE_CHECKING:
    from knarr import Settings


@pytest.fixture
def box(engine: Engine) -> object:
    with Sandbox("busybox", engine=engine) as made:
        yield made


def test_commands(box: Sandbox) -> None:
    result = box.run("sh", "-c", "echo out; echo err >&2; exit 3", timeout=20)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 3)
    assert result.usage.cpu_total is not None
    assert box.run("cat", input="text").text == "text"
    assert box.run("sh", "-c", "echo $A; pwd", env={"A": "1"}, cwd="/tmp").text == "1\n/tmp\n"
    assert box.run("id", "-u", user="9").text == "9\n"


def test_state_stays_between_commands(box: Sandbox) -> None:
    box.run("sh", "-c", "echo kept > /f")
    assert box.run("cat", "/f").text == "kept\n"


def test_time(box: Sandbox) -> None:
    result = box.run("sh", "-c", "echo begun; sleep 100", timeout=0.5)
    assert (result.timed_out, result.exit_code, result.text) == (True, 137, "begun\n")
    with pytest.raises(errors.Timeout) as caught:
        box.run("sleep", "100", timeout=0.2, check=True)
    assert caught.value.result.timed_out  # type: ignore[attr-defined]
    assert box.run("echo", "still here").text == "still here\n"


def test_check(box: Sandbox) -> None:
    with pytest.raises(CommandFailed, match="exit code 3") as caught:
        box.run("sh", "-c", "echo x; exit 3", check=True)
    assert caught.value.result.text == "x\n"
    assert box.run("true", check=True).exit_code == 0


def test_files(box: Sandbox, tmp_path: Path) -> None:
    box.files.write("/tmp/a", b"\x00\xff", mode=0o600)
    assert box.files.read("/tmp/a") == b"\x00\xff"
    assert box.run("stat", "-c", "%a %u", "/tmp/a").text == "600 0\n"
    box.files.mkdir("/tmp/x/y/z")
    box.files.write("/tmp/x/y/z/f", "text")
    assert [entry[:3] for entry in box.files.list("/tmp/x/y")] == [("z", "dir", 4096)]
    assert box.files.list("/tmp/x/y/z")[0][:3] == ("f", "file", 4)
    box.files.get("/tmp/x", str(tmp_path / "out"))
    assert (tmp_path / "out/x/y/z/f").read_text() == "text"
    box.files.put(str(tmp_path / "out/x"), "/tmp/back")
    assert box.files.read("/tmp/back/y/z/f") == b"text"
    box.files.remove("/tmp/x")
    assert not box.files.exists("/tmp/x")
    with pytest.raises(errors.NotFound):
        box.files.read("/tmp/x/y/z/f")
    with pytest.raises(errors.InvalidArgument):
        box.files.read("/tmp")
    with pytest.raises(errors.InvalidArgument):
        box.files.read("relative")


def test_hostile_links_do_not_lead_out(box: Sandbox, tmp_path: Path) -> None:
    box.run("sh", "-c", "mkdir /t; ln -s /etc/shadow /t/s; ln -s ../../../../etc /t/up")
    with pytest.raises(errors.InvalidArchive):
        box.files.get("/t", str(tmp_path / "out"))
    secret = Path("/etc/shadow").read_bytes() if Path("/etc/shadow").exists() else b"?"
    try:
        assert box.files.read("/t/s") != secret
    except errors.NotFound:
        pass


def test_streaming(box: Sandbox) -> None:
    reader, writer = os.pipe()
    session = box.popen("sh", "-c", "for i in 1 2 3; do echo $i; done", stdout=writer)
    os.close(writer)
    with session, open(reader, "rb") as output:
        assert output.read() == b"1\n2\n3\n"
        assert session.wait(30) == 0


def test_limits_hold(engine: Engine) -> None:
    with Sandbox("busybox", memory="16m", pids=10, engine=engine) as box:
        result = box.run("sh", "-c", "x=$(tr '\\0' x < /dev/zero)", timeout=60)
        assert result.exit_code in (2, 137)
        script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo all"
        assert b"all" not in box.run("sh", "-c", script, timeout=30).stdout


def test_options(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with Sandbox(
        "busybox", engine=engine, env={"A": "1"}, user="3:4", workdir="/tmp", read_only=True,
        tmpfs=["/scratch"], binds={str(tmp_path): "/in:ro"}, name="mine", cpus=0.5,
    ) as box:  # fmt: skip
        assert box.name == "mine"
        assert box.run("sh", "-c", "echo $A; id -u; pwd").text == "1\n3\n/tmp\n"
        assert box.run("sh", "-c", "touch /x").exit_code != 0
        assert box.run("sh", "-c", "touch /scratch/x", user="0").exit_code == 0
        assert box.run("cat", "/in/f", user="0").text == "x"


def test_closed_is_closed(engine: Engine) -> None:
    box = Sandbox("busybox", engine=engine)
    box.close()
    box.close()
    with pytest.raises(errors.Conflict, match="closed"):
        box.run("true")
    assert engine.table.all() == []
    engine.tidier.wait()
    assert engine.driver.list_keys() == []


def test_many_threads(engine: Engine) -> None:
    def work(number: int) -> str:
        with Sandbox("busybox", engine=engine) as box:
            return box.run("echo", str(number), timeout=60).text.strip()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [str(number) for number in range(16)]


def test_many_commands_at_once_in_one(box: Sandbox) -> None:
    with ThreadPoolExecutor(6) as pool:
        results = pool.map(lambda n: box.run("sh", "-c", f"sleep 0.1; echo {n}").text, range(18))
        assert list(results) == [f"{number}\n" for number in range(18)]


def test_from_asyncio(engine: Engine) -> None:
    async def work(number: int) -> str:
        async with AsyncSandbox("busybox", engine=engine) as box:
            await box.write("/tmp/f", f"{number}")
            assert await box.read("/tmp/f") == f"{number}".encode()
            return (await box.run("cat", "/tmp/f", timeout=60)).text

    async def main() -> list[str]:
        return list(await asyncio.gather(*(work(number) for number in range(4))))

    assert asyncio.run(main()) == ["0", "1", "2", "3"]


def test_nothing_is_forked_and_no_signal_is_taken(engine: Engine) -> None:
    """No child of ours but the launcher's first life, no handler, no thread left running."""
    import signal

    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    with Sandbox("busybox", engine=engine) as box:
        box.run("true")
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
    engine.tidier.wait()
    assert [thread.name for thread in threading.enumerate() if "knarr" in thread.name] == []


OWNER = """
import sys, time
from knarr import Engine, Sandbox, Settings
engine = Engine(Settings(data_root=sys.argv[1], run_root=sys.argv[2], cgroup_parent=sys.argv[3],
                         default_network="none"))
box = Sandbox("busybox", engine=engine)
box.run("sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
print(box.id, flush=True)
time.sleep(1000)
"""


def test_a_paused_one_is_closed(engine: Engine) -> None:
    with Sandbox("busybox", engine=engine) as box:
        box.container.pause()
    assert engine.containers.list(all=True) == []


@pytest.mark.parametrize("paused", [False, True])
def test_it_dies_with_its_owner(engine: Engine, settings: Settings, *, paused: bool) -> None:
    source = str(Path(knarr.__file__).parents[1])
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, settings.data_root, settings.run_root,
         settings.cgroup_parent],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    try:
        assert owner.stdout is not None
        container = engine.containers.get(owner.stdout.readline().decode().strip())
        assert container.state.running
        if paused:
            container.pause()
        owner.kill()
        container.wait(30)
        deadline = time.monotonic() + 30
        while engine.table.get(container.id) is not None:
            assert time.monotonic() < deadline, "not removed"
            time.sleep(0.05)  # done by the supervisor, which is nobody's child here
        assert engine.driver.list_keys() == []
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdout is not None
        owner.stdout.close()
