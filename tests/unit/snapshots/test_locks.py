from __future__ import annotations

import os
import threading
from pathlib import Path

from knarr.snapshots import locks


def test_exclusive_once_leaves_no_file(tmp_path: Path) -> None:
    with locks.exclusive_once(str(tmp_path / "lock")):
        assert os.listdir(tmp_path) == ["lock"]
    assert os.listdir(tmp_path) == []


def test_exclusive_once_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside = 0
    worst = 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, worst
        for _ in range(50):
            with locks.exclusive_once(str(tmp_path / "lock")):
                with guard:
                    inside += 1
                    worst = max(worst, inside)
                os.stat(tmp_path)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert worst == 1
    assert os.listdir(tmp_path) == []


def test_shared_and_exclusive(tmp_path: Path) -> None:
    path = str(tmp_path / "all")
    fd = os.open(tmp_path / "all", os.O_CREAT | os.O_RDWR)
    try:
        with locks.shared(path), locks.shared(path):
            assert not locks.try_exclusive(fd)
        with locks.exclusive(path):
            assert not locks.try_exclusive(fd)
        assert locks.try_exclusive(fd)
    finally:
        os.close(fd)
