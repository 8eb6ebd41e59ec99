"""Packets with descriptors over SOCK_SEQPACKET, sockets that have a name, and long texts.

What ``channel`` and the requests to launcher and resolver have in common: neither says here
what is in a packet.
"""

import _socket
import fcntl
import os
import struct
import time

MAX_FDS = 250  # SCM_MAX_FD of the kernel is 253
_SUN_PATH = 108
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
    rights = (
        [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))]
        if fds
        else []
    )
    sock.sendmsg([packet], rights)


def receive(sock: "_socket.socket", limit: int) -> "tuple[bytes, list[int]]":
    """Return one packet and its descriptors (close-on-exec).

    Raises OSError, Cut, and EOFError when the peer is gone.
    """
    packet, ancillary, flags, _ = sock.recvmsg(
        limit, _socket.CMSG_SPACE((MAX_FDS + 1) * 4), _socket.MSG_CMSG_CLOEXEC
    )
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += struct.unpack_from(f"={len(data) // 4}i", data)
    if not packet:
        raise EOFError("the peer has gone")
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise Cut(90, "a message was cut off")
    return packet, fds


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


def _short(directory: str, name: str) -> "tuple[str, int]":
    """Return a path of the socket that fits sun_path, and the descriptor it needs or -1."""
    path = f"{directory}/{name}"
    if len(os.fsencode(path)) < _SUN_PATH:
        return path, -1
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/{name}", fd


def listen_at(directory: str, name: str) -> "_socket.socket":
    """Return a listening socket called ``name`` in a directory (unix(7), SOCK_SEQPACKET)."""
    remove_file(directory, name)
    path, fd = _short(directory, name)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind(path)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return sock


def accept(listener: "_socket.socket") -> "_socket.socket":
    """Return the next connection, close-on-exec; BlockingIOError when there is none."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - the C class has no other name for it
    return _socket.socket(fileno=fd)


def only_server(directory: str, lock: str, name: str) -> "int | None":
    """Return the held lock of the one process that serves a socket in a directory.

    None when another one serves; one that is about to end is awaited. Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{directory}/{lock}", flags, 0o600)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                connect(directory, name).close()
            except OSError:
                time.sleep(0.001)
                continue
            os.close(fd)
            return None
        return fd


def connect(directory: str, name: str) -> "_socket.socket":
    """Return a connection to a socket in a directory; OSError when nobody listens."""
    path, fd = _short(directory, name)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return sock


def remove_file(directory: str, name: str) -> None:
    """Remove a file of the directory if it is there."""
    try:
        os.unlink(f"{directory}/{name}")
    except FileNotFoundError:
        return
