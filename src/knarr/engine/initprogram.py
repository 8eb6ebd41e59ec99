"""The init of ``--init``: knarr's own, or a static one of the host where knarr brings none.

tini (also as docker-init) and catatonit take the same arguments as ours, ``-- COMMAND``.
They are executed in the container from a sealed copy in memory, so one has to be static:
a dynamic one would be loaded by the container's own libraries.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence

from knarr.errors import Unsupported
from knarr.runtime import init

NAMES = ("tini-static", "tini", "docker-init", "catatonit")
DIRECTORIES = (
    "/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/libexec/docker", "/usr/libexec/podman",
    "/usr/lib/podman", "/usr/local/bin", "/bin", "/sbin",
)  # fmt: skip
_LIMIT = 4 * 1024 * 1024
_PT_INTERP = 3
_HEADERS = {1: "<HHIIIIIHHH", 2: "<HHIQQQIHHH"}  # from e_type to e_phnum, by ELF class (elf(5))


def find(machine: str, directories: Sequence[str] = DIRECTORIES) -> bytes:
    """Return an init for ``machine`` (as uname(2) names it). Raises Unsupported with what to do."""
    try:
        return init.blob(machine)
    except LookupError:
        pass
    for path in _candidates(directories):
        program = _read(path)
        if is_static(program):
            return program
    raise Unsupported(
        f"--init: knarr brings no init for {machine}, and none of {', '.join(NAMES)} was found as"
        " a static executable that only root can change: install tini"
    )


def require_own(machine: str) -> None:
    """Return when knarr brings an init for ``machine``: only that waits. Raises Unsupported."""
    try:
        init.blob(machine)
    except LookupError:
        raise Unsupported(f"sandbox: knarr brings no init for {machine}") from None


def _candidates(directories: Sequence[str]) -> Iterator[str]:
    for name in NAMES:
        for directory in directories:
            path = os.path.realpath(f"{directory}/{name}")
            if os.path.isfile(path) and is_trusted(path):
                yield path


def is_trusted(path: str) -> bool:
    """Return whether only root (or who runs us) can change the file or what its path means."""
    while True:
        info = os.lstat(path)
        if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def _read(path: str) -> bytes:
    """Return the file's bytes; nothing when it is no executable file of reasonable size."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode) or not info.st_mode & 0o111 or info.st_size > _LIMIT:
            return b""
        return file.read(_LIMIT)


def is_static(program: bytes) -> bool:
    """Return whether a little-endian ELF executable asks for no interpreter (elf(5))."""
    layout = _HEADERS.get(program[4]) if program[:4] == b"\x7fELF" and len(program) > 64 else None
    if layout is None or program[5] != 1:
        return False
    fields = struct.unpack_from(layout, program, 16)
    offset, size, count = fields[4], fields[8], fields[9]
    kinds = []
    for number in range(count):
        start = offset + number * size
        if start + 4 > len(program):
            return False
        kinds.append(int.from_bytes(program[start : start + 4], "little"))
    return bool(kinds) and _PT_INTERP not in kinds
