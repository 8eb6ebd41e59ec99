"""A worker of the server: it waits for one caller and carries out its command."""

import errno
import os
import select
import socket
import sys

from knarr.errors import KnarrError
from knarr.kernel import process
from knarr.kernel.lean import signal
from knarr.oci import likeness, streams
from knarr.oci.errors import NotHereError
from knarr.runtime import packets
from knarr.runtime.deputy import Deputy
from knarr.warm import request as requests
from knarr.warm.request import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from knarr.oci.options import Words
    from knarr.warm.loaded import LoadedCode

    Parse = Callable[[list[str]], Words]
    CarryOut = Callable[[list[str], Deputy], int]

# Of what has no effect unless somebody asks for it, the one that no command passes on.
_NOTICE = signal.SIGURG
_SO_PEERPIDFD = 77  # asm-generic/socket.h, since Linux 6.5
_LONGEST_WORD = 2
_LARGEST = 1024  # bytes of an answer
_HARMLESS = frozenset((signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH))


class Self:
    """What all workers have of their server.

    parse: returns what is said before a command. carry_out: of a command line, returns its
    status. place, inherited: what callers are compared with.
    """

    def __init__(self, parse: "Parse", carry_out: "CarryOut") -> None:
        self.parse = parse
        self.carry_out = carry_out
        self.place = requests.place()
        self.inherited = likeness.inherited("self")


def become_a_command(
    listener: socket.socket,
    notice: int,
    code: "LoadedCode",
    server: int,
    ours: Self,
) -> "NoReturn":
    """Wait for a caller, carry its command out, and end as it would have."""
    # Nothing is done ahead: one command follows another, and somebody awaits whatever is done here.
    # To copy the pages that it may write to, as ``cli.worker`` does, takes 11 ms of a processor.
    came = requests.await_caller(listener, notice, code, server)
    link = came.link
    try:
        pidfd = _descriptor_of(came)
        link.settimeout(requests.PATIENCE)
        request = requests.receive(link)
        link.settimeout(None)
        if not came.fresh or request.place != ours.place:
            raise Refused
        asked = likeness.Asked(came.pid, ours.parse(request.argv[1:]), ours.inherited)
        asked.blocked = request.blocked
        requests.become(request)
        asked.take_over()
        if _has_ended(pidfd):
            raise Refused  # what was looked at may be another with its number
    except (Refused, KnarrError, ValueError, OSError, MemoryError):
        requests.answer(link, b"N")  # it does it itself
    process.set_name("knarr-oci")
    link = socket.socket(fileno=streams.spare(link.detach()))
    caller = Caller(link, streams.spare(pidfd))
    streams.spare(notice)
    caller.listen()
    deputy = Deputy(came.pid, caller.ask)
    try:
        status = ours.carry_out(request.argv[1:], deputy)
    except NotHereError:
        requests.answer(caller.link, b"N")
    if status:
        deputy.reap()
    caller.end(status)


def _descriptor_of(came: requests.Came) -> int:
    """Return a pid descriptor of a caller, of the one that connected if the kernel says (6.5)."""
    try:
        raw = came.link.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return os.pidfd_open(came.pid)
    return int.from_bytes(raw, sys.byteorder)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


class Caller:
    """The process that was called, at the other end of ``link``. pidfd: of it.

    It says signals that it has got, and is killed when it is gone without a word: then so is
    this process, in the middle of whatever it does.
    """

    def __init__(self, link: socket.socket, pidfd: int) -> None:
        self.link = link
        self._answer = b""
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._poll.register(pidfd, select.POLLIN)

    def listen(self) -> None:
        """Have signals come here from now on, whatever this process is doing."""
        signal.signal(_NOTICE, self._hear)
        requests.tell_by(self.link, _NOTICE)
        self._hear(0, None)  # what was said before

    def ask(self, packet: bytes, fds: "Sequence[int]") -> bytes:
        """Return what the caller's process answers to a packet for it (``runtime.deputy``)."""
        self._answer = b""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (_NOTICE,))
        try:
            packets.send(self.link, packet, list(fds))
            while not self._answer:
                # A process that it has just cloned may have its end open, and wait for this one.
                if self.link.fileno() not in dict(self._poll.poll()):
                    self._take(b"")
                self._take(self.link.recv(_LARGEST))
        except OSError:
            self._take(b"")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._answer

    def _hear(self, number: int, frame: object) -> None:
        del number, frame
        for word in requests.heard(self.link):
            self._take(word)

    def _take(self, word: bytes) -> None:
        if not word:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(word) > _LONGEST_WORD:
            self._answer = word
            return
        # More than one letter says that it goes on after a stop.
        self._get(word[0] if len(word) == 1 else int(signal.SIGCONT))

    def _get(self, number: int) -> None:
        """Have a signal do what it would have done there."""
        if signal.getsignal(number) == signal.SIG_DFL and number not in _HARMLESS:
            requests.say(self.link, b"K%d" % number)
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), number)

    def end(self, status: int) -> "NoReturn":
        """Tell the caller how to end, and end."""
        signal.signal(_NOTICE, signal.SIG_IGN)  # that it has gone is no news any more
        requests.let_go_of_streams()
        requests.answer(self.link, b"X%d" % status)
