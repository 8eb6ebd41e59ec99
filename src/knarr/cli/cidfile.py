"""``--cidfile``: a file that receives the container's id, or does not stay."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from knarr.errors import Conflict, InvalidArgument


@contextmanager
def claimed(path: str | None) -> Iterator[Callable[[str], None]]:
    """Create the file for the block, yield what writes the id; it goes when nothing was written.

    Raises Conflict when it exists, InvalidArgument when it cannot be made.
    """
    if not path:
        yield lambda _id: None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"--cidfile {path}: {error.strerror}") from None
    written: list[int] = []
    try:
        yield lambda container_id: written.append(os.write(handle, container_id.encode()))
    finally:
        os.close(handle)
        if not written:
            os.unlink(path)
