"""Threads that end with the block they work for, however it ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait


@contextlib.contextmanager
def helping(
    count: int, stop: threading.Event, cancel: Callable[[], None]
) -> Iterator[ThreadPoolExecutor]:
    """Give ``count`` threads to the block, and wait for them.

    When the block fails, ``stop`` is set and ``cancel`` called, which make them end.
    """
    pool = ThreadPoolExecutor(count, thread_name_prefix="knarr-transfer")
    try:
        yield pool
    except BaseException:
        stop.set()
        cancel()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def raise_first(futures: list[Future[None]]) -> None:
    """Wait for all, and raise what one of them raised, as soon as it does."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for each in done:
        each.result()
