"""The watcher: one process for a run root that answers those who read what has not come yet.

    reader --> EROFS --> piece --> fanotify --> watcher --> fetcher --> registry
                           ^                      |            |
                           |   (long enough now)  |            |
                           +----------------------+ <-- grown -+

It holds the fanotify group and does nothing that can take long; what asks registries is its
child. When the child is killed, another one takes up what is still wanted, and readers wait that
much longer. When the watcher is killed the kernel lets all accesses happen, and they fail: a
piece's file ends where what has come of it ends. The child then becomes the next watcher.

A client sends ``{"look": true}`` when there may be layers that it does not know; the answer comes
when it watches over them and they are mounted. It ends when nothing is on its way any more.
"""

import contextlib
import errno
import fcntl
import os
import resource
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from knarr.images.lazy import process
from knarr.kernel import fanotify
from knarr.kernel import process as kprocess
from knarr.runtime import imagemount
from knarr.runtime.channel import Channel
from knarr.snapshots.drivers.erofs import Driver
from knarr.supervisor import rundir

if TYPE_CHECKING:
    from knarr.kernel.fanotify import Access
    from knarr.snapshots.coming import Coming

# Seconds that a reader waits at most: the fetcher gives up before that, if it is well.
PATIENCE = 30.0
# Seconds in which a piece that did not come is refused at once: the kernel tries a read twice.
_MEMORY = 2.0
_TICK = 0.5
# Pauses (s) before a fetcher that ended is replaced, by how many did so soon after they began.
_RESPITES = (0.0, 0.1, 0.5, 2.0, 5.0)
_STEADY = 10.0
_SPARE = 64  # descriptors that are not for events
_TRIES, _PAUSE = 200, 0.01

Key = tuple[int, int]


class Layer:
    """A layer that is watched over. fd: of its directory, locked; pieces: files by number."""

    def __init__(self, coming: "Coming", fd: int) -> None:
        self.coming = coming
        self.fd = fd
        self.pieces: dict[int, Key] = {}

    def was_removed(self) -> bool:
        """Return whether the layer is gone; one that has arrived has lost only its directory."""
        try:
            return not os.path.samestat(os.stat(self.coming.path), os.fstat(self.fd))
        except FileNotFoundError:
            return not os.path.exists(os.path.dirname(self.coming.path))


class Waiting:
    """An access that waits for a piece; until: when it is refused, on the monotonic clock."""

    def __init__(self, layer: Layer, number: int, access: "Access") -> None:
        self.layer = layer
        self.number = number
        self.access = access
        self.until = time.monotonic() + PATIENCE

    def can_be(self) -> bool:
        """Return whether what is wanted has come."""
        wanted = self.access.offset + self.access.count
        return os.fstat(self.access.fd).st_size >= min(
            wanted, self.layer.coming.length(self.number)
        )


