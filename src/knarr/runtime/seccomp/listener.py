"""Handing a filter's notifications to an agent (seccomp_unotify(2)).

The process that loads the filter gets a descriptor, and it sends it itself: its next system call
may be one that waits for the agent's answer, and execve closes the descriptor. So the connection
and the message are made before; only the descriptor's number and the process's pid come later.
Source: runtime-spec config-linux.md, "The Container Process State".
"""

import os
import struct

from knarr.runtime import child
from knarr.runtime.program import memory
from knarr.runtime.program.memory import address_of

_SOL_SOCKET, _SCM_RIGHTS = 1, 1
_HEADER = struct.Struct("=QI4xQQQQI4x")  # struct msghdr
_VECTOR = struct.Struct("=QQ")
_CONTROL = struct.Struct("=QiiQ")  # struct cmsghdr, and an int that is padded
_LENGTH = 20  # CMSG_LEN(sizeof(int))
_PIDS = 2  # places for the pid in one message


class Listener:
    """A connection to an agent, and what it is told.

    fd: of the connection; it is this object's. parts: the message as pieces, between which the
    process's pid stands.
    """

    __slots__ = ("_fd", "_parts")

    def __init__(self, fd: int, parts: "tuple[bytes, ...]") -> None:
        if len(parts) > _PIDS + 1:
            raise ValueError("a message with more pids than there is room for")
        self._fd = child.high(fd)
        os.close(fd)
        self._parts = parts

    def place(self) -> None:
        """Set what the program takes from memory, before its process is cloned."""
        pieces = [(address_of(part), len(part)) for part in self._parts]
        vectors = [pieces[0]]
        for piece in pieces[1:]:
            vectors += [(memory.LISTENER_PID, memory.LISTENER_PID_SIZE), piece]
        memory.write(memory.VECTORS, b"".join([_VECTOR.pack(*vector) for vector in vectors]))
        control = _CONTROL.pack(_LENGTH, _SOL_SOCKET, _SCM_RIGHTS, 0)
        memory.write(memory.CONTROL, control)
        message = _HEADER.pack(0, 0, memory.VECTORS, len(vectors), memory.CONTROL, len(control), 0)
        memory.write(memory.MESSAGE, message)
        memory.LISTENER.set(self._fd)

    def tell(self, pid: int) -> None:
        """Say which process it is, as this one sees it, before it is let through its gate."""
        memory.write(memory.LISTENER_PID, str(pid).rjust(memory.LISTENER_PID_SIZE).encode())

    def close(self) -> None:
        """Close this process's end; the one that loads the filter has its own."""
        os.close(self._fd)
