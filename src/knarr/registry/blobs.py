"""``BlobStream``: the bytes of a blob, asked for again from where they stopped."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from knarr.errors import InvalidArchive, Unavailable
from knarr.registry import names
from knarr.registry.patience import Patience
from knarr.registry.transport import Response, Stalled, Unreachable

# Starts the download at an offset, up to an end if one is given: the answer is 200, 206 or 416.
Fetch = Callable[[int, int | None], Response]
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_STEP = 256 * 1024
# Bytes that an attempt has to bring for those before it to be forgotten: a server that gives
# a few and hangs up would otherwise be asked for ever.
_ADVANCE = 256 * 1024


class BlobStream:
    """A download that outlives its connections; close it. Not to be shared between threads.

    offset: where it began, as the server granted: 0 when it cannot begin later. size: of the
    whole blob in bytes, None when the server does not say. gives_parts: whether it says that it
    can begin, and end, anywhere. is_near: whether it is on this machine. Nothing is verified here.
    """

    def __init__(
        self,
        fetch: Fetch,
        offset: int,
        patience: Patience,
        closed: threading.Event,
        what: str,
        end: int | None = None,
    ) -> None:
        """end: the byte before which it ends, None for all of the blob."""
        self._fetch = fetch
        self._end = end
        self._patience = patience
        self._closed = closed
        self._what = what
        self._failed = 0
        self._resumed = offset
        self.size: int | None = None
        self.gives_parts = False
        self.is_near = False
        self._position = offset
        self._response = self._begin(offset)
        self.offset = self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer and return how many bytes it got; fewer only at the end, where it is 0.

        A connection that ends or stalls is replaced. Raises what the registry refuses,
        Unreachable or Stalled when no attempt got further, InvalidArchive for more bytes
        than announced.
        """
        view = memoryview(buffer).cast("B")
        count = 0
        while count < len(view):
            left = None if self._end is None else self._end - self._position
            if left == 0:
                break
            try:
                got = self._response.readinto(view[count:][:left])
                last = self.size if self._end is None else self._end
                if not got and last is not None and self._position < last:
                    raise Unreachable(f"{self._what}: the connection ended within it")
            except (Unreachable, Stalled) as error:
                self._again(error)
                continue
            if not got:
                break
            count += got
            self._position += got
            if self._position - self._resumed >= _ADVANCE:
                self._failed = 0
            if self.size is not None and self._position > self.size:
                raise InvalidArchive(f"{self._what} is longer than the {self.size} bytes announced")
        return count

    def read(self, limit: int) -> bytes:
        """Return the next bytes, up to ``limit``; b"" at the end; errors as ``readinto``."""
        buffer = bytearray(limit)
        return bytes(buffer[: self.readinto(buffer)])

    def close(self) -> None:
        """Give the connection back or end it."""
        self._response.close()

    def _again(self, error: Exception) -> None:
        """Begin anew where the bytes stopped, after a pause; raises ``error`` when out of hope."""
        self._response.close()
        while True:
            self._failed += 1
            if self._failed >= self._patience.attempts or self._closed.is_set():
                raise error
            if self._closed.wait(self._patience.pause(self._failed)):
                raise Unavailable(f"{self._what}: given up") from None
            wanted = self._resumed = self._position
            try:
                self._response = self._begin(wanted)
                self._skip(wanted)
                return
            except (Unreachable, Stalled) as another:
                error = another

    def _begin(self, offset: int) -> Response:
        response = self._fetch(offset, self._end)
        length = response.length
        self.is_near = names.is_loopback(urlsplit(response.url).netloc)
        self._position = 0
        if response.status == 206:
            found = _RANGE.fullmatch(response.header("Content-Range").strip())
            if found is None or int(found[1]) != offset:
                response.close()
                raise InvalidArchive(f"{self._what}: the registry sent another part than asked for")
            self._position = offset
            self.gives_parts = True
            if found[3] != "*":
                self._size(int(found[3]), response)
            elif length is not None and self._end is None:
                self._size(offset + length, response)
        elif response.status == 200 and length is not None:
            self._size(length, response)
            self.gives_parts = response.header("Accept-Ranges").strip().lower() == "bytes"
        elif response.status == 416:
            # Nothing stands there: the blob ends where the download stopped, or is another.
            response.close()
            raise InvalidArchive(f"{self._what}: the registry has less of it than was announced")
        return response

    def _size(self, size: int, response: Response) -> None:
        if self.size is not None and size != self.size:
            response.close()
            raise InvalidArchive(f"{self._what} had {self.size} bytes and now has {size}")
        self.size = size

    def _skip(self, wanted: int) -> None:
        """Read on to where we were, when the server began before it."""
        buffer = memoryview(bytearray(_STEP))
        while self._position < wanted:
            got = self._response.readinto(buffer[: min(_STEP, wanted - self._position)])
            if not got:
                raise Unreachable(f"{self._what}: the connection ended within it")
            self._position += got
