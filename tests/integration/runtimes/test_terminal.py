"""Terminals of containers and commands that another runtime starts."""

from __future__ import annotations

import os

import pytest

from knarr import ExecConfig
from knarr.engine.attach import Attachment
from knarr.kernel import tty
from tests.integration.runtimes.conftest import Box
from tests.support import runtimes
from tests.support.waiting import wait_until


def expect(attachment: Attachment, wanted: bytes) -> bytes:
    """Return what comes until there is ``wanted``."""
    seen = b""
    while wanted not in seen:
        _, data = next(attachment.output(60))
        seen += data
    return seen


def test_a_shell(box: Box) -> None:
    launched = box.engine.containers.launch(
        box.config("sh", tty=True, open_stdin=True), size=(33, 99)
    )
    attachment = launched.attachment
    assert attachment is not None
    with attachment:
        attachment.write(b"stty size; tty; test -c /dev/console && echo con''sole\n")
        assert b"33 99\r\n/dev/pts/0\r\nconsole\r\n" in expect(attachment, b"\r\nconsole\r\n")
        attachment.resize(44, 111)
        attachment.write(b"stty size\n")
        expect(attachment, b"44 111\r\n")
        attachment.write(b"trap 'echo int''errupted' INT; sleep 600\n")
        wait_until(lambda: "sleep 600" in str(launched.container.top().processes))
        attachment.write(b"\x03")
        expect(attachment, b"interrupted\r\n")
        attachment.write(b"exit 6\n")
        assert launched.container.wait(60).exit_code == 6


def test_a_command(box: Box) -> None:
    if not runtimes.can(box.runtime, "exec"):
        pytest.skip("this runtime has no exec")
    web = box.launch("sleep", "600")
    config = ExecConfig(("sh", "-c", "stty size; read x; stty size; exit 3"), tty=True)
    reader, writer = os.pipe()
    try:
        with web.exec(config, stdout=writer, size=(20, 50)) as session:
            assert os.isatty(session.master)
            session.resize(21, 51)
            wait_until(lambda: tty.get_size(session.master) == (21, 51))
            os.write(session.master, b"x\n")
            assert session.wait(60) == 3
        assert os.read(reader, 100).endswith(b"21 51\r\n")
    finally:
        os.close(reader)
        os.close(writer)
    assert not [name for name in os.listdir(web.paths.run) if name.startswith("exec-")]
