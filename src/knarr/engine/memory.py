"""Sealed memory files: bytes that can be handed on as a descriptor and changed by nobody."""

from __future__ import annotations

import fcntl
import os

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed(name: str, data: bytes) -> int:
    """Return a CLOEXEC descriptor of a memory file with ``data`` for good (memfd_create(2))."""
    handle = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:  # also a signal's: nobody else knows the descriptor
        os.close(handle)
        raise
    return handle
