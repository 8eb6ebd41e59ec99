"""Which files the code in this process came from, and whether they still are the same."""

from __future__ import annotations

import os
import sys

Code = list[tuple[str, int, int]]


def loaded_code() -> Code:
    """Return (file, modification time in ns, inode) of all code of ours that is loaded."""
    files = {sys.executable}
    for name, module in list(sys.modules.items()):
        if name == "knarr" or name.startswith("knarr."):
            files.add(getattr(module, "__file__", None) or sys.executable)
    states = [(file, os.stat(file)) for file in sorted(files)]
    return [(file, info.st_mtime_ns, info.st_ino) for file, info in states]


def unchanged(code: Code) -> bool:
    """Return whether the files of ``loaded_code()`` still are what was loaded."""
    try:
        for file, mtime, inode in code:
            info = os.stat(file)
            if info.st_mtime_ns != mtime or info.st_ino != inode:
                return False
    except OSError:
        return False
    return True
