"""A command server: one warm process that keeps one forked worker waiting.

It holds no state. It loads everything once, freezes the heap, listens on ``command.sock`` in a
directory of its own and forks a worker that waits in accept(2); the worker that has accepted
tells it, and it forks the next. It ends when idle, when its socket is no longer the one at its
path, and when the installed package has changed. One lock per directory keeps a second server
away.
"""

import fcntl
import gc
import os
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.warm.pool import Work

SOCKET = "command.sock"
_UNNAMED = f"{SOCKET}.new"
LOCK = "command.lock"
# How long, and how often (s), a server that does not listen is waited for: to end, or to begin.
_PATIENCE, _PAUSE = 20.0, 0.01


class OthersMayWriteError(PermissionError):
    """A directory in which others could put a socket of theirs."""


def serve(
    directory: str,
    began: int,
    prepare: "Callable[[], Work]",
    idle: float,
    ahead: int = 1,
) -> bool:
    """Serve in ``directory`` until idle for so many seconds; return False when another one does.

    began: time (ns since 1970) before anything was loaded. prepare: loads what is needed, and
    returns what a worker does. ahead: how many wait. Raises OthersMayWriteError when others could
    put a socket of theirs there.
    """
    os.chdir("/")
    os.umask(0o077)
    os.makedirs(directory, 0o700, exist_ok=True)
    info = os.stat(directory)
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise OthersMayWriteError(13, "others may write there", directory)
    lock = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _take(lock, os.path.join(directory, SOCKET)):
        os.close(lock)
        return False
    line = b"%d\n" % os.getpid()  # for people; nothing relies on it
    os.ftruncate(lock, os.pwrite(lock, line, 0))

    from knarr.warm import loaded, pool

    work = prepare()
    # Frozen objects are never written to by a collection, so the pages stay shared between the
    # server and its workers.
    gc.collect()
    gc.freeze()
    code = loaded.LoadedCode(began)  # before anybody can rely on being served by this code
    leave = pool.Leave()
    path = os.path.join(directory, SOCKET)
    served = pool.Pool(_listen(directory), path, lock, leave, code, work, ahead)
    try:
        served.serve(idle)
    finally:
        served.remove_socket()
    return True


def _take(lock: int, path: str) -> bool:
    """Take the lock; False when its holder listens at ``path``, or does not come to that.

    One that has just found the package changed does not listen any more: whoever met it has
    started this server, and would start no other.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if os.path.lexists(path) or time.monotonic() > deadline:
                return False
        else:
            return True
        time.sleep(_PAUSE)


def _listen(directory: str) -> socket.socket:
    """Return a socket that listens in ``directory``; a stale one is replaced.

    The caller holds the lock, so whatever is at the path belongs to nobody. It gets its name
    when it listens: whoever sees it can connect. A descriptor of the directory keeps the name
    short (unix(7), sun_path).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.unlink(_UNNAMED, dir_fd=handle)
        except FileNotFoundError:
            pass  # no server was killed just here
        listener.bind(f"/proc/self/fd/{handle}/{_UNNAMED}")
        os.chmod(_UNNAMED, 0o600, dir_fd=handle)
        listener.listen(128)
        os.rename(_UNNAMED, SOCKET, src_dir_fd=handle, dst_dir_fd=handle)
    finally:
        os.close(handle)
    return listener
