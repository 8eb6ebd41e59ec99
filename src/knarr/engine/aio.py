"""``AsyncSandbox``: the sandbox for asyncio programs; each call runs in a worker thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self

from knarr.engine.sandbox import Sandbox

if TYPE_CHECKING:
    from knarr.engine.model import RunResult
    from knarr.engine.stats import Stats


class AsyncSandbox:
    """An asynchronous context manager around :class:`Sandbox`, with the same arguments.

        async with AsyncSandbox("busybox") as box:
            result = await box.run("echo", "hi", timeout=5)

    A cancelled ``run`` leaves its command running until its timeout or the
    end of the sandbox.
    """

    def __init__(self, image: str, **options: Any) -> None:
        self._image = image
        self._options = options
        self._box: Sandbox | None = None

    async def __aenter__(self) -> Self:
        self._box = await asyncio.to_thread(Sandbox, self._image, **self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._box is not None:
            await asyncio.to_thread(self._box.close)

    @property
    def box(self) -> Sandbox:
        """The sandbox itself, for what has no asynchronous form. Raises RuntimeError outside."""
        if self._box is None:
            raise RuntimeError("AsyncSandbox is used before 'async with'")
        return self._box

    async def run(self, *argv: str, **options: Any) -> RunResult:
        """Run a command; arguments and errors are those of :meth:`Sandbox.run`."""
        return await asyncio.to_thread(self.box.run, *argv, **options)

    async def fork(self, name: str | None = None) -> AsyncSandbox:
        """Return a second sandbox with the same files, as :meth:`Sandbox.fork`; close it."""
        other = AsyncSandbox(self._image, **self._options)
        other._box = await asyncio.to_thread(self.box.fork, name)
        return other

    async def stats(self) -> Stats:
        """Return what all its commands use together, as :meth:`Sandbox.stats`."""
        return await asyncio.to_thread(self.box.stats)

    async def stats_stream(self, interval: float = 1.0) -> AsyncIterator[Stats]:
        """Yield that each ``interval`` seconds until the container is gone."""
        from knarr.engine.stats import Board

        board = await asyncio.to_thread(Board, self.box.engine, [self.box.id])
        try:
            await asyncio.to_thread(board.read)
            while True:
                await asyncio.sleep(interval)
                (found,) = await asyncio.to_thread(board.read)
                if found.gone:
                    return
                yield found
        finally:
            board.close()  # waits for a reading that is under way

    async def wait_healthy(self, **options: Any) -> None:
        """Return once a check has succeeded; as :meth:`Sandbox.wait_healthy`."""
        await asyncio.to_thread(self.box.wait_healthy, **options)

    async def close(self) -> None:
        """Kill and remove the container, as the end of ``async with`` does."""
        await self.__aexit__()

    async def read(self, path: str) -> bytes:
        """Return the bytes of a file. Raises NotFound."""
        return await asyncio.to_thread(self.box.files.read, path)

    async def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """Write a file, replacing it. Raises NotFound when its directory is missing."""
        await asyncio.to_thread(self.box.files.write, path, data, mode=mode)
