"""The command server: one warm process that keeps one forked worker waiting.

It holds no state. It imports everything once, freezes the heap, listens on
``<run root>/command.sock`` and forks a worker that waits in accept(2); the
worker that has accepted tells it, and it forks the next. It ends when idle,
when its socket is no longer the one at its path, and when the installed
package has changed. One lock per run root keeps a second server away.
Why and how: docs/design/command-server.md.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time

SOCKET = "command.sock"
_UNNAMED = f"{SOCKET}.new"
LOCK = "command.lock"
# How long, and how often (s), a server that does not listen is waited for: to end, or to begin.
_PATIENCE, _PAUSE = 20.0, 0.01


def main(argv: list[str]) -> int:
    """Serve run root ``argv[1]`` until idle.

    Returns 0, also when a server listens already; 1 when others could put a
    socket of theirs into the run root.
    """
    run_root, began = argv[1], time.time_ns()
    os.closerange(3, _highest_fd() + 1)  # whatever the first caller's shell had left open
    os.chdir("/")
    os.umask(0o077)
    os.makedirs(run_root, 0o700, exist_ok=True)
    info = os.stat(run_root)
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        return 1
    lock = os.open(os.path.join(run_root, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _take(lock, os.path.join(run_root, SOCKET)):
        return 0
    line = b"%d\n" % os.getpid()  # for people; nothing relies on it
    os.ftruncate(lock, os.pwrite(lock, line, 0))

    from knarr.cli import loaded, pool

    pool.preload()
    code = loaded.LoadedCode(began)  # before anybody can rely on being served by this code
    leave = pool.Leave()
    served = pool.Pool(listen(run_root), os.path.join(run_root, SOCKET), lock, leave, code)
    try:
        served.serve(_idle_seconds())
    finally:
        served.remove_socket()
    return 0


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


def listen(run_root: str) -> socket.socket:
    """Return a socket that listens in ``run_root``; a stale one is replaced.

    The caller holds the lock, so whatever is at the path belongs to nobody. It gets its name
    when it listens: whoever sees it can connect. A descriptor of the directory keeps the name
    short (unix(7), sun_path).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = os.open(run_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.unlink(_UNNAMED, dir_fd=directory)
        except FileNotFoundError:
            pass  # no server was killed just here
        listener.bind(f"/proc/self/fd/{directory}/{_UNNAMED}")
        os.chmod(_UNNAMED, 0o600, dir_fd=directory)
        listener.listen(128)
        os.rename(_UNNAMED, SOCKET, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)
    return listener


def _highest_fd() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd"))


def _idle_seconds() -> float:
    from knarr.config import SERVER_IDLE

    try:
        return float(os.environ.get("KNARR_SERVER_IDLE") or SERVER_IDLE)
    except ValueError:
        return SERVER_IDLE


if __name__ == "__main__":
    sys.exit(main(sys.argv))
