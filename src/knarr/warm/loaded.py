"""Which files the code in this process came from, and whether they still are the same.

A worker has to know before each command, in as little time as can be. So the kernel
is asked to tell of changes (inotify(7)) as they are made; the files are compared one
by one only after it has told of one, and where it cannot be trusted to.
"""

from __future__ import annotations

import mmap
import os
import select
import sys
import time

from knarr.kernel import files, inotify

File = tuple[str, int, int]

_CHANGES = (
    inotify.IN_MODIFY
    | inotify.IN_ATTRIB
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
    | inotify.IN_ONLYDIR
)
# File systems that nobody changes but through this kernel, and whole (statfs(2), f_type).
_LOCAL = {
    0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs",
    0xF2F52010: "f2fs", 0x2FC12FC1: "zfs", 0x73717368: "squashfs", 0xE0F5E1E2: "erofs",
}  # fmt: skip


class LoadedCode:
    """All code of ours that is loaded, as it was when this was made.

    began: time (ns since 1970) before the loading; what was written since may not be what
    was loaded.
    """

    def __init__(self, began: int) -> None:
        names = _loaded_files()
        folders = sorted({os.path.dirname(name) for name in names if name != sys.executable})
        self._watch = _watch(folders)  # first, so that no change falls between
        self._files = [_state(name) for name in names]
        # A watch follows a folder, not its name: that the name still leads there is asked for.
        self._folder, self._python = _place(folders[0]), _state(sys.executable)
        now = time.time_ns()  # a file may have a time to come for ever
        self._stale = any(began <= modified <= now for _, modified, _ in self._files)
        # Not 0: what the kernel had told of was taken off its list, and is being looked at, or was
        # a change. Workers that were forked before share that list.
        self._doubt = mmap.mmap(-1, 1)
        self._poll = select.poll()
        if self._watch >= 0:
            self._poll.register(self._watch, select.POLLIN)

    def unchanged(self) -> bool:
        """Return whether the files still are what was loaded."""
        if self._stale:
            return False
        if self._watch < 0 or self._poll.poll(0) or self._doubt[0]:  # in this order
            return same(self._files)
        try:
            there = _place(self._folder[0]), _state(self._python[0])
        except OSError:
            return False  # moved away or removed
        return there == (self._folder, self._python)

    def settle(self) -> bool:
        """Compare if there is anything to compare, once for all; return as ``unchanged``.

        For the server: what it has looked at here need not be looked at by each worker.
        """
        if self._watch >= 0 and self._poll.poll(0):
            self._doubt[0] = 1
            inotify.drain(self._watch)
            if not same(self._files):
                self._stale = True  # and the doubt stays, for all
            else:
                self._doubt[0] = 0
        return self.unchanged()


def _loaded_files() -> list[str]:
    found = {sys.executable}
    for name, module in list(sys.modules.items()):
        if name == "knarr" or name.startswith("knarr."):
            found.add(getattr(module, "__file__", None) or sys.executable)
    return sorted(found)


def _state(name: str) -> File:
    """Return (file, modification time in ns, inode)."""
    info = os.stat(name)
    return name, info.st_mtime_ns, info.st_ino


def _place(folder: str) -> File:
    info = os.stat(folder)
    return folder, info.st_dev, info.st_ino


def same(states: list[File]) -> bool:
    """Return whether the files still have the times and inodes that were noted."""
    try:
        return all(_state(state[0]) == state for state in states)
    except OSError:
        return False  # one is gone


def _watch(folders: list[str]) -> int:
    """Return a descriptor that becomes readable with a change in one of ``folders``.

    -1 where there is none to be had, or where changes may come from elsewhere: from
    another machine, or from below an overlay.
    """
    try:
        watch = inotify.init()
    except OSError:
        return -1
    try:
        for folder in folders:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if files.fstatfs_type(handle) not in _LOCAL:
                    raise OSError("not local")
            finally:
                os.close(handle)
            inotify.add_watch(watch, folder, _CHANGES)
    except OSError:
        os.close(watch)
        return -1
    return watch
