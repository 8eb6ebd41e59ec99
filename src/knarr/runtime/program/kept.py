"""Blocks that were made once and are used by every later program in this process and its forks.

Most containers differ in little: what is kept is looked up by what it depends on. How
much that is must not be up to an image or to a caller: it is memory of the process from
which all others are forked.
"""

from knarr.runtime.program.builder import Block, Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT = 1024  # blocks; a container has about forty
_ROOM = 1 << 20  # bytes of operations; a container has about fifty thousand
_LARGE = 32 << 10  # bytes of one block; those of a usual container have a third of it
_blocks: "dict[tuple[object, ...], Block]" = {}
_size = 0


def block(key: "tuple[object, ...]", write: "Callable[..., None]", *arguments: object) -> Block:
    """Return the block kept under ``key``; ``write(builder, *arguments)`` makes it at first."""
    global _size
    found = _blocks.get(key)
    if found is None:
        found = make(write, *arguments)
        size = len(found.data)
        if size > _LARGE:
            return found
        if len(_blocks) >= _LIMIT or _size + size > _ROOM:
            _blocks.clear()
            _size = 0
        _blocks[key] = found
        _size += size
    return found


def make(write: "Callable[..., None]", *arguments: object) -> Block:
    """Return the block that ``write`` writes."""
    builder = Builder()
    write(builder, *arguments)
    return builder.finish()


def count() -> int:
    """Return how many blocks are kept."""
    return len(_blocks)
