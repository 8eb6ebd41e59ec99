"""The process from which supervisors are forked, and what the launcher has to say to it.

A supervisor shares its memory with whoever it was forked from until one of the two
writes. The launcher writes with every request, so it has a process that does nothing
but wait for a word, fork, and learn: its children are the launcher's (CLONE_PARENT),
which keeps watch over all of them.
"""

import _socket
import gc
import os
import select
import struct
import sys

from knarr.kernel import process as kprocess
from knarr.kernel.clone import CLONE_PARENT, clone3
from knarr.runtime import packets, pages
from knarr.supervisor import drill, lessons, work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.supervisor.work import Work

SPARE, SUCCESSOR, LEARN, _NOTHING = b"+", b">", b"l", b"."
_WORK: "dict[bytes, Work]" = {
    SPARE: work.stand_by,
    SUCCESSOR: work.succeed,
    _NOTHING: lambda _sock, _run_dir: None,
    **work.FORKED,
}
_ANSWER = struct.Struct("=i")  # a pid; an error number when negative; 0: nothing new
# How often learning is left to a child: a launcher that goes on learning learns in place.
_GENERATIONS = 6


class Template:
    """The launcher's side. pid: of the process that forks at present."""

    __slots__ = ("_before", "_sock", "pid")

    def __init__(self, school: "_socket.socket", run_root: str) -> None:
        self._sock, theirs = packets.pair()
        self._before: list[int] = []
        self.pid = os.fork()
        if self.pid == 0:
            work.be_template(lambda: _serve(theirs, school, run_root), theirs, school)
        theirs.close()

    def fork(self, what: bytes, sock: "_socket.socket", run_dir: str) -> int:
        """Return the pid of a new child of the launcher's that does ``what`` over ``sock``.

        Raises OSError; BrokenPipeError or ConnectionResetError when the process has died and
        nothing was done.
        """
        packets.send(self._sock, what + os.fsencode(run_dir), [sock.fileno()])
        return self._answer()

    def learn(self) -> bool:
        """Have it take the lesson that waits; True when ``pid`` is another now. Raises OSError."""
        packets.send(self._sock, LEARN, [])
        successor = self._answer()
        if successor:
            self._before.append(self.pid)
            self.pid = successor
        return bool(successor)

    def _answer(self) -> int:
        told = self._sock.recv(_ANSWER.size)
        if not told:
            raise OSError(10, "the process that forks supervisors has died")
        answer: int = _ANSWER.unpack(told)[0]
        if answer < 0:
            raise OSError(-answer, f"fork: {os.strerror(-answer)}")
        return answer

    def close(self) -> None:
        """Let it end, and wait for those that stayed behind when it learned."""
        self._sock.close()
        for pid in self._before:
            os.waitpid(pid, 0)


def _serve(launcher: "_socket.socket", school: "_socket.socket", run_root: str) -> None:
    """Be the process, until the launcher closes its end."""
    end = select.poll()
    end.register(launcher.fileno(), 0)
    waits = select.poll()
    waits.register(launcher.fileno(), select.POLLIN)
    private = launcher.fileno(), school.fileno()
    learned = 0
    _drill(run_root)
    kprocess.set_name("knarr-template")
    while True:
        if not waits.poll(pages.QUIET * 1000):
            pages.give_back()
        try:
            packet, fds = packets.receive(launcher, packets.LIMIT)
        except (EOFError, ConnectionResetError):
            return
        answer = 0
        if packet != LEARN:
            answer = _fork(packet, fds[0], private)
        elif lesson := lessons.hear(school):
            if learned < _GENERATIONS:
                # Learning writes to memory all over. What was forked before would keep all of
                # that for itself, so this process stays as it was, and a child goes on. It has
                # the child's socket too, so it ends with the child: the launcher is to be told.
                successor, pidfd = clone3(CLONE_PARENT)
                if successor:
                    pages.give_back()
                    end.register(pidfd, select.POLLIN)
                    end.poll()
                    return
                learned += 1
                answer = os.getpid()
            lessons.learn(lesson)
            pages.remember()
        launcher.send(_ANSWER.pack(answer))


def _drill(run_root: str) -> None:
    gc.unfreeze()
    try:
        drill.prepare(run_root, _end_at_once)
    except Exception as error:  # without it supervisors are larger, and nothing else
        print(f"knarr launcher: no drill: {error!r}", file=sys.stderr)
    gc.freeze()
    pages.rehearse(drill.ROUNDS)


def _end_at_once(sock: "_socket.socket") -> int:
    """Return the pid of a child of this process that has nothing to do."""
    return _fork(_NOTHING, os.dup(sock.fileno()), (), 0)


def _fork(packet: bytes, fd: int, private: "tuple[int, ...]", parent: int = CLONE_PARENT) -> int:
    try:
        pid, pidfd = clone3(parent)
    except OSError as error:
        os.close(fd)
        return -(error.errno or 11)
    if pid == 0:
        for own in private:
            os.close(own)
        work.be(_WORK[packet[:1]], _socket.socket(fileno=fd), os.fsdecode(packet[1:]))
    os.close(pidfd)
    os.close(fd)
    return pid
