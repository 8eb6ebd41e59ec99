"""Blocks that were made once and are used by every later program in this process and its forks.

Most containers differ in little: what is kept is looked up by what it depends on.
"""

from knarr.runtime.program.builder import Block, Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT = 1024  # blocks; a container has about forty
_blocks: "dict[tuple[object, ...], Block]" = {}


def block(key: "tuple[object, ...]", write: "Callable[..., None]", *arguments: object) -> Block:
    """Return the block kept under ``key``; ``write(builder, *arguments)`` makes it at first."""
    found = _blocks.get(key)
    if found is None:
        if len(_blocks) >= _LIMIT:
            _blocks.clear()
        found = _blocks[key] = make(write, *arguments)
    return found


def make(write: "Callable[..., None]", *arguments: object) -> Block:
    """Return the block that ``write`` writes."""
    builder = Builder()
    write(builder, *arguments)
    return builder.finish()


def count() -> int:
    """Return how many blocks are kept."""
    return len(_blocks)
