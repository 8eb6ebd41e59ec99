"""Undo records: what has to be taken back when the process that did it is gone.

One JSON line ``[operation, value]`` is written to the file ``undo`` of a
container's run directory before each act. A process that ends well carries the
list out itself, in reverse, and empties the file; ``replay`` does the same for
one that was killed.
"""

import errno
import json
import os
import signal
import time

from knarr.cgroups import manager
from knarr.supervisor import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Tests name a point here, and the process kills itself right after that line was written; with
# this before the name it kills its parent, and goes on when that has ended.
_PARENT = "parent:"
CRASH_VARIABLE = "KNARR_TEST_CRASH"


def crash_point(name: str) -> None:
    """End this process, or its parent, like ``kill -9`` when a test asks for it at this point."""
    wanted = os.environ.get(CRASH_VARIABLE)
    if wanted is None:
        return
    if wanted == name:
        os.kill(os.getpid(), signal.SIGKILL)
    elif wanted == _PARENT + name:
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            time.sleep(0.001)


def _undo_cgroup(value: "Any") -> None:
    manager.detect(value["manager"]).remove(value["path"])


def _undo_file(value: "Any") -> None:
    try:
        os.unlink(value)
    except FileNotFoundError:
        return


def _undo_event(value: "Any") -> None:
    path, body = value
    journal.append(path, body.encode())


def _undo_link(value: "Any") -> None:
    from knarr.runtime import network

    network.detach(value)


def _undo_ports(value: "Any") -> None:
    from knarr.runtime import portmap

    portmap.unpublish(value["table"], value["bindings"])


def _undo_egress(value: "Any") -> None:
    from knarr.runtime import egress

    egress.withdraw(value)


def _undo_runtime(value: "Any") -> None:
    from knarr.runtime.foreign import Foreign

    Foreign(value, value["run_dir"], value["container"]).remove()


OPERATIONS: "dict[str, Callable[[Any], None]]" = {
    "cgroup": _undo_cgroup,
    "egress": _undo_egress,
    "event": _undo_event,
    "file": _undo_file,
    "link": _undo_link,
    "ports": _undo_ports,
    "runtime": _undo_runtime,
}


class Undo:
    """The undo list of one run directory, open for its one writer."""

    __slots__ = ("_done", "_fd", "path")

    def __init__(self, run_dir: str) -> None:
        self.path = f"{run_dir}/undo"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o600)
        self._done: list[tuple[str, Any]] = []
        _cut_torn_line(self.path)

    def add(self, operation: str, value: "Any") -> None:
        """Record an act that is about to be done; raises OSError when it cannot be recorded."""
        line = json.dumps([operation, value]).encode() + b"\n"
        if os.write(self._fd, line) < len(line):
            _cut_torn_line(self.path)
            raise OSError(errno.ENOSPC, "the act cannot be recorded: disk full", self.path)
        self._done.append((operation, value))
        crash_point(f"undo:{operation}")

    def forget(self) -> None:
        """Take the last record back, since its act was not done; raises OSError."""
        self._done.pop()
        lines = [json.dumps(record).encode() + b"\n" for record in self._done]
        os.ftruncate(self._fd, sum(map(len, lines)))

    def load(self) -> None:
        """Take over the list that a dead writer left in the file."""
        self._done = pending(os.path.dirname(self.path))

    def run(self, only: str = "") -> "list[Exception]":
        """Take everything back in reverse and return the errors; the file is empty when none.

        only: an operation that can be done twice, which is done ahead of the others; its
        records stay.
        """
        errors = _carry_out([record for record in self._done if only in ("", record[0])])
        if not errors and not only:
            os.ftruncate(self._fd, 0)
            self._done.clear()
        return errors

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _cut_torn_line(path: str) -> None:
    """Remove what follows the last newline: a writer died there, or its disk was full."""
    with open(path, "rb+", buffering=0) as file:
        data = file.read() or b""
        file.truncate(data.rfind(b"\n") + 1)


def _carry_out(records: "list[tuple[str, Any]]") -> "list[Exception]":
    errors: list[Exception] = []
    for operation, value in reversed(records):
        try:
            OPERATIONS[operation](value)
        except (OSError, ValueError, KeyError) as error:
            # The rest still has to be taken back; the caller gets all of them.
            errors.append(error)
    return errors


def pending(run_dir: str) -> "list[tuple[str, Any]]":
    """Return the recorded acts that nobody took back; a torn last line was never acted on."""
    try:
        with open(f"{run_dir}/undo", "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return [tuple(json.loads(line)) for line in lines[:-1] if line]


def replay(run_dir: str) -> "list[Exception]":
    """Take back what a dead process recorded; return the errors. Safe to repeat."""
    errors = _carry_out(pending(run_dir))
    if not errors:
        try:
            os.truncate(f"{run_dir}/undo", 0)
        except FileNotFoundError:
            return []
    return errors
