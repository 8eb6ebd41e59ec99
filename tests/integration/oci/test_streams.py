"""What the program gets of its caller: descriptors, a terminal, an owner for its streams."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.terminals import read_all
from tests.support.waiting import wait_until


def with_terminal(oci: Oci, *args: str) -> Path:
    bundle = oci.bundle(*args)
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 77}}
    file.write_text(json.dumps(config))
    return bundle


def test_console_socket_gets_the_terminal(oci: Oci, tmp_path: Path) -> None:
    name = oci.name("tty")
    # Longer than a socket's address may be, as callers' directories are.
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.open(folder, os.O_PATH)
        listener.bind(f"/proc/self/fd/{place}/console")
        os.close(place)
        listener.listen()
        bundle = str(with_terminal(oci, "sh", "-c", "stty size; tty; ls -l /dev/console"))
        oci("create", "--bundle", bundle, "--console-socket", str(folder / "console"), name)
        connection = listener.accept()[0]
    with connection:
        _, rights, _, _ = connection.recvmsg(256, socket.CMSG_SPACE(4))
    (master,) = array.array("i", rights[0][2])
    oci("start", name)
    said = read_all(master).decode()
    os.close(master)
    assert said.startswith("33 77\r\n/dev/pts/0\r\ncrw")


def test_streams_are_free_once_a_container_with_a_terminal_is_created(
    oci: Oci, tmp_path: Path
) -> None:
    """containerd's shim reads what create says to the end, and only then starts it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c"))
        listener.listen()
        bundle = str(with_terminal(oci, "sleep", "1000"))
        name = oci.name("free")
        done = subprocess.run(
            [str(oci.program), "create", "-b", bundle, "--console-socket", f"{tmp_path}/c", name],
            stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (b"", b"")
        assert oci.state(name)["status"] == "created"


def test_terminal_in_the_foreground(oci: Oci) -> None:
    bundle = str(with_terminal(oci, "sh", "-c", "tty; read word; echo got $word"))
    done = subprocess.run(
        [str(oci.program), "run", "-b", bundle, oci.name("front")],
        input=b"hello\n", capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    # What was typed early is echoed before the program says anything.
    # Lines end as in a file: it goes to no terminal.
    assert sorted(done.stdout.split(b"\n")) == [b"", b"/dev/pts/0", b"got hello", b"hello"]


@pytest.mark.parametrize("terminal", [False, True])
def test_terminal_and_console_socket_belong_together(oci: Oci, terminal: bool) -> None:
    bundle = str(with_terminal(oci, "true") if terminal else oci.bundle("true"))
    words = () if terminal else ("--console-socket", "/no/such/socket")
    assert "--console-socket" in oci("create", "-b", bundle, *words, oci.name("x"), check=False)


def descriptors(oci: Oci, *words: str, fds: tuple[int, ...], **more: Any) -> list[str]:
    script = "for fd in 3 4 5 6; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; env"
    bundle = str(oci.bundle("sh", "-c", f"[ -e /proc/$$/fd/4 ] && cat <&4; {script}"))
    done = subprocess.run(
        [str(oci.program), "run", "-b", bundle, *words, oci.name("fds")],
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60, text=True,
        pass_fds=fds, **more,
    )  # fmt: skip
    found: list[str] = done.stdout.splitlines()
    return found


def test_preserved_descriptors_and_no_others(oci: Oci, tmp_path: Path) -> None:
    """3 and 4 are kept, 5 and 6 came along unasked."""
    (tmp_path / "text").write_text("preserved\n")
    kept = os.open(tmp_path / "text", os.O_RDONLY)
    fds = tuple(os.dup2(kept, number) for number in (103, 104, 105, 106))
    program = oci.program.read_text()
    head, _, rest = program.partition("\n")
    moved = "exec 3<&103 4<&104 5<&105 6<&106 103<&- 104<&- 105<&- 106<&-"
    oci.program.write_text(f"#!/bin/bash\n{moved}\n{rest}")
    try:
        found = descriptors(oci, "--preserve-fds", "2", fds=fds)
        assert found[:3] == ["preserved", "3", "4"]
        assert "5" not in found
        environment = {**os.environ, "LISTEN_FDS": "2"}
        found = descriptors(oci, fds=fds, env=environment)
        assert {"3", "4", "LISTEN_FDS=2", "LISTEN_PID=1"} <= set(found)
        found = descriptors(oci, fds=fds)
        assert not {"3", "4", "5", "6"} & set(found)
    finally:
        for fd in (kept, *fds):
            os.close(fd)
        oci.program.write_text(program)
    assert head == "#!/bin/sh"


def test_descriptor_that_is_not_there(oci: Oci) -> None:
    words = ("create", "-b", str(oci.bundle("true")), "--preserve-fds", "3", oci.name("x"))
    assert "--preserve-fds: descriptor" in oci(*words, check=False)


def test_streams_belong_to_the_programs_user(oci: Oci, tmp_path: Path) -> None:
    bundle = oci.bundle("sh", "-c", "echo again >/dev/stderr; id -u")
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["process"]["user"] = {"uid": 1000, "gid": 1000, "umask": 18}
    file.write_text(json.dumps(config))
    name = oci.name("user")
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        words = [str(oci.program), "create", "-b", str(bundle), name]
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=True)
    oci("start", name)
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    assert (tmp_path / "out").read_text() == "1000\n"
    assert (tmp_path / "err").read_text() == "again\n"
    assert (tmp_path / "out").stat().st_uid == 1000
