"""The loopback interface of the current network namespace (netdevice(7))."""

import _socket
import fcntl
import struct

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def loopback_up() -> None:
    """Set ``lo`` up; the kernel then gives it 127.0.0.1 and ::1."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        request = struct.pack("16sh22x", b"lo", 0)
        flags: int = struct.unpack_from(
            "h", fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, request), 16
        )[0]
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))
    finally:
        sock.close()
