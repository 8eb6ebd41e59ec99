"""What a thin command says to its server, and how it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE
from tests.unit.client.conftest import SCRIPT, Thin, ends


def test_the_request_says_all_of_the_caller(thin: Thin, tmp_path: Path) -> None:
    thin.listen()
    thin.environment |= {"EMPTY": "", "LINES": "a\nb"}
    process, there = thin.serve("run", "", "a\udcff b", cwd=tmp_path, umask=0o27)
    root = os.stat("/")
    python = sys.executable if thin.kind == "python" else thin.python
    begin = [
        b"knarr/1",
        os.fsencode(python),
        b"%d:%d" % (root.st_dev, root.st_ino),
        os.readlink(b"/proc/self/ns/mnt"),
        os.readlink(b"/proc/self/ns/user"),
        b"%d" % 0o27,
        b"4",
    ]
    assert there.words[:7] == begin
    assert there.words[7:11] == [os.fsencode(SCRIPT), b"run", b"", b"a\xff b"]
    assert there.words[11] == b"1"  # no terminal: in front
    given = {b"%s=%s" % (k.encode(), v.encode()) for k, v in thin.environment.items()}
    assert set(there.words[12:]) - {b"LC_CTYPE=C.UTF-8"} == given
    assert os.readlink(f"/proc/self/fd/{there.fds[3]}") == str(tmp_path)
    os.write(there.fds[1], b"out")
    os.write(there.fds[2], b"err")
    assert process.stdin is not None
    process.stdin.write(b"in")
    process.stdin.flush()
    assert os.read(there.fds[0], 10) == b"in"
    there.say(b"X7")
    assert process.communicate(timeout=PATIENCE) == (b"out", b"err")
    assert process.returncode == 7


def test_an_empty_environment(native: Thin) -> None:
    native.listen()
    native.environment = {"KNARR_RUN_ROOT": native.environment["KNARR_RUN_ROOT"]}
    process, there = native.serve()
    assert there.words[6:] == [
        b"1", os.fsencode(SCRIPT), b"1",
        b"KNARR_RUN_ROOT=" + os.fsencode(native.environment["KNARR_RUN_ROOT"]),
    ]  # fmt: skip
    there.say(b"X0")
    assert ends(process) == 0


def test_a_relative_python_means_the_same_as_to_python(native: Thin) -> None:
    native.listen()
    folder = Path(native.python).parent
    for relative, absolute in (("./python3", "python3"), ("../x/python3", "../x/python3")):
        words = [relative if word == native.python else word for word in native.words]
        process = subprocess.Popen([*words, "ps"], env=native.environment, cwd=folder)
        there = native.request()
        assert there.words[1] == os.fsencode(f"{folder}/{absolute}")
        there.say(b"X0")
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("code", [0, 1, 125, 255])
def test_it_ends_with_the_code_it_is_told(thin: Thin, code: int) -> None:
    process, there = thin.listen().serve()
    there.say(b"X%d" % code)
    assert ends(process) == code


def test_window_size_is_asked_of_the_terminal_itself(thin: Thin) -> None:
    """The descriptors are the terminal: what a worker asks of them is what the caller sees."""
    thin.listen()
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    process = thin.start("run", stdin=slave, stdout=slave)
    there = thin.request()
    assert os.get_terminal_size(there.fds[0]) == (77, 33)
    there.say(b"X0")
    assert ends(process) == 0
    os.close(master)
    os.close(slave)


def test_the_worker_dies_in_the_middle(thin: Thin) -> None:
    process, there = thin.listen().serve("run")
    there.close()
    there.link.close()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert err == b"knarr: the worker of the command server died before the command ended\n"


def test_the_worker_dies_with_the_request_unread(thin: Thin) -> None:
    process = thin.listen().start("run")
    link = thin.accept()
    assert link.recv(4, socket.MSG_PEEK) == b"knar"
    link.close()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert err.startswith(b"knarr: ")


@pytest.mark.parametrize("size", [60_000, 150_000])
def test_a_large_environment_is_handed_over(thin: Thin, size: int) -> None:
    thin.listen()
    large = {f"V{number}": "x" * 30_000 for number in range(size // 30_000)}
    thin.environment |= large
    process, there = thin.serve("run")
    found = dict(word.split(b"=", 1) for word in there.words[10:])
    assert all(found[name.encode()] == value.encode() for name, value in large.items())
    there.say(b"X0")
    assert ends(process) == 0


def test_a_run_root_too_long_for_an_address(native: Thin) -> None:
    folder = Path(native.python).parent / ("d" * 100)
    folder.mkdir()
    handle = os.open(folder, os.O_PATH)
    native.listener.bind(f"/proc/self/fd/{handle}/command.sock")
    native.listener.listen()
    os.close(handle)
    native.environment["KNARR_RUN_ROOT"] = str(folder)
    process, there = native.serve("ps")
    there.say(b"X0")
    assert ends(process) == 0
