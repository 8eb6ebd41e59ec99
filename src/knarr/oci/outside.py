"""A process that stays in the caller's namespaces while the command itself leaves them.

Nobody comes back out of a user namespace, and hooks are promised the namespaces of the caller. So
what runs there is asked of a process that was forked before: it has the configuration, gets the
name of a hook and the container's state, and answers with what went wrong.

One request and one answer at a time, each a line of JSON. It ends with the command.
"""

import _socket
import os

from knarr.kernel import plainjson, process
from knarr.kernel.lean import signal
from knarr.oci import document, interrupts
from knarr.oci.interrupts import ENDING, Interrupted
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    # by the key of a request, what to do with its value; returns what went wrong, or nothing
    Others = dict[str, Callable[[Any], str]]

HOOKS = ("prestart", "createRuntime", "poststart", "poststop")
_CHUNK = 65536


class Outside:
    """The process that stayed. sock: the stream to it. pid: its own; it is a child of this one."""

    __slots__ = ("_stale", "pid", "sock")

    def __init__(self, sock: "_socket.socket", pid: int) -> None:
        self.sock = sock
        self.pid = pid
        self._stale = False

    def run(self, kind: str, index: int, state: "dict[str, Any]") -> None:
        """Have it run one hook. Raises RuntimeFailure with what that says."""
        error = self.ask({"kind": kind, "index": index, "state": state})
        if error:
            raise RuntimeFailure("error", "hook", error)

    def ask(self, request: "dict[str, Any]") -> str:
        """Return what went wrong, usually nothing. Interrupted ends what it does first."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            _send(self.sock, request | {"stale": self._stale})
            self._stale = False
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                self.sock.recv(1, _socket.MSG_PEEK)  # what is interrupted must not be lost
                signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            except Interrupted:
                interrupts.hold()
                os.kill(self.pid, signal.SIGTERM)
                self._stale = True
                _receive(self.sock)
                raise
            return str(_receive(self.sock))
        except (EOFError, OSError):
            return f"the process that runs hooks has ended (pid {self.pid})"
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self) -> None:
        """End it, and what it still does."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.sock.close()


def needed_for(config: "dict[str, Any]") -> bool:
    """Return whether there are hooks that run in the caller's namespaces."""
    return any(document.hooks(config, kind) for kind in HOOKS)


def leave_behind(config: "dict[str, Any]", others: "Others") -> Outside:
    """Return a new process that stays here, for hooks and what else is asked of it."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    pid = os.fork()
    if pid == 0:
        _serve(theirs, parent, config, others)
    theirs.close()
    made = Outside(ours, pid)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made


def _serve(
    sock: "_socket.socket", parent: int, config: "dict[str, Any]", others: "Others"
) -> "NoReturn":
    try:
        process.set_pdeathsig(signal.SIGKILL)
        if os.getppid() == parent:
            os.setsid()  # keys on the terminal are for the command
            while True:
                _send(sock, _answer(_receive(sock), config, others))
    finally:
        os._exit(0)


def _answer(request: "dict[str, Any]", config: "dict[str, Any]", others: "Others") -> str:
    from knarr.oci import hooks

    for key, act in others.items():
        if key in request:
            return act(request[key])
    while request["stale"] and signal.sigtimedwait(ENDING, 0) is not None:
        continue  # it was for a hook that had just ended
    try:
        interrupts.release()
        try:
            hooks.run_one(config, request["kind"], request["index"], request["state"], None)
        finally:
            interrupts.hold()
    except Interrupted:
        return "interrupted"
    except RuntimeFailure as error:
        return error.message
    except OSError as error:
        return str(error)
    return ""


def _send(sock: "_socket.socket", what: "Any") -> None:
    sock.sendall(plainjson.dumps(what).encode() + b"\n")


def _receive(sock: "_socket.socket") -> "Any":
    """Return what the other side has sent; raises EOFError when it has gone."""
    data = b""
    while not data.endswith(b"\n"):
        more = sock.recv(_CHUNK)
        if not more:
            raise EOFError("the other side has gone")
        data += more
    return plainjson.loads(data)
