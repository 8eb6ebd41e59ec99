"""In which network namespace of the host the networks of a run root are: all in one.

It is that of whoever first needs one, and has to be the launcher's, whose children make the
containers' interfaces. Who calls from another (``nsenter -n``, ``ip netns exec``) would make a
second bridge there, or find nothing to take away, and is refused. One in which nothing lives any
more is forgotten: what was made there went with it.
"""

from __future__ import annotations

import os
import socket
import sys

from knarr.errors import Conflict
from knarr.supervisor import rundir
from knarr.supervisor.client import SOCKET

_NOTE = "network-namespace"
_SIZE = 12  # bytes of struct ucred: pid, uid, gid


def require(run_root: str, *, settle: bool = False) -> None:
    """Raise Conflict unless the calling thread is where the networks are.

    settle: where they are nowhere yet, this is the place from now on.
    """
    ours = _own()
    noted = _read(run_root)
    if noted == ours:
        return
    holder = _somebody_in(noted) if noted else 0
    if not holder and settle:
        holder = _launcher(run_root)
        if holder and _of(holder) in (ours, ""):
            holder = 0
    if holder:
        raise Conflict(
            f"networks of {run_root} are in another network namespace than this command, that of "
            f"process {holder}: nsenter -t {holder} -n knarr …"
        )
    if settle:
        _write(run_root, ours)


def _own() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def _of(pid: int) -> str:
    """Return a process's network namespace, "" when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _somebody_in(namespace: str) -> int:
    """Return a process that is in a network namespace, 0 when there is none."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return next((pid for pid in pids if _of(pid) == namespace), 0)


def _launcher(run_root: str) -> int:
    """Return the launcher's number, 0 when there is none."""
    try:
        sock = rundir.connect(run_root, SOCKET)
    except OSError:
        return 0
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _SIZE)
    finally:
        sock.close()
    return int.from_bytes(raw[:4], sys.byteorder)


def _read(run_root: str) -> str:
    try:
        with open(f"{run_root}/{_NOTE}", encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write(run_root: str, namespace: str) -> None:
    fresh = f"{run_root}/.{_NOTE}.{os.getpid()}"
    with open(fresh, "w", encoding="ascii") as file:
        file.write(namespace)
    os.rename(fresh, f"{run_root}/{_NOTE}")
