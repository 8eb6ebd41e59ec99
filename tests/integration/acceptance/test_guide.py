"""A guide's commands, one after the other in one place, each with what has to come of it."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.acceptance.commands import ROWS, Row

if TYPE_CHECKING:
    from tests.support.installations import Installation
    from tests.support.nethost import NetHost

# A server that says when it is ready, and ends with 0 when it is asked to.
_SERVE = ("trap 'exit 0' TERM; echo listening; busybox httpd -f -p 127.0.0.1:0 & "
          "touch /tmp/ready; wait")  # fmt: skip
# Name -> what is put into it by a shell, and the instructions that follow.
IMAGES: dict[str, tuple[str, list[str]]] = {
    "myimage": (
        "printf '#!/bin/sh\\necho $@\\n' > /bin/python; chmod 755 /bin/python",
        ['ENTRYPOINT ["python", "app.py"]', 'CMD ["--port", "8000"]'],
    ),
    "shellform": ("true", ["CMD tr '\\0' ' ' < /proc/1/cmdline; echo"]),
    "server": ("true", ['CMD ["sleep", "1000"]']),
    "myapp": (
        "mkdir -p /etc; echo stand-in > /etc/motd",
        ["EXPOSE 3000", f'CMD ["sh", "-c", "{_SERVE}"]'],
    ),
    "postgres:16": (
        "printf '#!/bin/sh\\n' > /bin/pg_isready; chmod 755 /bin/pg_isready",
        ['CMD ["sleep", "1000"]'],
    ),
    "hardened": ("true", ["USER 65532", 'CMD ["id", "-u"]']),
    "debianlike": ("true", ['CMD ["sh"]']),
}


@pytest.fixture
def shelf(nethost: NetHost, box: Installation) -> Installation:
    """The command with all images of the guide, on a host of its own."""
    del nethost
    box.environment["KNARR_DEFAULT_NETWORK"] = "bridge"
    for name, (script, changes) in IMAGES.items():
        assert box.run("run", "--name", "making", "busybox", "sh", "-c", script)[0] == 0
        words = [word for change in changes for word in ("-c", change)]
        assert box.run("commit", *words, "making", name)[0] == 0, name
        assert box.run("rm", "making")[0] == 0
    return box


def test_the_guide(shelf: Installation, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main").write_text("source\n")
    (tmp_path / "src").chmod(0o755)
    problems = [text for row in ROWS for text in _run(shelf, row, str(tmp_path))]
    assert not problems, "\n".join(problems)


def _run(box: Installation, row: Row, here: str) -> list[str]:
    """Run the command of a row; return what is not as it says."""
    words = [word.replace("{here}", here) for word in shlex.split(row.words)]
    netns = os.readlink("/proc/self/ns/net").removeprefix("net:[").removesuffix("]")
    expected = row.out.replace("{netns}", netns)
    code, out, err = box.run(*words)
    said = f"{row.about}: knarr {row.words}: {code}, {out!r}, {err!r}"
    if code != row.code:
        return [f"expected {row.code}: {said}"]
    if row.not_yet:
        first = err.decode().partition("\n")[0]
        return [] if re.search(row.not_yet, first) else [f"expected {row.not_yet}: {said}"]
    if not re.fullmatch(expected, out.decode()):
        return [f"expected {row.out}: {said}"]
    return [] if bool(code) == bool(err) else [f"stderr: {said}"]


def test_what_is_missing_is_refused_and_nothing_else() -> None:
    """A row is either carried out or refused with a text; a failure that is meant has a code."""
    for row in ROWS:
        assert not row.not_yet or (row.code in (1, 125) and not row.out), row
