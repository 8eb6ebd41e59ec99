"""Namespaces that are there already, and those that a maker has to be in before it clones."""

import os

from knarr.kernel.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWTIME,
    NAMESPACES,
    namespace_type,
    setns,
    unshare,
)
from knarr.runtime import child
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Joins = tuple[tuple[int, str], ...]
    Opened = tuple[tuple[int, int], ...]
    Maps = tuple[tuple[int, int, int], ...]

_NAMES = {flag: name for name, (flag, _) in NAMESPACES.items()}
_OFFSETS = "/proc/self/timens_offsets"
# What the container's process enters by itself, and the cell where it finds the descriptor: the
# mount namespace last, that of control groups only in its group, which need not be seen in there.
BY_ITSELF = {CLONE_NEWNS: memory.MOUNT_NAMESPACE, CLONE_NEWCGROUP: memory.CGROUP_NAMESPACE}


def open_all(joins: "Joins") -> "Opened":
    """Return flag and descriptor of each namespace, which is of the kind that it is said to be.

    Raises RuntimeFailure.
    """
    opened: list[tuple[int, int]] = []
    try:
        for flag, path in joins:
            opened.append((flag, _open(flag, path)))
    except BaseException:
        close_all(tuple(opened))
        raise
    return tuple(opened)


def close_all(opened: "Opened") -> None:
    """Close the descriptors."""
    for _, fd in opened:
        os.close(fd)


def _open(flag: int, path: str) -> int:
    try:
        # A FIFO has nobody wait, and a terminal does not become this process's.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise failure(path, error.strerror or "", error.errno or 0) from error
    try:
        found = namespace_type(fd)
    except OSError:
        found = 0  # another kind of file knows no such question
    if found == flag:
        return fd
    os.close(fd)
    kind = f"a namespace of kind {_NAMES[found]}" if found in _NAMES else "no namespace"
    raise failure(path, f"is {kind}, not of kind {_NAMES[flag]}")


def failure(path: str, text: str, errno: int = 0) -> RuntimeFailure:
    """Return why a namespace by path is not entered."""
    return RuntimeFailure("error", "namespaces", f"linux.namespaces: {path}: {text}", errno)


def enter(joins: "Joins") -> None:
    """Enter namespaces, which those that are cloned inherit. Raises RuntimeFailure."""
    opened = open_all(joins)
    try:
        paths = dict(joins)
        for flag, fd in leave_to_process(opened):
            try:
                setns(fd, flag)
            except OSError as error:
                raise failure(paths[flag], error.strerror or "", error.errno or 0) from error
    finally:
        close_all(opened)


def leave_to_process(opened: "Opened") -> "Opened":
    """Set where the container's process finds what it enters by itself; return the others."""
    for flag, fd in opened:
        if flag in BY_ITSELF:
            BY_ITSELF[flag].set(child.high(fd))
    return tuple(one for one in opened if one[0] not in BY_ITSELF)


def make_time(offsets: "tuple[tuple[str, int, int], ...]") -> None:
    """Make a time namespace for those that are cloned from here on (time_namespaces(7)).

    offsets: clock, seconds, nanoseconds. Raises RuntimeFailure. The caller shares its memory
    with nobody that is cloned: such a one would only be in it from its execve on, and only
    since Linux 6.3.
    """
    try:
        unshare(CLONE_NEWTIME)
        if offsets:
            with open(_OFFSETS, "w") as file:
                file.write("".join(f"{clock} {secs} {nsecs}\n" for clock, secs, nsecs in offsets))
    except OSError as error:
        text = f"linux.timeOffsets: {error.strerror}"
        raise RuntimeFailure("error", "time", text, error.errno or 0) from error


def user_maps(pid: int) -> "tuple[Maps, Maps]":
    """Return the id maps of the user namespace that a process is in, as seen from here."""
    return _maps(pid, "uid_map"), _maps(pid, "gid_map")


def _maps(pid: int, name: str) -> "Maps":
    with open(f"/proc/{pid}/{name}") as file:
        rows = [[int(word) for word in line.split()] for line in file]
    return tuple((inside, outside, size) for inside, outside, size in rows)


def host_id(inside: int, maps: "Maps") -> int:
    """Return the host's id for one of the container, -1 (leave alone) when it has none."""
    if not maps:
        return inside
    for start, outside, size in maps:
        if start <= inside < start + size:
            return outside + inside - start
    return -1


def shares_mounts(linux: "dict[str, Any]") -> bool:
    """Return whether the mount namespace is not a new one, so that entering it finds no root."""
    entries = linux.get("namespaces") or ()
    return not any(entry["type"] == "mount" and not entry.get("path") for entry in entries)
