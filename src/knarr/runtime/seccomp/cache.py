"""Compiled filters kept on disk, so that a container's start does not compile.

A file holds the SHA-256 of the program, then the program. What was tampered with,
cut short by a crash or written by somebody else is compiled again and replaced.
"""

import hashlib
import json
import os
import stat

from knarr.runtime.seccomp.assembler import MAX_LENGTH
from knarr.runtime.seccomp.compiler import VERSION, compile  # noqa: A004

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_DIGEST = 32
_INSTRUCTION = 8


class Cache:
    """Compiled filters in the directory ``path``, which is made (0700) when needed."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def program(self, profile: "Mapping[str, Any]", arch: str) -> bytes:
        """Return the program of ``profile`` (see `compiler.compile`), compiled at most once.

        A directory that cannot be written only costs the time to compile. Raises
        ValueError for a bad profile.
        """
        name = self.key(profile, arch)
        program = self._read(name)
        if program is None:
            program = compile(profile, arch)
            self._write(name, program)
        return program

    @staticmethod
    def key(profile: "Mapping[str, Any]", arch: str) -> str:
        """Return the file name for this profile, machine and version of the compiler."""
        text = json.dumps([VERSION, arch, profile], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _read(self, name: str) -> bytes | None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(os.path.join(self._path, name), flags)
        except OSError:
            return None
        try:
            info = os.fstat(fd)
            limit = _DIGEST + MAX_LENGTH * _INSTRUCTION
            ours = info.st_uid == os.geteuid() and not info.st_mode & 0o022
            if not (ours and stat.S_ISREG(info.st_mode) and info.st_size <= limit):
                return None
            data = os.read(fd, limit)
        finally:
            os.close(fd)
        digest, program = data[:_DIGEST], data[_DIGEST:]
        if not program or len(program) % _INSTRUCTION:
            return None
        return program if hashlib.sha256(program).digest() == digest else None

    def _write(self, name: str, program: bytes) -> None:
        """Put the file there by rename, without fsync: a torn one fails its checksum."""
        temporary = os.path.join(self._path, f".{name}.{os.getpid()}")
        try:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            fd = os.open(
                temporary,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
        except OSError:
            return  # read-only, full, or another thread is at it: compiled again next time
        try:
            os.write(fd, hashlib.sha256(program).digest() + program)
            os.rename(temporary, os.path.join(self._path, name))
        except OSError:
            os.unlink(temporary)
        finally:
            os.close(fd)
