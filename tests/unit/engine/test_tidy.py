"""The tidier: everything that was asked for gets done, with few threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import knarr
from knarr import errors
from knarr.engine import tidy


def test_what_was_asked_for_is_done_when_wait_returns() -> None:
    done: list[int] = []
    tidier = tidy.Tidier(lambda: done.append(len(done)))
    tidier.wait()
    assert done == []
    for _ in range(100):
        tidier.later()
    tidier.wait()
    assert 1 <= len(done) <= 2
    tidier.later()
    tidier.wait()
    assert len(done) >= 2


def test_requests_of_many_threads_are_not_lost() -> None:
    asked, seen = [0], [0]
    tidier = tidy.Tidier(lambda: seen.__setitem__(0, asked[0]))

    def ask() -> None:
        for _ in range(300):
            asked[0] += 1
            tidier.later()
            if asked[0] % 50 == 0:
                tidier.wait()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tidier.wait()
    assert seen == asked


def test_it_is_done_without_a_wait_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "_PAUSE", 0.001)
    done = threading.Event()
    tidy.Tidier(done.set).later()
    assert done.wait(30)


def test_a_forked_child_does_its_own(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / str(os.getpid())).touch()

    tidier = tidy.Tidier(work)
    tidier.later()
    child = os.fork()  # which waits for the thread, or Python would warn of it from 3.12 on
    if child == 0:
        tidier.later()
        tidier.wait()
        os._exit(0)
    os.waitpid(child, 0)
    assert all(thread.name != "knarr-tidy" for thread in threading.enumerate())
    tidier.wait()
    assert {entry.name for entry in tmp_path.iterdir()} == {str(child), str(os.getpid())}


def test_the_end_of_the_process_waits_for_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from knarr.engine.tidy import Tidier;"
        "tidier = Tidier(Path(sys.argv[1]).touch); tidier.later()"
    )
    source = str(Path(knarr.__file__).parents[1])
    target = tmp_path / "done"
    subprocess.run(
        [sys.executable, "-c", program, str(target)], env={**os.environ, "PYTHONPATH": source},
        check=True, timeout=60,
    )  # fmt: skip
    assert target.exists()


@pytest.mark.parametrize("error", [OSError("disk"), errors.NotFound("image")])
def test_errors_are_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    tidier = tidy.Tidier(fail)
    tidier.later()
    tidier.wait()
    assert "emptying the trash" in caplog.text


def test_nobody_returns_while_another_is_at_it() -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(30)
        done.set()

    tidier = tidy.Tidier(work)
    tidier.later()
    assert begun.wait(30)
    waiter = threading.Thread(target=tidier.wait)
    waiter.start()
    go.set()
    tidier.wait()
    assert done.is_set()
    waiter.join()
