"""Compiled filters kept on disk, so that a container's start does not compile.

A file is the program itself, named after what it was made from, so it may be linked or
opened by whoever loads it. What somebody else could have written is made again.
"""

import hashlib
import os
import stat

from knarr.kernel import plainjson
from knarr.kernel.files import write_all
from knarr.runtime.seccomp.assembler import MAX_LENGTH
from knarr.runtime.seccomp.compiler import VERSION, compile  # noqa: A004

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_INSTRUCTION = 8
_SUFFIX = ".bpf"


class Cache:
    """Compiled filters in the directory ``path``, which is made (0700) when needed."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def file(self, profile: "Mapping[str, Any]", arch: str) -> str:
        """Return the path of the program of ``profile`` (see `compile`), made if it is not there.

        Raises ValueError for a bad profile, OSError when the file cannot be written.
        """
        path = os.path.join(self._path, self.key(profile, arch) + _SUFFIX)
        if self._read(path) is None:
            self._write(path, compile(profile, arch))
        return path

    def program(self, profile: "Mapping[str, Any]", arch: str) -> bytes:
        """Return the program of ``profile``, compiled at most once.

        A directory that cannot be written only costs the time to compile. Raises
        ValueError for a bad profile.
        """
        path = os.path.join(self._path, self.key(profile, arch) + _SUFFIX)
        program = self._read(path)
        if program is None:
            program = compile(profile, arch)
            try:
                self._write(path, program)
            except OSError:
                return program
        return program

    @staticmethod
    def key(profile: "Mapping[str, Any]", arch: str) -> str:
        """Return the digest of this profile, machine and version of the compiler."""
        text = plainjson.dumps([VERSION, arch, profile], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _read(self, path: str) -> bytes | None:
        """Return what ``path`` holds if it can only be ours and has a program's form."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(path, flags)
        except OSError:
            return None
        try:
            info = os.fstat(fd)
            ours = info.st_uid == os.geteuid() and not info.st_mode & 0o022
            size = info.st_size
            if not (ours and stat.S_ISREG(info.st_mode)) or size % _INSTRUCTION:
                return None
            if not 0 < size <= MAX_LENGTH * _INSTRUCTION:
                return None
            return os.read(fd, size)
        finally:
            os.close(fd)

    def _write(self, path: str, program: bytes) -> None:
        """Put the file there whole: written under another name, on disk, then renamed."""
        os.makedirs(self._path, mode=0o700, exist_ok=True)
        temporary = f"{path}.{os.getpid()}.{id(program):x}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o400)
        try:
            write_all(fd, program)
            os.fsync(fd)
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
