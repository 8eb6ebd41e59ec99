"""A worker of the command server: waits for one caller and becomes its command."""

from __future__ import annotations

import array
import io
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING

from knarr.cli import context, pages, readiness
from knarr.cli.caller import Caller, Interrupted, ServedCaller
from knarr.kernel import process

if TYPE_CHECKING:
    from knarr.cli.loaded import LoadedCode

PROTOCOL = b"knarr/1"
_LARGEST = 256 * 1024
_PATIENCE = 10.0  # seconds for a caller to say what it wants


class Refused(Exception):
    """This worker must not run the command; the caller runs it itself."""


class Request:
    """What a caller asked for: its argv, environment, umask and descriptors.

    Words of the message, joined by NUL: protocol, interpreter, device:inode of
    the root directory, mount and user namespace, umask, number of arguments,
    the arguments, ``1`` when in the foreground, then NAME=value for each
    variable. Descriptors: 0, 1, 2 and the working directory.
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
        if len(words) < 8 + count:
            raise Refused
        self.foreground = words[7 + count] == b"1"
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


def become_a_command(listener: socket.socket, notice: int, code: LoadedCode, server: int) -> None:
    """Wait for a caller, run its command, end the process; never returns.

    ``notice`` stays open to the end of the command: that is how the server learns of it.
    """
    process.set_pdeathsig(signal.SIGTERM)  # without a server nobody follows this worker
    if os.getppid() != server:
        os._exit(0)
    here = place()
    poll = select.poll()
    poll.register(listener, select.POLLIN)

    def awaited() -> bool:
        return bool(poll.poll(0))

    pages.own(awaited)
    context.ready = readiness.prepare(awaited)
    link, _ = listener.accept()
    process.set_pdeathsig(0)
    listener.close()
    ours = _peer_uid(link) == os.geteuid()
    if ours:
        _say(link, b"H")
    fresh = code.unchanged()  # while the caller puts its request together
    os.write(notice, b"a" if fresh else b"r")
    fresh = fresh and not _is_elsewhere(link)
    if not ours:
        os._exit(0)
    try:
        Caller().prepare_signals()
        link.settimeout(_PATIENCE)
        request, caller = _begin(link, here if fresh else [])
    except (Refused, ValueError):
        _answer(link, b"N")
    except Interrupted as asked:
        _answer(link, b"K%d" % asked.number)
    except OSError:
        _answer(link, b"N")  # a descriptor that is none, or the caller is gone
    else:
        _carry_out(request.argv, caller)


def _begin(link: socket.socket, here: list[bytes]) -> tuple[Request, ServedCaller]:
    request = _receive(link)
    link.settimeout(None)
    if request.place != here:
        raise Refused
    return request, _become(request, link)


def _carry_out(argv: list[str], caller: ServedCaller) -> None:
    try:
        from knarr.cli import main

        sys.argv = argv
        status = main.run(argv[1:], caller)
    except Interrupted as asked:
        status = -asked.number
    caller.end(status)


def _peer_uid(link: socket.socket) -> int:
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid: int = struct.unpack("=3i", raw)[1]
    return uid


def _is_elsewhere(link: socket.socket) -> bool:
    """Return whether the caller has another network than we, which the request does not say."""
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("=3i", raw)[0]
    try:
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:
        return True  # it has gone


def _receive(link: socket.socket) -> Request:
    size = socket.CMSG_SPACE(8 * 4)
    data, control, flags, _ = link.recvmsg(_LARGEST, size, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, body in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise Refused
    return Request(data, list(fds))


def _become(request: Request, link: socket.socket) -> ServedCaller:
    """Take over the caller's descriptors, directory, environment and signals."""
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
    process.set_name("knarr")
    return ServedCaller(link, request.foreground)


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


def _say(link: socket.socket, word: bytes) -> None:
    try:
        link.send(word, socket.MSG_NOSIGNAL)
    except OSError:
        return  # the caller is gone, and a request will not come either


def _answer(link: socket.socket, word: bytes) -> None:
    _say(link, word)
    os._exit(0)