class Watcher:
    """All that the process holds."""

    def __init__(self, data_root: str, run_root: str, group: int) -> None:
        self._places = process.Places(data_root, run_root)
        self._driver = Driver(self._places.snapshots, run_root)
        self._group = group
        self._layers: dict[str, Layer] = {}  # by chain id
        self._files: dict[Key, tuple[Layer, int]] = {}
        self._waiting: list[Waiting] = []
        self._refused: dict[tuple[str, int], float] = {}  # pieces, and until when
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE
        self._fetcher = process.Fetcher(self._places, _fetch)
        self._again = 0.0  # when a fetcher may be started
        self._soon = 0  # how many ended soon after they began
        self._asked = False

    def serve(self, ready: int) -> None:
        """Serve until nothing is on its way; a byte in ``ready`` tells that it listens.

        Without it nobody has started this watcher in order to ask something.
        """
        self._look()  # first: whoever finds it listening relies on that
        listener = rundir.listen_at(self._places.run_root, process.SOCKET)
        listener.setblocking(False)
        if ready == process.NOBODY:
            self._asked = True
        else:
            os.write(ready, b"1")
            os.close(ready)
        clients: list[Channel] = []
        until = time.monotonic() + _STEADY  # so long whoever started it has to ask
        while True:
            self._tend()
            if not self._layers and (self._asked or time.monotonic() > until):
                break
            for fd in self._ready(listener.fileno(), clients):
                if fd == self._group:
                    self._take_events()
                elif fd == listener.fileno():
                    with contextlib.suppress(BlockingIOError):
                        clients.append(Channel(rundir.accept(listener)))
                elif fd in self._fetcher.filenos():
                    self._hear(fd)
                else:  # a client, or what the fetcher had that has just ended
                    self._answer(fd, clients)
        # Whoever has just connected is told by the end of file to start another.
        rundir.remove_file(self._places.run_root, process.SOCKET)
        listener.close()
        self._fetcher.end()

    def _ready(self, listener: int, clients: list[Channel]) -> list[int]:
        """Return the descriptors that have something; waits a tick at most."""
        poll = select.poll()
        for fd in (listener, *self._fetcher.filenos(), *(each.fileno() for each in clients)):
            poll.register(fd, select.POLLIN)
        if len(self._waiting) < self._most:
            poll.register(self._group, select.POLLIN)
        return [fd for fd, _ in poll.poll(_TICK * 1000)]

    def _answer(self, fd: int, clients: list[Channel]) -> None:
        channel = next((each for each in clients if each.fileno() == fd), None)
        if channel is None:
            return
        try:
            channel.receive()
            self._asked = True
            problem = self._look()
            channel.send({"error": problem} if problem else {"layers": len(self._layers)})
        except (EOFError, OSError, ValueError):
            pass  # it has its answer, or has gone
        finally:
            clients.remove(channel)
            channel.sock.close()

    # Layers

    def _look(self) -> str:
        """Watch over layers that are new; return what is wrong with one, or ""."""
        problem = ""
        for coming in self._driver.coming():
            if coming.chain_id in self._layers or coming.reason():
                continue
            try:
                self._take(coming)
            except OSError as error:
                problem = f"layer {coming.chain_id[:19]}: {error.strerror or error}"
                process.log(problem)
        return problem

    def _take(self, coming: "Coming") -> None:
        """Mark a layer's pieces, then say so by the lock, and mount it. Raises OSError."""
        directory, place = self._driver.place_of(coming.chain_id)
        layer = Layer(coming, os.open(coming.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            for number in coming.missing():
                fd = os.open(f"{coming.path}/{number}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fanotify.mark(self._group, fanotify.ADD, fd)
                    status = os.fstat(fd)
                finally:
                    os.close(fd)
                key = status.st_dev, status.st_ino
                layer.pieces[number] = key
                self._files[key] = layer, number
            fcntl.flock(layer.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            imagemount.mount(directory, place)
        except BaseException:
            self._drop(layer)
            raise
        self._layers[coming.chain_id] = layer
        self._fetcher.tell({"layer": coming.chain_id})

    def _drop(self, layer: Layer, error: int = 0) -> None:
        """Watch over a layer no more; who waits for it may go on, or gets an error."""
        for waiting in [each for each in self._waiting if each.layer is layer]:
            self._settle(waiting, error)
        for number in list(layer.pieces):
            self._unmark(layer, number)
        os.close(layer.fd)
        self._layers.pop(layer.coming.chain_id, None)

    def _unmark(self, layer: Layer, number: int) -> None:
        """Have no more events of a piece. One whose name is gone keeps its mark, and its room."""
        key = layer.pieces.pop(number)
        del self._files[key]
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(f"{layer.coming.path}/{number}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == key:
                    fanotify.mark(self._group, fanotify.REMOVE, fd)
            finally:
                os.close(fd)

    # Readers

    def _take_events(self) -> None:
        for access in fanotify.read(self._group):
            status = os.fstat(access.fd)
            layer, number = self._files.get((status.st_dev, status.st_ino), (None, 0))
            is_fetchers = self._fetcher.pid and access.pid == self._fetcher.pid
            if layer is None or is_fetchers:
                fanotify.answer(self._group, access)
                continue
            waiting = Waiting(layer, number, access)
            if waiting.can_be():
                fanotify.answer(self._group, access)
            elif self._refused.get((layer.coming.chain_id, number), 0.0) > time.monotonic():
                fanotify.answer(self._group, access, errno.EIO)
            else:
                self._waiting.append(waiting)
                self._want(waiting)

    def _want(self, waiting: Waiting) -> None:
        self._fetcher.tell({"want": [waiting.layer.coming.chain_id, waiting.number]})

    def _settle(self, waiting: Waiting, error: int = 0) -> None:
        self._waiting.remove(waiting)
        fanotify.answer(self._group, waiting.access, error)

    def _refuse(self, chain_id: str, number: int, reason: str) -> None:
        """Have those who wait for a piece get an error: it does not come now."""
        refused = [
            each
            for each in self._waiting
            if each.layer.coming.chain_id == chain_id and each.number == number
        ]
        for waiting in refused:
            self._settle(waiting, errno.EIO)
        if refused:
            self._refused[chain_id, number] = time.monotonic() + _MEMORY
            text = f"{len(refused)} reads of layer {chain_id[:19]} failed: {reason}"
            process.tell(self._places, refused[0].layer.coming, "fetch-failed", text)

    # The fetcher

    def _tend(self) -> None:
        """Do what time brings: readers that waited too long, layers that are gone, the fetcher."""
        now = time.monotonic()
        self._refused = {key: until for key, until in self._refused.items() if until > now}
        for waiting in [each for each in self._waiting if each.until <= now]:
            self._refuse(waiting.layer.coming.chain_id, waiting.number, "nothing came in time")
        for layer in list(self._layers.values()):
            if layer.was_removed():
                self._drop(layer, errno.EIO)
        if self._layers and not self._fetcher.pid and now >= self._again:
            self._fetcher.begin()
            for chain_id in self._layers:
                self._fetcher.tell({"layer": chain_id})
            for waiting in self._waiting:
                self._want(waiting)
        self._fetcher.flush()

    def _hear(self, fd: int) -> None:
        """Take a message of the fetcher, or note that it has ended."""
        message = self._fetcher.hear(fd)
        if message is None:
            lasted = self._fetcher.ended()
            self._soon = 0 if lasted > _STEADY else self._soon + 1
            pause = _RESPITES[min(self._soon, len(_RESPITES)) - 1] if self._soon else 0.0
            self._again = time.monotonic() + pause
            return
        chain_id = message["layer"]
        layer = self._layers.get(chain_id)
        if layer is None:
            return
        if "grown" in message:
            self._grown(layer, message["grown"])
        elif "failed" in message:
            self._refuse(chain_id, message["failed"], message["reason"])
        elif "arrived" in message:
            self._drop(layer)
        elif "broken" in message:
            self._drop(layer, errno.EIO)

    def _grown(self, layer: Layer, number: int) -> None:
        for waiting in [e for e in self._waiting if e.layer is layer and e.number == number]:
            if waiting.can_be():
                self._settle(waiting)
        is_marked = number in layer.pieces
        if is_marked and layer.coming.here(number) >= layer.coming.length(number):
            self._unmark(layer, number)


def _fetch(places: process.Places, channel: Channel) -> None:
    """Be the fetcher, which needs much that its parent has no room for."""
    from knarr.images.lazy import fetcher

    fetcher.main(places, channel)


def main(data_root: str, run_root: str, ready: int) -> None:
    """Be the watcher of a run root, unless there is one; ``ready``: who waits for it."""
    kprocess.set_dumpable(False)
    kprocess.set_name("knarr-watcher")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    process.set_oom_score(-900)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    if ready == process.NOBODY:
        time.sleep(_TICK)  # it takes the place of one that may have ended by a defect
    lock = os.open(f"{run_root}/{process.LOCK}", flags, 0o600)
    if not _locked(lock, run_root):
        sys.exit(0)
    Watcher(data_root, run_root, fanotify.init()).serve(ready)


def _locked(lock: int, run_root: str) -> bool:
    """Take the lock, when a watcher that is about to end lets go of it; False for a living one."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            with contextlib.suppress(OSError):
                rundir.connect(run_root, process.SOCKET).close()
                return False
            time.sleep(_PAUSE)
    return False
