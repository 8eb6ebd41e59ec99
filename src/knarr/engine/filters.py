"""Compiled seccomp filters: made once per profile, kept on disk, linked into each container.

A container has a hard link to its own program (``containers/ID/seccomp.bpf``),
so the cache below ``<data_root>/seccomp`` may be emptied at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import Any

from knarr.errors import InvalidArgument
from knarr.runtime.seccomp.cache import Cache

UNUSED_SECONDS = 3600.0


class FilterCache:
    """The filters of one data root."""

    def __init__(self, data_root: str) -> None:
        self._directory = os.path.join(data_root, "seccomp")
        self._cache = Cache(self._directory)
        # By identity: the default profiles are themselves kept objects, and
        # digesting one takes longer than everything else here.
        self._known: dict[int, tuple[dict[str, Any], str]] = {}

    def link(self, profile: dict[str, Any], target: str) -> None:
        """Give a container its filter at ``target``. Raises OSError, InvalidArgument."""
        try:
            os.link(self._program(profile), target)
        except FileNotFoundError:
            self._known.clear()  # emptied since we made it
            shutil.copyfile(self._program(profile), target)
        except OSError:
            shutil.copyfile(self._program(profile), target)  # no more links to that file

    def prune(self) -> int:
        """Remove the programs that no container has linked to for an hour; return how many."""
        try:
            entries = list(os.scandir(self._directory))
        except FileNotFoundError:
            return 0
        horizon = time.time() - UNUSED_SECONDS  # a younger one may just be on its way somewhere
        unused = []
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it has got its name, or somebody else was quicker
            if info.st_nlink == 1 and info.st_ctime < horizon:
                unused.append(entry)
        for entry in unused:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)
        self._known.clear()
        return len(unused)

    def _program(self, profile: dict[str, Any]) -> str:
        known = self._known.get(id(profile))
        if known is None:
            try:
                path = self._cache.file(profile, os.uname().machine)
            except ValueError as error:
                raise InvalidArgument(f"seccomp profile: {error}") from error
            if len(self._known) >= 64:
                self._known.clear()
            known = self._known[id(profile)] = (profile, path)
        return known[1]
