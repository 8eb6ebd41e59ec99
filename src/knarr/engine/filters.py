"""Compiled seccomp filters: made once per profile, kept on disk, linked into each container.

``<data_root>/seccomp/HEX.bpf`` is a profile's program, HEX the digest of the
profile and the machine. A container has a hard link to its own
(``containers/ID/seccomp.bpf``), so the cache may be emptied at any time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from typing import Any

from knarr.errors import InvalidArgument
from knarr.runtime import seccomp

COMPILER = 1  # raise it when the compiler changes, so that old programs are not used


class FilterCache:
    """The filters of one data root."""

    def __init__(self, data_root: str) -> None:
        self._directory = os.path.join(data_root, "seccomp")
        # By identity: the default profiles are themselves cached objects, and
        # hashing one takes longer than everything else here.
        self._known: dict[int, tuple[dict[str, Any], str]] = {}

    def link(self, profile: dict[str, Any], target: str) -> None:
        """Give a container its filter at ``target``. Raises OSError, InvalidArgument."""
        source = self._compiled(profile)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno == errno.ENOENT:  # emptied by hand since we made it
                self._known.clear()
                source = self._compiled(profile)
            shutil.copyfile(source, target)

    def prune(self) -> int:
        """Remove the programs no container links to; return how many."""
        gone = 0
        try:
            entries = list(os.scandir(self._directory))
        except FileNotFoundError:
            return 0
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_nlink == 1:
                os.unlink(entry.path)
                gone += 1
        self._known.clear()
        return gone

    def _compiled(self, profile: dict[str, Any]) -> str:
        known = self._known.get(id(profile))
        if known is not None:
            return known[1]
        machine = os.uname().machine
        text = json.dumps([COMPILER, machine, profile], sort_keys=True)
        path = f"{self._directory}/{hashlib.sha256(text.encode()).hexdigest()}.bpf"
        if not os.path.exists(path):
            try:
                program = seccomp.compile(profile, machine)
            except ValueError as error:
                raise InvalidArgument(f"seccomp profile: {error}") from error
            self._write(path, program)
        self._known[id(profile)] = (profile, path)
        return path

    def _write(self, path: str, program: bytes) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        temporary = f"{path}.{os.getpid()}.{id(program):x}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o400)
        try:
            os.write(handle, program)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(temporary, path)
