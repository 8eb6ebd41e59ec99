"""``top``: the processes of a container as ps(1) of the host shows them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from knarr import errors
from knarr.engine.pause import running_group
from knarr.engine.state import refuse_restarting
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState

_RENAMED = re.compile(r"(?:^|\s)-?o?([^\s]*)=\s*(PID[^\s]*)", re.ASCII)


class ProcessList(NamedTuple):
    """The headings that ps prints, and for each process its cells."""

    titles: list[str]
    processes: list[list[str]]


def top(
    record: ContainerRecord, paths: Paths, state: ContainerState, options: Sequence[str]
) -> ProcessList:
    """Return the processes in the container's control group, those of execs among them.

    Raises Conflict when it does not run, InvalidArgument for what ps refuses, Unsupported
    without ps.
    """
    refuse_restarting(state, record.id)
    if not state.running:
        raise errors.Conflict(f"container {record.id} is not running")
    words = " ".join(options).split() or ["-ef"]
    check(words)
    with translated(f"container {record.name}"):
        try:
            inside = set(running_group(paths).procs())
        except FileNotFoundError as error:
            raise errors.Conflict(f"container {record.id} is not running") from error
        return chosen(_ps(words, inside), inside)


def check(words: Sequence[str]) -> None:
    """Raise InvalidArgument where another column would be called PID."""
    for name, title in _RENAMED.findall(" ".join(words)):
        if name != "pid":
            raise errors.InvalidArgument(f'specifying "{name}={title}" is not allowed')


def chosen(output: str, inside: Iterable[int]) -> ProcessList:
    """Return what ps printed of these processes. Raises InvalidArgument without their ids."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise errors.InvalidArgument("Couldn't find PID field in ps output")
    column, pids = titles.index("PID"), {str(pid) for pid in inside}
    found, before = [], False
    for line in lines[1:]:
        # The last column may have spaces in it.
        cells = line.split(None, len(titles) - 1)
        if len(cells) <= column:
            continue
        # A thread's line has "-" there and follows its process's.
        before = before if cells[column] == "-" else cells[column] in pids
        if before:
            found.append(cells)
    return ProcessList(titles, found)


def _ps(words: Sequence[str], pids: Iterable[int]) -> str:
    """Return what ps prints of these processes, and perhaps of others.

    Without being told which, it would show a selection by its own rules; but with some
    options it refuses to be told.
    """
    done = _run([*words, f"-q{','.join(map(str, sorted(pids)))}"])
    if done.returncode:
        done = _run(words)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"ends with {done.returncode}"
        raise errors.InvalidArgument(f"ps: {said.removeprefix('ps: ')}")
    return done.stdout


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["ps", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise errors.Unsupported("top needs ps on this machine: install procps") from error
