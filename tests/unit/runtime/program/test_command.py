"""Finding a command, carried out on the files of this host."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from knarr.runtime import command
from knarr.runtime.program import memory
from knarr.runtime.program.builder import Builder
from tests.support import programs


def _find(name: str, path: str) -> str:
    programs.carry(lambda b: command.find(b, name, path))
    return memory.text_at(memory.PATH.get())


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 4000])
@pytest.mark.usefixtures("way")
def test_a_path_of_any_length(tmp_path: Path, count: int) -> None:
    """An image says what PATH is; a jump reaches 32,767 operations."""
    program = tmp_path / "program"
    program.write_text("")
    program.chmod(0o755)
    nowhere = [f"/n{number}" for number in range(count)]
    assert _find("program", ":".join([*nowhere, str(tmp_path)])) == str(program)
    assert _find("program", ":".join([str(tmp_path), *nowhere])) == str(program)
    with pytest.raises(OSError, match="not found in"):
        _find("program", ":".join(nowhere))


@pytest.mark.usefixtures("way")
def test_a_place_is_looked_at_once() -> None:
    builder = Builder()
    command.find(builder, "program", "/a:/b:/a" + ":" * 30000)
    assert len(builder.finish().notes) < 60


@pytest.mark.usefixtures("way")
def test_no_descriptor_for_the_command_is_not_said_to_be_an_attack() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last, hard))
        found = programs.failure(lambda b: command.find(b, "/bin/sh", ""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(last)
    assert (found.errno, found.kind) == (errno.EMFILE, "error")
    assert found.message == 'exec: "/bin/sh": too many open files'


@pytest.mark.usefixtures("way")
def test_a_magic_link_is_refused() -> None:
    found = programs.failure(lambda b: command.find(b, "/proc/self/exe", ""))
    assert (found.errno, found.kind) == (errno.ELOOP, "not-executable")
    assert found.message == 'exec: "/proc/self/exe": leads through /proc'
