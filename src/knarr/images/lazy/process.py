"""What the watcher and its child are to each other, and how both tell what happens."""

import contextlib
import importlib.util
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from knarr.kernel import process as kprocess
from knarr.kernel.files import close_range
from knarr.runtime.channel import Channel
from knarr.supervisor import journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.snapshots.coming import Coming

SOCKET, LOCK, LOG = "lazy.sock", "lazy.lock", "lazy.log"
FETCH_LOCK = "lazy.fetch.lock"
NOBODY = -1  # waits until the watcher is ready
_PROGRAM = (
    "import sys, posix; posix.fork() and posix._exit(0); sys.path += sys.argv[4:]; "
    "from knarr.images.lazy.watcher import main; main(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
)


class Places:
    """Where things are: below the data root and below the run root."""

    def __init__(self, data_root: str, run_root: str) -> None:
        self.data_root = data_root
        self.run_root = run_root
        self.snapshots = f"{data_root}/snapshots"
        self.content = f"{data_root}/content"
        self.log = f"{run_root}/{LOG}"


def arguments(places: Places, ready: int) -> "list[str]":
    """Return the words that make an interpreter the watcher of a run root."""
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    words = [places.data_root, places.run_root, str(ready), package, *_beside(package)]
    return [sys.executable, "-I", "-S", "-E", "-B", "-c", _PROGRAM, *words]


def _beside(package: str) -> "list[str]":
    """Return where zstd is found, if that is neither in the standard library nor beside knarr."""
    found = importlib.util.find_spec("backports")
    roots = (
        [os.path.dirname(each) for each in found.submodule_search_locations or ()] if found else []
    )
    return [each for each in roots if each != package]


class Fetcher:
    """The child that asks registries, for its parent."""

    def __init__(self, places: Places, main: "Callable[[Places, Channel], None]") -> None:
        self._places = places
        self._main = main
        self._channel: Channel | None = None
        self._pidfd = -1
        self._began = 0.0
        self._unsent: list[dict[str, Any]] = []
        self.pid = 0

    def begin(self) -> None:
        """Fork it; it knows no layers yet. Raises OSError."""
        ours, theirs = Channel.pair()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                # At once: the group would live on with this process, and nobody answer for it.
                close_range(3, theirs.fileno() - 1)
                close_range(theirs.fileno() + 1)
                self._main(self._places, theirs)
                status = 0
            except BaseException as error:
                log(f"fetcher: {type(error).__name__}: {error}")
            finally:
                os._exit(status)
        theirs.sock.close()
        ours.sock.setblocking(False)
        self._channel, self.pid, self._pidfd = ours, pid, kprocess.pidfd_open(pid)
        self._began = time.monotonic()
        self._unsent.clear()

    def filenos(self) -> "tuple[int, ...]":
        """Return what is readable when it says something, and when it has ended."""
        return (self._channel.fileno(), self._pidfd) if self._channel is not None else ()

    def tell(self, message: "dict[str, Any]") -> None:
        """Send a message, now or later: this never waits."""
        if self._channel is not None:
            self._unsent.append(message)
            self.flush()

    def flush(self) -> None:
        """Send what could not be sent before."""
        while self._unsent and self._channel is not None:
            try:
                self._channel.send(self._unsent[0])
            except OSError:  # it is full, or gone, which is seen elsewhere
                return
            del self._unsent[0]

    def hear(self, fd: int) -> "dict[str, Any] | None":
        """Return the next message; None when it has ended."""
        assert self._channel is not None
        if fd == self._pidfd:
            poll = select.poll()
            poll.register(self._channel.fileno(), select.POLLIN)
            if not any(event & select.POLLIN for _, event in poll.poll(0)):
                return None
        try:
            return self._channel.receive()[0]
        except (EOFError, OSError, ValueError):
            return None

    def ended(self) -> float:
        """Take note of its end; return how long it lived (s)."""
        self.end()
        return time.monotonic() - self._began

    def end(self) -> None:
        """Have it end, if it has not, and nothing left of it."""
        if self._channel is None:
            return
        # Before its connection ends, which would make it the next watcher.
        with contextlib.suppress(ProcessLookupError):
            kprocess.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._channel.sock.close()
        os.close(self._pidfd)
        self._channel, self._pidfd, self.pid = None, -1, 0


def set_oom_score(value: int) -> None:
    """Say how soon the kernel may kill this process when memory ends (proc(5))."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(value))
    except OSError:
        return


def log(text: str) -> None:
    """Write a line into the log, which standard error is."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{moment} {text}", file=sys.stderr, flush=True)


def tell(places: Places, coming: "Coming", action: str, text: str) -> None:
    """Log what happened to a layer, and have it among the events of its image."""
    log(text)
    origin = coming.origin
    event = {
        "Type": "image",
        "Action": action,
        "Actor": {
            "ID": origin["image"],
            "Attributes": {"name": origin["name"], "layer": coming.diff_id, "reason": text},
        },
        "scope": "local",
    }
    journal.append(f"{places.run_root}/{journal.NAME}", json.dumps(event)[1:-1].encode())
