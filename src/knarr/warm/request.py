"""What a caller asks a worker for, and how the worker takes the caller's place."""

from __future__ import annotations

import array
import fcntl
import io
import os
import select
import signal
import socket
import struct
import sys
import time

from knarr.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from knarr.warm.loaded import LoadedCode

PROTOCOL = b"knarr/1"
_LARGEST = 256 * 1024
_F_SETSIG = 10  # fcntl.h
PATIENCE = 10.0  # seconds for a caller to say what it wants


class Refused(Exception):
    """This worker must not run the command; the caller runs it itself."""


class Request:
    """What a caller asked for: its argv, environment, umask and descriptors.

    Words of the message, joined by NUL: protocol, interpreter, device:inode of
    the root directory, mount and user namespace, umask, number of arguments,
    the arguments, ``1`` when in the foreground (of the runtime: ``B`` when it
    has signals blocked), then NAME=value for each variable. Descriptors: 0, 1,
    2 and the working directory.
    """

    def __init__(self, data: bytes, fds: list[int]) -> None:
        self.fds = fds
        words = data.split(b"\0")
        if len(fds) != 4 or len(words) < 8:
            raise Refused
        self.place = words[:5]
        self.umask = int(words[5])
        count = int(words[6])
        self.argv = [os.fsdecode(word) for word in words[7 : 7 + count]]
        if not 0 <= count <= len(words) - 8:
            raise Refused
        self.foreground = words[7 + count] == b"1"
        self.blocked = words[7 + count] == b"B"
        self.environ = words[8 + count :]


def place() -> list[bytes]:
    """Return what a caller must share with this process for a command to mean the same here."""
    root = os.stat("/")
    return [
        PROTOCOL,
        os.fsencode(sys.executable),
        b"%d:%d" % (root.st_dev, root.st_ino),
        os.readlink(b"/proc/self/ns/mnt"),
        os.readlink(b"/proc/self/ns/user"),
    ]


class Came:
    """A caller that has been greeted.

    link: to it. pid: its. fresh: whether the code that is loaded still is what is installed;
    else the caller has to run its command itself.
    """

    __slots__ = ("fresh", "link", "pid")

    def __init__(self, link: socket.socket, pid: int, *, fresh: bool) -> None:
        self.link = link
        self.pid = pid
        self.fresh = fresh


def await_caller(
    listener: socket.socket,
    notice: int,
    code: LoadedCode,
    server: int,
    prepare: Callable[[Callable[[], bool]], None] | None = None,
) -> Came:
    """Return a caller of our own user, in a worker that has just been forked.

    prepare: does ahead what can be, and comes to an end when what it is given says that a caller
    is there. The process ends when somebody else calls, and with its server as long as it waits.
    """
    process.set_pdeathsig(signal.SIGTERM)  # without a server nobody follows this worker
    if os.getppid() != server:
        os._exit(0)
    poll = select.poll()
    poll.register(listener, select.POLLIN)

    def awaited() -> bool:
        return bool(poll.poll(0))

    if prepare is not None:
        prepare(awaited)
    link, _ = listener.accept()
    process.set_pdeathsig(0)
    listener.close()
    pid, uid = _peer(link)
    ours = uid == os.geteuid()
    if ours:
        say(link, b"H")
    fresh = code.unchanged()  # while the caller puts its request together
    os.write(notice, b"a" if fresh else b"r")
    if not ours:
        os._exit(0)
    return Came(link, pid, fresh=fresh)


def _peer(link: socket.socket) -> tuple[int, int]:
    """Return pid and user id of who connected (unix(7), SO_PEERCRED)."""
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("=3i", raw)
    return pid, uid


def receive(link: socket.socket) -> Request:
    """Return the request of a caller. Raises Refused for what is none, OSError."""
    size = socket.CMSG_SPACE(8 * 4)
    data, control, flags, _ = link.recvmsg(_LARGEST, size, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, body in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise Refused
    return Request(data, list(fds))


def become(request: Request) -> None:
    """Take over the caller's descriptors, directory, environment and umask. Raises OSError."""
    os.setpgid(0, 0)
    for target, fd in enumerate(request.fds[:3]):
        os.dup2(fd, target)
        os.close(fd)
    os.fchdir(request.fds[3])
    os.close(request.fds[3])
    os.umask(request.umask)
    _take_environment(request.environ)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _open_streams()


def _take_environment(words: list[bytes]) -> None:
    """Make the environment what the caller has; of several with one name the first counts."""
    wanted: dict[bytes, bytes] = {}
    for word in words:
        name, equals, value = word.partition(b"=")
        if name and equals:
            wanted.setdefault(name, value)
    here = os.environb
    for name in [name for name in here if name not in wanted]:
        del here[name]
    for name, value in wanted.items():
        if here.get(name) != value:
            here[name] = value
    time.tzset()


def _open_streams() -> None:
    """Make the text streams anew: buffering and encoding depend on what 0 to 2 are now."""
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8", "surrogateescape"
    )
    sys.stdout = text_output(1)
    sys.stderr = text_output(2)


def text_output(fd: int) -> io.TextIOWrapper:
    """Return a text stream on descriptor ``fd`` that keeps undecodable bytes as they are."""
    raw = io.BufferedWriter(io.FileIO(fd, "w", closefd=False))
    return io.TextIOWrapper(
        raw, "utf-8", "surrogateescape", line_buffering=fd == 2 or os.isatty(fd)
    )


def tell_by(link: socket.socket, number: int = 0) -> None:
    """Have this process get a signal when the caller says something or is gone (fcntl(2)).

    number: which, 0 for SIGIO.
    """
    fd = link.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, _F_SETSIG, number)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def heard(link: socket.socket) -> Iterator[bytes]:
    """Yield what the caller has said meanwhile, nothing (``b""``) in the end when it is gone."""
    while True:
        try:
            word = link.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            word = b""  # reset: gone with something of ours unread
        yield word
        if not word:
            return


def let_go_of_streams() -> None:
    """Have nothing open of the caller's: whoever reads its output sees the end of it now."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def say(link: socket.socket, word: bytes) -> None:
    """Send a word to a caller that may have gone."""
    try:
        link.send(word, socket.MSG_NOSIGNAL)
    except OSError:
        return  # the caller is gone, and a request will not come either


def answer(link: socket.socket, word: bytes) -> NoReturn:
    """Send a last word, and end."""
    say(link, word)
    os._exit(0)
