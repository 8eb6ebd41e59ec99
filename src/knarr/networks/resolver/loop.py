"""One thread that waits for many descriptors, and for moments."""

import select
import time
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Queue = OrderedDict["Timer", None]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
_EVENTS = 256  # of one look


class Timer:
    """Something to do later, unless it is called off."""

    __slots__ = ("_queue", "act", "moment")

    def __init__(self, moment: float, act: "Callable[[], None]", queue: "Queue") -> None:
        self.moment = moment
        self.act = act
        self._queue = queue
        queue[self] = None

    def cancel(self) -> None:
        """Call it off; nothing of it is left. One that is over stays so."""
        self._queue.pop(self, None)


class Loop:
    """Descriptors with what is called for their events, and timers.

    A handler may be called for an event of a descriptor that was closed in the same round and
    whose number is in use again, so all of them read and write without waiting.
    """

    __slots__ = ("_epoll", "_handlers", "_queues", "running")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        # One queue for each length of time: what is set later is due later.
        self._queues: dict[float, Queue] = {}
        self.running = True

    def add(self, fd: int, handler: "Callable[[int], None]", events: int = READ) -> None:
        """Call ``handler`` with the events of a descriptor."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor; 0 is for errors only."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, seconds: float, act: "Callable[[], None]") -> Timer:
        """Call ``act`` in so many seconds."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = OrderedDict()
        return Timer(time.monotonic() + seconds, act, queue)

    def turn(self) -> None:
        """Wait for one round of events or the next timer."""
        for fd, events in self._epoll.poll(self._patience(), _EVENTS):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)
        now = time.monotonic()
        for queue in list(self._queues.values()):
            while queue and next(iter(queue)).moment <= now:
                queue.popitem(last=False)[0].act()

    def _patience(self) -> float:
        """Return the seconds until the next timer, -1 when there is none."""
        moments = [next(iter(queue)).moment for queue in self._queues.values() if queue]
        return max(0.0, min(moments) - time.monotonic()) if moments else -1.0

    def close(self) -> None:
        """Close what the loop itself has open."""
        self._epoll.close()
        self._handlers.clear()
        self._queues.clear()
