"""``--pidfd-socket``: a caller gets a descriptor of the process, which stays that process's."""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.kernel.process import pidfd_send_signal
from tests.support.bundles import Oci
from tests.support.execs import Execs
from tests.support.waiting import wait_until


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "taker"))
        made.listen()
        yield made


def taken(listener: socket.socket) -> tuple[bytes, int]:
    """Return what was said and the descriptor that came along."""
    listener.setblocking(False)
    with listener.accept()[0] as connection:
        message, rights, _, _ = connection.recvmsg(256, socket.CMSG_SPACE(4))
        (pidfd,) = array.array("i", rights[0][2])
        assert connection.recv(1) == b""
    return message, pidfd


def pid_of(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise AssertionError("no pid descriptor")


@pytest.mark.parametrize("words", [("create",), ("run", "--detach")])
def test_of_a_container(oci: Oci, listener: socket.socket, words: tuple[str, ...]) -> None:
    name = oci.name("taken")
    bundle = str(oci.bundle("sleep", "1000"))
    oci(*words, "-b", bundle, "--pidfd-socket", listener.getsockname(), name)
    message, pidfd = taken(listener)
    assert message == b"standard"
    try:
        assert pid_of(pidfd) == oci.state(name)["pid"]
        pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_until(lambda: oci.state(name)["status"] == "stopped")
    finally:
        os.close(pidfd)


def test_of_a_further_process(oci: Oci, listener: socket.socket) -> None:
    box = Execs(oci, "box").start()
    pid = box.detached("--pidfd-socket", listener.getsockname(), "ID", "sleep", "1000")
    message, pidfd = taken(listener)
    assert message == b"setns"
    try:
        assert pid_of(pidfd) == pid
        pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], 60)[0]
    finally:
        os.close(pidfd)
    assert oci.state(box.name)["status"] == "running"


def test_in_the_foreground_of_a_command_that_has_ended(oci: Oci, listener: socket.socket) -> None:
    box = Execs(oci, "box").start()
    box("--pidfd-socket", listener.getsockname(), "ID", "sh", "-c", "exit 3", status=3)
    _, pidfd = taken(listener)
    with pytest.raises(ProcessLookupError):
        pidfd_send_signal(pidfd, 0)
    os.close(pidfd)


def test_nobody_takes_it(oci: Oci, tmp_path: Path) -> None:
    """Nothing is made, and nothing runs."""
    nowhere = str(tmp_path / "nowhere")
    name = oci.name("none")
    bundle = str(oci.bundle("sleep", "1000"))
    said = oci("create", "-b", bundle, "--pidfd-socket", nowhere, name, check=False)
    assert f"--pidfd-socket {nowhere}: No such file or directory" in said
    assert "does not exist" in oci("state", name, check=False)
    box = Execs(oci, "box").start()
    said = box("--pidfd-socket", nowhere, "ID", "touch", "/tmp/made", status=255)
    assert f"--pidfd-socket {nowhere}: No such file or directory" in said
    assert "made" not in box("ID", "ls", "/tmp").split()


def test_who_has_hung_up_gets_no_container(oci: Oci, tmp_path: Path) -> None:
    """The connection was there and is gone when there is something to send."""
    name = oci.name("gone")
    bundle = oci.bundle("sleep", "1000")
    place = str(tmp_path / "taker")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        fifo = tmp_path / "go"
        os.mkfifo(fifo)
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"read word <{fifo}"]}
        oci.change(bundle, lambda config: config.update(hooks={"createRuntime": [hook]}))
        line = ["create", "-b", str(bundle), "--pidfd-socket", place, name]
        with subprocess.Popen(
            [str(oci.program), *line], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            listener.accept()[0].close()
            fifo.write_text("go\n")
            _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--pidfd-socket: Broken pipe" in err
    assert "does not exist" in oci("state", name, check=False)
