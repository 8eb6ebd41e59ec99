"""A container's log: framed records, written as they come and rendered when read.

Each record is a 16-byte head (stream 1 or 2, three zero bytes, payload length,
time in nanoseconds since the epoch), the payload, at most 64 KiB and cut
wherever the container's write was cut, and the payload length once more, so
that a log can be read from its end. One frame per read keeps the writer
far ahead of one JSON line per write; ``docker logs`` formats are a matter of
reading. A log with a limit goes on in another file: see ``logfiles``.
"""

import os
import struct
import time

from knarr.supervisor import logfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = struct.Struct("<BxxxIQ")
TAIL = struct.Struct("<I")
STDOUT, STDERR = 1, 2
CHUNK = 65536
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class LogWriter:
    """Appends records; after a full disk it goes on with the next record, never half of one.

    path: of the log's first file. number: of the file that is written. size: its bytes.
    limit: bytes after which ``rotate`` is due, 0 for none.
    """

    __slots__ = ("fd", "limit", "number", "path", "size")

    def __init__(self, path: str, limit: int = 0) -> None:
        self.path = path
        self.limit = limit
        self.number = logfiles.newest(path) if limit else 0
        self.fd = os.open(logfiles.name(path, self.number), _FLAGS, 0o600)
        self.size = whole_size(self.fd)
        if os.fstat(self.fd).st_size != self.size:
            os.ftruncate(self.fd, self.size)

    def rotate(self, keep: int) -> None:
        """Go on in the next file, and remove all but ``keep``. Raises OSError, and goes on here."""
        number = self.number + 1
        fd = os.open(logfiles.name(self.path, number), _FLAGS | os.O_TRUNC, 0o600)
        os.close(self.fd)
        self.fd, self.number, self.size = fd, number, 0
        for old in logfiles.numbers(self.path):
            if old <= number - keep:
                logfiles.remove(self.path, old)

    def write(self, stream: int, data: bytes) -> None:
        """Append one record. Raises OSError (ENOSPC), leaving the file at a record's end."""
        head = HEAD.pack(stream, len(data), time.time_ns())
        tail = TAIL.pack(len(data))
        total = record_size(len(data))
        try:
            done = os.writev(self.fd, (head, data, tail))
            while done < total:
                rest = (head + data + tail)[done:]
                done += os.write(self.fd, rest)
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += total

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def record_size(length: int) -> int:
    """Return how many bytes a record with a payload of ``length`` bytes takes."""
    return HEAD.size + length + TAIL.size


def whole_size(fd: int) -> int:
    """Return the length of a log up to its last whole record.

    A look at the end suffices unless a writer was killed in the middle of one.
    """
    end = os.fstat(fd).st_size
    if end == 0 or previous_record(fd, end) is not None:
        return end
    offset = 0
    while offset + HEAD.size <= end:
        _, length, _ = HEAD.unpack(os.pread(fd, HEAD.size, offset))
        if offset + record_size(length) > end:
            break
        offset += record_size(length)
    return offset


def previous_record(fd: int, end: int) -> "int | None":
    """Return where the record that ends at ``end`` begins; None where no whole record does."""
    if end < record_size(0):
        return None
    (length,) = TAIL.unpack(os.pread(fd, TAIL.size, end - TAIL.size))
    start: int = end - record_size(length)
    if length > CHUNK or start < 0:
        return None
    stream, again, _ = HEAD.unpack(os.pread(fd, HEAD.size, start))
    return start if again == length and stream in (STDOUT, STDERR) else None


def read_record(fd: int, offset: int) -> "tuple[int, int, bytes] | None":
    """Return (stream, time ns, payload) of the record at ``offset``; None where no whole one is."""
    head = os.pread(fd, HEAD.size, offset)
    if len(head) < HEAD.size:
        return None
    stream, length, when = HEAD.unpack(head)
    data = os.pread(fd, length, offset + HEAD.size)
    # The tail is written with the payload, so a short payload means a record still under way.
    return (stream, when, data) if len(data) == length else None


def whole_record(block: bytes, at: int) -> "tuple[int, int, bytes] | None":
    """Return the record that begins there in a piece of a log; None where no whole one does."""
    begin = at + HEAD.size
    if begin > len(block):
        return None
    stream, length, when = HEAD.unpack_from(block, at)
    data = block[begin : begin + length]
    return (stream, when, data) if len(data) == length else None


def read_records(path: str, offset: int = 0) -> "Iterator[tuple[int, int, bytes]]":
    """Yield (stream, time ns, payload) of all whole records from ``offset`` on."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while (record := read_record(fd, offset)) is not None:
            yield record
            offset += record_size(len(record[2]))
    finally:
        os.close(fd)
