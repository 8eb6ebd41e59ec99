"""Being asked before a file is read: place and answers."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knarr.kernel import fanotify


@pytest.fixture
def group() -> Iterator[int]:
    try:
        fd = fanotify.init()
    except OSError as error:
        pytest.skip(f"no events before contents are read: {error}")
    yield fd
    os.close(fd)


@pytest.fixture
def marked(group: int) -> Iterator[Path]:
    path = Path("/var/tmp", f"knarr-fanotify-{os.getpid()}")
    path.write_bytes(b"x" * 10_000)
    fd = os.open(path, os.O_RDONLY)
    try:
        fanotify.mark(group, fanotify.ADD, fd)
    except OSError as error:
        pytest.skip(f"not on this file system: {error}")
    finally:
        os.close(fd)
    try:
        yield path
    finally:
        path.unlink()


def next_of(group: int) -> fanotify.Access:
    assert select.select([group], [], [], 30)[0]
    (access,) = fanotify.read(group)
    return access


def test_place_and_answers(group: int, marked: Path) -> None:
    assert fanotify.read(group) == []
    fd = os.open(marked, os.O_RDONLY)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(os.pread, fd, 100, 4000)
        access = next_of(group)
        assert access.pid == os.getpid()
        assert access.offset <= 4000  # in whole pages
        assert access.offset + access.count >= 4100
        assert os.path.samestat(os.fstat(access.fd), os.stat(marked))
        fanotify.answer(group, access)
        assert reading.result(30) == b"x" * 100
        reading = pool.submit(os.pread, fd, 1, 0)
        fanotify.answer(group, next_of(group), errno.EIO)
        error = reading.exception(30)
        assert isinstance(error, OSError)
        assert error.errno == errno.EIO
    os.close(fd)
    fd = os.open(marked, os.O_RDONLY)
    fanotify.mark(group, fanotify.REMOVE, fd)
    assert os.pread(fd, 1, 0) == b"x"
    os.close(fd)


def test_who_was_killed_is_answered_without_error(group: int, marked: Path) -> None:
    pid = os.posix_spawn("/bin/cat", ["cat", str(marked)], {})
    access = next_of(group)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    fanotify.answer(group, access)


def test_what_was_opened_before_is_never_asked_about(group: int, tmp_path: Path) -> None:
    path = Path("/var/tmp", f"knarr-fanotify-before-{os.getpid()}")
    path.write_bytes(b"before")
    try:
        fd = os.open(path, os.O_RDONLY)
        fanotify.mark(group, fanotify.ADD, fd)
        assert os.pread(fd, 10, 0) == b"before"
        os.close(fd)
    finally:
        path.unlink()
    assert fanotify.read(group) == []
