"""``state.json`` of a running container: one writer, replaced by rename, true until reboot."""

import errno
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUNNING = "running"
EXITED = "exited"


def boot_id() -> str:
    """Return the kernel's identifier of this boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> "int | None":
    """Return when a process began, in clock ticks since boot (proc(5), stat field 22).

    None when it has ended.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie is an ended process whose parent has not looked yet.
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def write(run_dir: str, state: "dict[str, Any]", name: str = "state.json") -> None:
    """Replace the state file of a run directory atomically; raises OSError."""
    temporary = f"{run_dir}/.{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        body = json.dumps(state, separators=(",", ":")).encode()
        if os.write(fd, body) < len(body):
            raise OSError(errno.ENOSPC, "the state cannot be written: disk full", temporary)
    finally:
        os.close(fd)
    os.rename(temporary, f"{run_dir}/{name}")


def read(run_dir: str, name: str = "state.json") -> "dict[str, Any] | None":
    """Return the state of a run directory, None when there is none."""
    try:
        with open(f"{run_dir}/{name}", "rb") as file:
            state: dict[str, Any] = json.load(file)
            return state
    except FileNotFoundError:
        return None


def alive(state: "dict[str, Any]") -> bool:
    """Return whether the container's first process still runs: same boot, same pid, same start."""
    return bool(
        state["status"] == RUNNING
        and state["boot_id"] == boot_id()
        and start_time(state["pid"]) == state["start_time"]
    )
