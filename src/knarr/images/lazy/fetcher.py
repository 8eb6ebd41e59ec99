"""The fetcher: the watcher's child, which brings what is wanted, and then the rest.

Threads for pieces that somebody waits for, one for all others, layer by layer from the lowest.
What has come whole is put together, verified and given to the content store. It keeps nothing
that its successor could not see from the files.
"""

import contextlib
import fcntl
import functools
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive, KnarrError, NotFound
from knarr.images.lazy import origin, process
from knarr.kernel.process import set_name
from knarr.registry.patience import Patience
from knarr.snapshots import coming as comings
from knarr.snapshots.drivers.erofs import Driver

if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.channel import Channel
    from knarr.snapshots.coming import Coming

# Shorter than for a pull: somebody's read waits.
PATIENCE = Patience(attempts=2, connect=5.0, stall=10.0, total=30.0, first=0.5, most=1.0)
_AT_ONCE = 4
# Bytes that are asked for at once when nobody waits.
_STRETCH = 2 * 1024 * 1024
# How many pieces are brought at most when one is wanted, and how many bytes with them.
_RUN = 8
_RUN_BYTES = 64 * 1024 * 1024
_PAUSE_FIRST, _PAUSE_MOST = 0.5, 30.0
# Seconds for which nobody waited before the rest is brought, and after which it is all the same:
# who starts reads a little now and then, and the line is to be his.
_QUIET, _LONGEST = 1.0, 30.0


class Work:
    """A layer that is being brought.

    left: pieces that may not be whole; busy: those that a thread has taken on, which are brought
    a second time only for one who waits; wanted: those that somebody waits for. next, run: which
    piece would go on where the last wanted one ended, and how many were brought with that.
    """

    def __init__(self, coming: "Coming", source: origin.RemoteTar) -> None:
        self.coming = coming
        self.source = source
        self.left = coming.missing()
        self.busy: set[int] = set()
        self.writing = threading.Lock()
        self.wanted: set[int] = set()
        self.next, self.run = -1, 1
        self.failed = ""  # why the last attempt at the rest did not succeed

    def stretch(self, first: int, most: int) -> list[int]:
        """Return ``first`` and those after it that can be brought with it, up to ``most`` bytes."""
        found, size = [first], self.coming.length(first)
        for number in range(first + 1, len(self.coming.starts)):
            size += self.coming.length(number)
            if size > most or number in self.busy or self.coming.here(number):
                break
            found.append(number)
        return found


