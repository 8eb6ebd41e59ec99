"""``state.json`` of a running container: one writer, replaced by rename, true until reboot.

A start is recorded in two halves, without a file more: ``prepare`` writes all of the
record while the process waits at its gate, ``publish`` gives it its name once the gate is
open. So no container runs unrecorded, and none that never ran is recorded as having run:
after a death in between, a process that lives has passed its gate, since one that waits
ends with whoever was to open it.
"""

import errno
import json
import os
import select
import time

from knarr.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.supervisor.restart import Again

NAME = "state.json"
start_time = process.start_time
_PREPARED = f".{NAME}.new"
GATE_SECONDS = 1.0
_CHUNK = 16384  # more than a record has
RUNNING = "running"
EXITED = "exited"
_encode = json.JSONEncoder(separators=(",", ":")).encode
# How the record of a start begins, which has its status first.
_BEGIN = f'{{"status":"{RUNNING}",'.encode()
_STARTED = b'"started_at":'
_EMPTY = '""'


def boot_id() -> str:
    """Return the kernel's identifier of this boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def ended(
    body: bytes,
    *,
    code: int,
    oom_killed: bool,
    error: str,
    usage: "dict[str, int | None]",
    again: "Again | None" = None,
) -> bytes:
    """Return the record of a container that has ended now. body: the one of its start, or empty.

    again: the start that is due.

    It is put together as text: a supervisor that parsed and encoded it would touch a
    quarter of a megabyte for that, and hold up who waits for the exit.
    """
    used = ",".join(f'"{k}":{"null" if v is None else v}' for k, v in usage.items())
    end = (
        f'{{"status":"{EXITED}","finished_at":{time.time_ns()},"exit_code":{code},'
        f'"oom_killed":{"true" if oom_killed else "false"},'
        f'"error":{_encode(error) if error else _EMPTY},"usage":{{{used}}}'
    ).encode()
    if not body:
        return end + b"}"
    if again is None and body.startswith(_BEGIN):
        return end + b"," + body[len(_BEGIN) :]
    state = {**json.loads(body), **json.loads(end + b"}")}
    if again is not None:
        at = time.time_ns() + int(again.seconds * 1e9)
        state["restart"] = {"count": again.count, "seconds": again.seconds, "at": at}
    return encode(state)


def started_at(body: bytes) -> int:
    """Return when a container was started (ns since the epoch), by its record; now without one.

    It is found without parsing: see ``ended``.
    """
    _, mark, rest = body.partition(_STARTED)
    digits = rest[:24].partition(b",")[0]
    return int(digits) if mark and digits.isdigit() else time.time_ns()


def write(run_dir: str, state: "dict[str, Any]", name: str = NAME) -> None:
    """Replace the state file of a run directory atomically; raises OSError."""
    replace(run_dir, encode(state), name)


def encode(state: "dict[str, Any]") -> bytes:
    """Return a state as it stands in its file."""
    return _encode(state).encode()


def replace(run_dir: str, body: bytes, name: str = NAME) -> None:
    """Replace the state file of a run directory by an encoded state; raises OSError."""
    _prepare(run_dir, body, name)
    publish(run_dir, name)


def prepare(run_dir: str, state: "dict[str, Any]", name: str = NAME) -> None:
    """Write a state file that nobody sees yet; raises OSError."""
    _prepare(run_dir, encode(state), name)


def _prepare(run_dir: str, body: bytes, name: str) -> None:
    temporary = f"{run_dir}/.{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        if os.write(fd, body) < len(body):
            raise OSError(errno.ENOSPC, "the state cannot be written: disk full", temporary)
    finally:
        os.close(fd)


def publish(run_dir: str, name: str = NAME) -> None:
    """Make what was prepared the state; raises OSError."""
    os.rename(f"{run_dir}/.{name}.new", f"{run_dir}/{name}")


def withdraw(run_dir: str) -> None:
    """Take the name of a start's record away again, if it has got it; raises OSError."""
    try:
        os.rename(f"{run_dir}/{NAME}", f"{run_dir}/{_PREPARED}")
    except FileNotFoundError:
        return


def unpublished(run_dir: str) -> "dict[str, Any] | None":
    """Return what was prepared and has no name yet; None when there is nothing, or it is torn."""
    try:
        return read(run_dir, _PREPARED)
    except ValueError:
        return None


def settled(run_dir: str) -> "dict[str, Any] | None":
    """Return the record of a start whose makers died, published, if the container runs.

    None when there is no such record, or its process never passed the gate: one that
    waits there sees that nobody will open it and ends, for which this waits. One of another
    runtime goes on to wait, and that is asked.
    """
    state = unpublished(run_dir)
    if state is None or not alive(state):
        return None
    if "runtime" in state:
        from knarr.runtime.foreign import Foreign

        if Foreign(state["runtime"], run_dir, state["id"]).status() in ("", "created", "creating"):
            return None
    elif _ends(state["pid"]):
        return None
    publish(run_dir)
    return state


def _ends(pid: int) -> bool:
    try:
        fd = process.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], GATE_SECONDS)[0])
    finally:
        os.close(fd)


def exists(run_dir: str) -> bool:
    """Return whether there is a state, published or not."""
    return any(os.path.exists(f"{run_dir}/{name}") for name in (NAME, _PREPARED))


def published(run_dir: str) -> bool:
    """Return whether there is a state that others see."""
    return os.path.exists(f"{run_dir}/{NAME}")


def remove(run_dir: str) -> None:
    """Remove the state of a container that did not come to run."""
    for name in (NAME, _PREPARED):
        try:
            os.unlink(f"{run_dir}/{name}")
        except FileNotFoundError:
            # It had not got that far.
            continue


def read(run_dir: str, name: str = NAME) -> "dict[str, Any] | None":
    """Return the state of a run directory, None when there is none."""
    body = read_body(run_dir, name)
    return json.loads(body) if body else None


def read_body(run_dir: str, name: str = NAME) -> bytes:
    """Return the state as it stands in its file, empty when there is none."""
    try:
        fd = os.open(f"{run_dir}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        body = b""
        while part := os.read(fd, _CHUNK):
            body += part
    finally:
        os.close(fd)
    return body


def alive(state: "dict[str, Any]") -> bool:
    """Return whether the container's first process still runs: same boot, same pid, same start."""
    return bool(
        state["status"] == RUNNING
        and state["boot_id"] == boot_id()
        and start_time(state["pid"]) == state["start_time"]
    )
