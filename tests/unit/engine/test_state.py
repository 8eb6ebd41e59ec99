"""States merged from rows and files, and Docker's words for them."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from knarr.config import Settings
from knarr.engine import host, state
from knarr.engine.paths import Paths
from knarr.engine.records import CREATED, REMOVING, ContainerRecord

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (1.9, "1 second"),
        (5, "5 seconds"), (59, "59 seconds"), (60, "About a minute"), (119, "About a minute"),
        (120, "2 minutes"), (3599, "59 minutes"), (3600, "About an hour"),
        (5399, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"), (60 * 86400, "2 months"), (700 * 86400, "23 months"),
        (730 * 86400, "2 years"), (-5, "Less than a second"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert state.duration(int(seconds * SECOND)) == words


def _record(**changes: object) -> ContainerRecord:
    values: dict[str, object] = {
        "id": "c" * 64, "name": "web", "image_id": "i", "config_json": "{}", "created": 1,
        "state": CREATED, "auto_remove": 0, "owner_pid": 1, "owner_start": 1,
        "boot_id": host.boot_id(), "id_slot": None, "started": None, **changes,
    }  # fmt: skip
    return ContainerRecord(**values)  # type: ignore[arg-type]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(Settings(data_root=str(tmp_path / "d"), run_root=str(tmp_path / "r")), "c" * 64)
    os.makedirs(made.data)
    os.makedirs(made.run)
    return made


def _live(paths: Paths, **changes: object) -> None:
    value = {
        "status": "running", "pid": 42, "start_time": 7, "boot_id": host.boot_id(),
        "started_at": 5 * SECOND, **changes,
    }  # fmt: skip
    Path(paths.state).write_text(json.dumps(value))


def test_created(paths: Paths) -> None:
    assert state.merged(_record(), paths).describe() == "Created"


def test_running_while_its_supervisor_holds_the_lock(paths: Paths) -> None:
    _live(paths)
    with open(paths.supervisor_lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = state.merged(_record(), paths)
        assert (found.status, found.pid, found.stale) == ("running", 42, False)
        assert found.describe(10 * SECOND) == "Up 5 seconds"
    assert state.merged(_record(), paths).stale


def test_exited(paths: Paths) -> None:
    _live(paths, status="exited", exit_code=3, finished_at=6 * SECOND, usage={"cpu_total": 9})
    found = state.merged(_record(), paths)
    assert (found.status, found.pid, found.exit_code, found.usage.cpu_total) == ("exited", 0, 3, 9)
    assert found.describe(126 * SECOND) == "Exited (3) 2 minutes ago"


def test_as_it_ended_while_it_is_started_again(paths: Paths) -> None:
    Path(paths.exit_before).write_text(json.dumps({"status": "exited", "exit_code": 4}))
    found = state.merged(_record(started=1), paths)
    assert (found.status, found.exit_code) == ("exited", 4)


def test_exited_before_a_reboot(paths: Paths) -> None:
    value = {"status": "exited", "exit_code": 4, "finished_at": 1}
    Path(paths.exit).write_text(json.dumps(value))
    assert state.merged(_record(started=1, boot_id="other"), paths).exit_code == 4


def test_running_at_the_reboot(paths: Paths) -> None:
    found = state.merged(_record(started=9, boot_id="other"), paths)
    assert (found.status, found.exit_code, found.started_at) == ("exited", 255, 9)
    _live(paths, boot_id="other")
    assert state.merged(_record(), paths).exit_code == 255


def test_removing(paths: Paths) -> None:
    assert state.merged(_record(state=REMOVING), paths).describe() == "Removal In Progress"


def test_operation_locks_exclude_and_go_away(paths: Paths) -> None:
    with paths.locked():
        with paths.try_locked() as second:
            assert not second
        paths.forget_lock()
        with paths.try_locked() as third:
            assert third  # a new file: the holder of the old one removed the container
    assert os.listdir(f"{paths.run_root}/locks") == [paths.id]


def test_a_run_root_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    from knarr import errors
    from knarr.engine.paths import prepare_run_root

    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(errors.Conflict, match="writable for nobody else"):
        prepare_run_root(str(folder))
