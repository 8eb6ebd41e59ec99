"""The resolver's process, and the one that begins another when it dies.

The first, which does nothing but wait, holds the lock and the listening socket. So while a
resolver that was killed is replaced, nobody is refused: who connects waits for its successor.
When the first itself is killed, the resolver goes on; when both are, the next start of a
container brings up another pair.
"""

import _socket
import gc
import json
import os
import resource
import select
import signal
import sys
import time

from knarr.kernel import process as kprocess
from knarr.kernel.files import close_range
from knarr.networks import vigil
from knarr.networks.resolver.server import NOTHING_LEFT, REPLACED, Server
from knarr.runtime import packets, resolving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOCK = "resolver.lock"
_FILES = 1 << 19
# Seconds: one that lived shorter is not replaced at once, lest it be a defect that kills it.
_LIFE = 1.0


def main(run_root: str, idle: float, ready: int, watched: "Sequence[str]" = ()) -> None:
    """Run the resolver of a run root; ``ready``: descriptor that is told when it listens.

    watched: the firewall's table and how to restore it, as ``networks.vigil.over`` takes it.
    """
    close_range(ready + 1)
    if ready > 3:
        close_range(3, ready - 1)
    kprocess.set_dumpable(False)
    kprocess.set_name("knarr-resolver")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    lock = packets.only_server(run_root, LOCK, resolving.SOCKET)
    if lock is None:
        os.write(ready, b"1")  # another one serves this run root already
        return
    listener = packets.listen_at(run_root, resolving.SOCKET)
    os.write(ready, b"1")
    os.close(ready)
    gc.collect()
    gc.freeze()
    _keep(run_root, listener, idle, watched)


def _keep(run_root: str, listener: "_socket.socket", idle: float, watched: "Sequence[str]") -> None:
    """Have a resolver as long as there is something to serve."""
    while True:
        began = time.monotonic()
        pid = _begin(run_root, listener, idle, watched)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == REPLACED:
            return
        if status == NOTHING_LEFT:
            packets.remove_file(run_root, resolving.SOCKET)
            if not _wanted(run_root, listener):
                return
            listener.close()
            listener = packets.listen_at(run_root, resolving.SOCKET)
            continue
        print(f"knarr resolver: ended with {status}, another one begins", file=sys.stderr)
        if time.monotonic() - began < _LIFE:
            time.sleep(_LIFE)


def _wanted(run_root: str, listener: "_socket.socket") -> bool:
    """Return whether somebody came while the last one was ending."""
    if select.select([listener.fileno()], [], [], 0)[0]:
        return True
    folder = f"{run_root}/{resolving.FOLDER}/{resolving.SOCKETS}"
    return any(_lives(f"{folder}/{name}") for name in os.listdir(folder))


def _lives(path: str) -> bool:
    """Tell whether a container runs that a resolver was told of."""
    try:
        with open(path, "rb") as file:
            told = json.loads(file.read())
        return kprocess.start_time(int(told["pid"])) == int(told["pid_start"])
    except (OSError, KeyError, TypeError, ValueError):
        return False  # it has just been taken away, or it never was one


def _begin(run_root: str, listener: "_socket.socket", idle: float, watched: "Sequence[str]") -> int:
    """Return the pid of a new resolver."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        watches = vigil.over(watched, f"{run_root}/resolver.log")
        status = Server(run_root, listener, idle, watches).serve()
    except BaseException:  # it must not return into its keeper's loop
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
