"""What a test may not leave on the machine, found by the names that only it used."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from knarr.kernel import process
from knarr.runtime import packets, resolving

from .processes import listener
from .waiting import wait_until

# Seconds in which the kernel and knarr's processes must have finished: an emulated processor that
# others use too needs ten for a fresh interpreter with the engine in it.
PATIENCE = 60.0


def mounts(root: str) -> list[str]:
    """Return the mount points at or below ``root`` in this mount namespace."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if target == root or target.startswith(root + "/"):
            found.append(target)
    return found


def cgroups(parent: str) -> list[str]:
    """Return directories called like the cgroup ``parent`` (or its slice) in any hierarchy."""
    name = parent.strip("/")
    top = Path("/sys/fs/cgroup")
    found = []
    for hierarchy in (top, *top.glob("*/")):
        for candidate in (name, f"{name}.slice"):
            if (hierarchy / candidate).is_dir():
                found.append(str(hierarchy / candidate))
    return found


def remove_cgroups(parent: str) -> None:
    """Remove the cgroup ``parent`` in every hierarchy; all below it must be empty of processes."""
    for folder in cgroups(parent):
        for inner in sorted(Path(folder).rglob("*/"), reverse=True):
            inner.rmdir()
        Path(folder).rmdir()


def _processes() -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (pid, command line, environment) of every process that lets us look."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        yield int(entry), command, environment


def started_with(run_root: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (pid, command line, environment) of processes that were started with ``run_root``."""
    word = os.fsencode(run_root)
    for pid, command, environment in _processes():
        if pid != os.getpid() and (word in command or b"KNARR_RUN_ROOT=" + word in environment):
            yield pid, command, environment


def processes(run_root: str) -> list[str]:
    """Return "pid: command" of the processes that were started with ``run_root``."""
    return [
        f"{pid}: {command.replace(bytes(1), b' ').decode(errors='replace').strip()}"
        for pid, command, _ in started_with(run_root)
    ]


def end_resolver(run_root: str) -> None:
    """Have the resolver of a run root end, if there is one, also one that is just beginning."""
    wait_until(lambda: not _ask_to_end(run_root) and not has_resolver(run_root))


def has_resolver(run_root: str) -> bool:
    """Tell whether a resolver of a run root is there, or about to be."""
    return any(b"networks.resolver.process" in command for _, command, _ in started_with(run_root))


def _ask_to_end(run_root: str) -> bool:
    """Return whether there was one."""
    try:
        link = packets.connect(run_root, resolving.SOCKET)
    except OSError:
        return False
    try:
        link.settimeout(PATIENCE)
        link.send(b'{"quit":1}')
        link.recv(1)  # until it has gone
    except OSError:
        return True
    finally:
        link.close()
    return True


def end_server(path: str) -> None:
    """End the process that listens on a unix socket (launcher, command server), if any."""
    try:
        pid = listener(path)
    except OSError:
        return  # nobody
    if pid == 0:
        return  # it listened, and has ended since
    try:
        handle = process.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], PATIENCE)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], PATIENCE)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def settle(find: Callable[[], list[str]], patience: float = PATIENCE) -> list[str]:
    """Return what is still found after ``patience`` seconds; [] as soon as nothing is."""
    import time

    deadline = time.monotonic() + patience
    while found := find():
        if time.monotonic() > deadline:
            return found
        time.sleep(0.02)  # there is no event for "a cgroup directory is gone"
    return []
