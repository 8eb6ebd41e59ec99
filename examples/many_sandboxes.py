"""Several sandboxes at once from asyncio; nothing is forked from this process."""

from __future__ import annotations

import asyncio

import knarr


async def square(number: int) -> str:
    """Let a sandbox of its own work the square out."""
    async with knarr.AsyncSandbox("busybox", memory="32m", network="none") as box:
        result = await box.run("expr", str(number), "*", str(number), timeout=30)
        return result.text.strip()


async def main() -> None:
    """Ask five sandboxes at the same time."""
    print(await asyncio.gather(*(square(number) for number in range(1, 6))))


asyncio.run(main())
