"""A link to the client in its place: PREFIX is found by what the link points to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE
from tests.unit.client.conftest import REPOSITORY, Thin, ends


@pytest.fixture
def prefix(native: Thin) -> Path:
    """An installation with the client, a python and a script."""
    prefix = Path(native.python).parent / "prefix"
    (prefix / "libexec" / "knarr").mkdir(parents=True)
    (prefix / "bin").mkdir()
    client = prefix / "libexec" / "knarr" / f"client-{native.kind}"
    shutil.copy(REPOSITORY / "client" / client.name, client)
    shutil.copy(native.python, prefix / "bin" / "python3")
    script = prefix / "bin" / "knarr"
    script.write_text('#!/bin/sh\necho "script: $*"\nexit 42\n')
    script.chmod(0o755)
    link = prefix.parent / "knarr"
    link.symlink_to(client)
    start = native.words.index("--from-script")
    native.words = [*native.words[: start - 1], str(link)]
    return prefix


def test_it_says_the_same(native: Thin, prefix: Path) -> None:
    process, there = native.listen().serve("run", "x")
    assert there.words[1] == os.fsencode(prefix / "bin" / "python3")
    assert there.words[6:10] == [b"3", os.fsencode(prefix.parent / "knarr"), b"run", b"x"]
    there.say(b"X4")
    assert ends(process) == 4


def test_it_takes_no_orders_that_are_for_the_script(native: Thin, prefix: Path) -> None:
    process, there = native.listen().serve("--from-script", "/bin/sh", "x")
    assert there.words[1] == os.fsencode(prefix / "bin" / "python3")
    assert there.words[8:11] == [b"--from-script", b"/bin/sh", b"x"]
    there.say(b"X1")
    assert ends(process) == 1


def test_without_a_server(native: Thin, prefix: Path) -> None:
    assert prefix.exists()
    native.runs_here(native.start("ps", "-a"))
    native.environment["KNARR_SERVER"] = "off"
    native.runs_here(native.start("ps", "-a"), "off")


def test_where_python_is_elsewhere_the_script_is_asked(native: Thin, prefix: Path) -> None:
    (prefix / "bin" / "python3").unlink()
    done = subprocess.run(
        [*native.words, "ps", "-a"],
        env=native.environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (42, b"script: ps -a\n")
