"""A container's log: framed records, written as they come and rendered when read.

Each record is a 16-byte head (stream 1 or 2, three zero bytes, payload length,
time in nanoseconds since the epoch) and the payload, at most 64 KiB and cut
wherever the container's write was cut. One frame per read keeps the writer
far ahead of one JSON line per write; ``docker logs`` formats are a matter of
reading.
"""

import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = struct.Struct("<BxxxIQ")
STDOUT, STDERR = 1, 2
CHUNK = 65536


class LogWriter:
    """Appends records; after a full disk it goes on with the next record, never half of one."""

    __slots__ = ("fd", "path", "size")

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.path = path
        self.fd = os.open(path, flags, 0o600)
        self.size = whole_size(path)
        if os.fstat(self.fd).st_size != self.size:
            os.ftruncate(self.fd, self.size)

    def write(self, stream: int, data: bytes) -> None:
        """Append one record. Raises OSError (ENOSPC), leaving the file at a record's end."""
        head = HEAD.pack(stream, len(data), time.time_ns())
        total = len(head) + len(data)
        try:
            done = os.writev(self.fd, (head, data))
            while done < total:
                rest = (head + data)[done:]
                done += os.write(self.fd, rest)
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += total

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def whole_size(path: str) -> int:
    """Return the length of the file up to its last whole record."""
    offset = 0
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        while offset + HEAD.size <= end:
            _, length, _ = HEAD.unpack(os.pread(file.fileno(), HEAD.size, offset))
            if offset + HEAD.size + length > end:
                break
            offset += HEAD.size + length
    return offset


def read_record(fd: int, offset: int) -> "tuple[int, int, bytes] | None":
    """Return (stream, time ns, payload) of the record at ``offset``; None where no whole one is."""
    head = os.pread(fd, HEAD.size, offset)
    if len(head) < HEAD.size:
        return None
    stream, length, when = HEAD.unpack(head)
    data = os.pread(fd, length, offset + HEAD.size)
    return (stream, when, data) if len(data) == length else None


def read_records(path: str, offset: int = 0) -> "Iterator[tuple[int, int, bytes]]":
    """Yield (stream, time ns, payload) of all whole records from ``offset`` on."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while (record := read_record(fd, offset)) is not None:
            yield record
            offset += HEAD.size + len(record[2])
    finally:
        os.close(fd)
