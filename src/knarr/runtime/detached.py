"""Processes that outlive who starts them: the launcher, the resolver.

They are started with posix_spawn, so the caller, whatever threads it has, is never forked, and
gets no child to wait for. They run from a read-only clone of the interpreter's file: a container
that reaches one through /proc cannot write to it.
"""

import os
import sys

from knarr.kernel.lean import signal
from knarr.runtime.readonly import read_only_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = "import sys, posix; posix.fork() and posix._exit(0); sys.path.append(sys.argv[1]); "
_FLAGS = ("-I", "-S", "-E", "-B")
_KEPT = ("PATH", "LANG", "LC_ALL", "KNARR_DEBUG", "KNARR_TEST_CRASH", "KNARR_TEST_INTERPRETER")


def start(program: str, words: "list[str]", log: str, python: "str | None" = None) -> bool:
    """Start Python with ``program``; return whether it told that it is ready.

    program: a line of Python that finds ``words`` from ``sys.argv[2]`` on, and as the last word
    the descriptor to write a byte to once it is ready. log: where its errors go.
    """
    reader, writer = os.pipe()
    try:
        try:
            _reap(_spawn(program, words, log, writer, python))
        finally:
            os.close(writer)
        return bool(os.read(reader, 1))
    finally:
        os.close(reader)


def begin(program: str, words: "list[str]", log: str) -> "Callable[[], None]":
    """Do as ``start`` without waiting; return what to call later, when it no longer delays.

    Nobody learns whether it became ready. Raises OSError.
    """
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        pid = _spawn(program, words, log, null)
    finally:
        os.close(null)
    return lambda: _reap(pid)


def _spawn(
    program: str, words: "list[str]", log: str, ready: int, python: "str | None" = None
) -> int:
    interpreter = read_only_program(os.path.realpath(python or sys.executable))
    try:
        return _spawn_from(interpreter, _arguments(program, [*words, str(ready)]), log, ready)
    finally:
        os.close(interpreter)


def _spawn_from(interpreter: int, words: "list[str]", log: str, ready: int) -> int:
    os.set_inheritable(ready, True)
    return os.posix_spawn(
        f"/proc/self/fd/{interpreter}",
        words,
        {name: os.environ[name] for name in _KEPT if name in os.environ},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals(),
    )


def _reap(pid: int) -> None:
    try:
        # It forks at once: the caller, which may live long, gets no child to wait for.
        os.waitpid(pid, 0)
    except ChildProcessError:
        # The caller ignores SIGCHLD.
        return


def _arguments(program: str, words: "list[str]") -> "list[str]":
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, *_FLAGS, "-c", _HEAD + program, package, *words]
