"""Packets with descriptors over SOCK_SEQPACKET, and texts that are too long for one.

What ``channel`` and the launcher's requests have in common: neither says here
what is in a packet.
"""

import _socket
import array
import os

MAX_FDS = 250  # SCM_MAX_FD of the kernel is 253
LIMIT = 4400  # of a packet that only says what is asked for and where: the longest path


class Cut(OSError):
    """A packet or its descriptors did not fit; none of the descriptors was kept."""


def pair() -> "tuple[_socket.socket, _socket.socket]":
    """Return two connected ends that keep packets apart, both close-on-exec."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    return _socket.socketpair(_socket.AF_UNIX, kind)


def send(sock: "_socket.socket", packet: bytes, fds: "list[int]") -> None:
    """Send one packet with descriptors (unix(7), SCM_RIGHTS). Raises OSError."""
    if len(fds) > MAX_FDS:
        raise OSError(7, f"a message cannot carry {len(fds)} descriptors")
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([packet], rights)


def receive(sock: "_socket.socket", limit: int) -> "tuple[bytes, list[int]]":
    """Return one packet and its descriptors (close-on-exec).

    Raises OSError, Cut, and EOFError when the peer is gone.
    """
    packet, ancillary, flags, _ = sock.recvmsg(
        limit, _socket.CMSG_SPACE((MAX_FDS + 1) * 4), _socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % 4])
    if not packet:
        raise EOFError("the peer has gone")
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise Cut(90, "a message was cut off")
    return packet, list(fds)


def in_memory(text: bytes) -> int:
    """Return a descriptor of a memory file that holds ``text`` (memfd_create(2))."""
    memory = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        view = memoryview(text)
        while view:
            view = view[os.write(memory, view) :]
    except BaseException:
        os.close(memory)
        raise
    return memory


def from_memory(fd: int) -> bytes:
    """Return what a memory file holds, and close it."""
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()