class Fetcher:
    """The threads, and what they share."""

    def __init__(self, places: process.Places, channel: "Channel") -> None:
        self._places = places
        self._channel = channel
        self._sending = threading.Lock()
        self._store = ContentStore(places.content)
        self._driver = Driver(places.snapshots, places.run_root)
        self._works: dict[str, Work] = {}
        self._changed = threading.Condition()
        self._urgent = 0
        self._asked = time.monotonic()  # when somebody last waited, or may have begun to
        self._pool = ThreadPoolExecutor(_AT_ONCE, "wanted")

    def serve(self) -> None:
        """Do as the watcher says until it ends. Raises OSError, EOFError."""
        threading.Thread(target=self._guarded, name="rest", daemon=True).start()
        while True:
            message, _ = self._channel.receive()
            if "layer" in message:
                self._begin(message["layer"])
            elif "want" in message:
                chain_id, number = message["want"]
                self._want(chain_id, number)

    def _say(self, work: Work, **what: "Any") -> None:
        with self._sending:
            self._channel.send({"layer": work.coming.chain_id, **what})

    def _begin(self, chain_id: str) -> None:
        for coming in self._driver.coming():
            if coming.chain_id == chain_id:
                source = origin.of(coming, self._store, PATIENCE)
                with self._changed:
                    self._works.setdefault(chain_id, Work(coming, source))
                    self._asked = time.monotonic()
                    self._changed.notify_all()

    # What somebody waits for

    def _want(self, chain_id: str, number: int) -> None:
        work = self._works.get(chain_id)
        if work is None:
            return
        with self._changed:
            if number in work.wanted:
                return
            work.wanted.add(number)
            self._urgent += 1
        self._pool.submit(self._urgently, work, number)

    def _urgently(self, work: Work, number: int) -> None:
        try:
            stretch = self._take_wanted(work, number)
            try:
                self._bring(work, stretch)
            finally:
                self._release(work, stretch)
            for each in stretch:
                self._say(work, grown=each)
        except (KnarrError, OSError) as error:
            self._say(work, failed=number, reason=str(error))
        except BaseException as error:  # a defect: the next one may do better
            process.log(f"fetcher: {type(error).__name__}: {error}")
            os._exit(1)
        finally:
            with self._changed:
                work.wanted.discard(number)
                self._urgent -= 1
                self._asked = time.monotonic()
                self._changed.notify_all()

    def _take_wanted(self, work: Work, number: int) -> list[int]:
        """Take on a piece, with some after it for one who reads on and on."""
        with self._changed:
            work.run = min(work.run * 2, _RUN) if number == work.next else 1
            stretch = [number]
            if work.coming.here(number) < work.coming.length(number):
                most = min(work.run * work.coming.length(number), _RUN_BYTES)
                stretch = work.stretch(number, most)
            work.next = stretch[-1] + 1
            work.busy.update(stretch)
            return stretch

    def _release(self, work: Work, numbers: Iterable[int]) -> None:
        with self._changed:
            work.busy.difference_update(numbers)
            self._changed.notify_all()

    def _bring(self, work: Work, numbers: list[int]) -> None:
        """Have pieces that follow one another whole, of which only the first has come in part.

        Another thread may be doing the same for some of them: what comes later is not needed.
        """
        coming = work.coming
        here = coming.here(numbers[0])
        if len(numbers) == 1 and here >= coming.length(numbers[0]):
            return
        start = coming.starts[numbers[0]] + here
        end = min(coming.starts[numbers[-1]] + coming.length(numbers[-1]), coming.size)
        data = memoryview(work.source.read_at(start, end - start))
        for number in numbers:
            begin = coming.starts[number]
            until = min(begin + coming.length(number), coming.size)
            with work.writing:
                here = coming.here(number)
                if here < until - begin:
                    _append(coming, number, data[begin + here - start : until - start], here, until)

    # The rest

    def _guarded(self) -> None:
        try:
            self._rest()
        except BaseException as error:
            process.log(f"fetcher: {type(error).__name__}: {error}")
            os._exit(1)

    def _rest(self) -> None:
        """Bring everything, layer by layer; one that cannot be had now is tried again later."""
        pause = _PAUSE_FIRST
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._works))
                works = list(self._works.values())
            failed = [work for work in works if not self._whole(work)]
            if failed:
                time.sleep(pause)
                pause = min(pause * 2, _PAUSE_MOST)
            else:
                pause = _PAUSE_FIRST
                with self._changed:
                    self._changed.wait(_PAUSE_FIRST)  # for those that others are bringing

    def _whole(self, work: Work) -> bool:
        """Bring the rest of a layer and settle it; returns False when it has to be tried again."""
        try:
            self._wait_for_quiet()
            work.source.prepare()
            while stretch := self._take_stretch(work):
                try:
                    self._bring(work, stretch)
                finally:
                    self._release(work, stretch)
                for number in stretch:
                    self._say(work, grown=number)
            if work.coming.missing():
                return True  # others are at it
            self._settle(work)
        except (KnarrError, OSError) as error:
            if isinstance(error, NotFound) and not os.path.isdir(work.coming.path):
                self._works.pop(work.coming.chain_id, None)  # the image was removed
            elif str(error) != work.failed:
                work.failed = str(error)
                process.log(f"layer {work.coming.diff_id[:19]}: tried again later: {error}")
            return False
        return True

    def _wait_for_quiet(self) -> None:
        """Return when nobody has waited for a moment, or enough have for so long."""
        end = time.monotonic() + _LONGEST
        with self._changed:
            while (now := time.monotonic()) < end:
                left = end - now if self._urgent else self._asked + _QUIET - now
                if left <= 0:
                    return
                self._changed.wait(min(left, end - now))

    def _take_stretch(self, work: Work) -> list[int]:
        """Take on the next pieces that nobody has, when nobody waits; [] for no more."""
        self._wait_for_quiet()
        with self._changed:
            coming = work.coming
            while work.left and coming.here(work.left[0]) >= coming.length(work.left[0]):
                del work.left[0]
            for number in work.left:
                if number in work.busy or coming.here(number) >= coming.length(number):
                    continue
                found = work.stretch(number, _STRETCH)
                work.busy.update(found)
                return found
            return []

    def _settle(self, work: Work) -> None:
        coming = work.coming
        try:
            keep = functools.partial(origin.keep, self._store, coming=coming)
            with contextlib.ExitStack() as stack:
                tar = work.source.tar()
                if tar is not None:
                    stack.enter_context(contextlib.closing(tar))
                self._driver.settle(coming, keep, tar, work.source.table())
        except InvalidArchive as error:
            self._driver.condemn(coming, str(error))
            self._works.pop(coming.chain_id)
            process.tell(self._places, coming, "broken", str(error))
            self._say(work, broken=str(error))
            return
        self._works.pop(coming.chain_id)
        self._driver.purge_trash()
        process.tell(self._places, coming, "arrived", f"layer {coming.diff_id} has arrived")
        self._say(work, arrived=True)  # with the last one this process ends


def _append(coming: "Coming", number: int, data: memoryview, here: int, until: int) -> None:
    """Write what is missing of a piece; until: where that ends in the tar."""
    fd = os.open(f"{coming.path}/{number}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        comings.fill(fd, here, bytes(data), last=until == coming.size)
    finally:
        os.close(fd)


def main(places: process.Places, channel: "Channel") -> None:
    """Be the fetcher; when the watcher has ended, be the next one."""
    process.set_oom_score(0)
    set_name("knarr-fetcher")
    # Only one at a time: one before this, whose watcher was killed, may not have noticed yet.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(f"{places.run_root}/{process.FETCH_LOCK}", flags, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        Fetcher(places, channel).serve()
    except (EOFError, OSError):
        # The watcher has ended. If it was killed, somebody has to take its place. With this its
        # threads end, and the lock is let go of.
        if comings.numbers(places.snapshots):
            words = process.arguments(places, process.NOBODY)
            os.execv(words[0], words)
