"""state.json: the old one or the new one, and whose process it speaks of."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knarr.supervisor import rundir, state

HERE = {"status": "running", "pid": os.getpid()}


def mine() -> dict[str, object]:
    return {**HERE, "boot_id": state.boot_id(), "start_time": state.start_time(os.getpid())}


def test_written_is_read(tmp_path: Path) -> None:
    state.write(str(tmp_path), {"a": "\u00e9"})
    state.write(str(tmp_path), {"b": 2})
    assert state.read(str(tmp_path)) == {"b": 2}
    assert os.listdir(tmp_path) == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert state.read(str(tmp_path)) is None
    assert state.read(str(tmp_path / "gone")) is None


def test_a_left_over_temporary_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".state.json.new").write_text("torn")
    state.write(str(tmp_path), {"a": 1})
    assert state.read(str(tmp_path)) == {"a": 1}


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".state.json.new").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        state.write(str(tmp_path), {"a": 1})
    assert not (tmp_path / "victim").exists()


def test_this_process_is_alive() -> None:
    assert state.alive(mine())


@pytest.mark.parametrize(
    "change", [{"start_time": 1}, {"boot_id": "other"}, {"status": "exited"}, {"pid": 2**22 + 1}]
)
def test_another_boot_start_or_status_is_not(change: dict[str, object]) -> None:
    assert not state.alive({**mine(), **change})


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert state.start_time(child.pid) is None
    child.wait()
    assert state.start_time(child.pid) is None


def test_a_process_whose_name_has_blanks_and_brackets(tmp_path: Path) -> None:
    program = tmp_path / "a) S (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "100"])
    try:
        assert state.start_time(child.pid) == state.start_time(child.pid)
        assert isinstance(state.start_time(child.pid), int)
    finally:
        child.kill()
        child.wait()


def test_the_lock_of_a_run_directory(tmp_path: Path) -> None:
    assert not rundir.is_locked(str(tmp_path))
    held = rundir.lock(str(tmp_path))
    assert rundir.is_locked(str(tmp_path))
    with pytest.raises(rundir.Busy):
        rundir.lock(str(tmp_path))
    os.close(held)
    assert not rundir.is_locked(str(tmp_path))
    assert not rundir.is_locked(str(tmp_path / "gone"))


def test_a_socket_below_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    listener = rundir.listen(str(folder))
    client = rundir.connect(str(folder))
    server = rundir.accept(listener)
    client.send(b"hello")
    assert server.recv(10) == b"hello"
    for sock in (client, server, listener):
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        rundir.connect(str(folder))
    rundir.listen(str(folder)).close()
    rundir.remove(str(folder))
    assert not folder.exists()
    rundir.remove(str(folder))


def test_what_is_prepared_shows_once_it_is_published(tmp_path: Path) -> None:
    state.write(str(tmp_path), {"a": 1})
    state.prepare(str(tmp_path), {"a": 2})
    assert state.read(str(tmp_path)) == {"a": 1}
    assert state.unpublished(str(tmp_path)) == {"a": 2}
    state.publish(str(tmp_path))
    assert state.read(str(tmp_path)) == {"a": 2}
    assert state.unpublished(str(tmp_path)) is None
    (tmp_path / ".state.json.new").write_text('{"to')
    assert state.unpublished(str(tmp_path)) is None


@pytest.mark.parametrize("alive", [True, False])
def test_a_start_without_makers_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    monkeypatch.setattr(state, "GATE_SECONDS", 0.01)
    assert state.settled(str(tmp_path)) is None
    record = mine() if alive else {**mine(), "start_time": 1}
    state.prepare(str(tmp_path), record)
    assert state.exists(str(tmp_path))
    assert state.settled(str(tmp_path)) == (record if alive else None)
    assert state.read(str(tmp_path)) == (record if alive else None)
    state.remove(str(tmp_path))
    state.remove(str(tmp_path))
    assert not state.exists(str(tmp_path))


def test_who_has_the_lock_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    held = rundir.lock(str(tmp_path))
    with pytest.raises(rundir.Busy):
        rundir.lock(str(tmp_path), patience=0.01)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(rundir.lock, str(tmp_path), patience=60.0)
        os.close(held)
        os.close(waits.result(60))
