"""Reads the records of a log over all its files, while it is written and they come and go."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Self

from knarr import errors
from knarr.supervisor import logfiles
from knarr.supervisor.log import (
    previous_record,
    read_record,
    record_size,
    whole_record,
    whole_size,
)

_BLOCK = 1 << 20  # bytes to read at once; a record is at most a sixteenth of it
Record = tuple[int, int, bytes]  # stream, time in ns, payload
GAP: Record = (0, 0, b"")  # in place of what was removed before it was read


class LogReader:
    """A place in a log. What is not complete yet is left for the next time.

    Any number of readers may be at one log: none of them changes anything.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = -1
        self._offset = 0
        self._files: dict[int, int] = {}  # open ones by number: the present one, and what is kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def records(self, *, keep: bool = False) -> Iterator[Record]:
        """Yield the records from here to the present end. keep: files stay open, to go back.

        Whoever reads more slowly than is written goes on with the oldest file that there is,
        as Docker's readers do; ``GAP`` stands where that does not follow, and the log of
        messages has how many files were missed.
        """
        if self._number < 0 and not self._advance(keep):
            return  # nothing has been written yet
        while True:
            # Asked before reading: whoever has begun another file writes no more to this one.
            later = any(number > self._number for number in logfiles.numbers(self._path))
            yield from self._present()
            before = self._number
            if not later or not self._advance(keep):
                return
            if self._number > before + 1:
                self._tell_missed(self._number - before - 1)
                yield GAP

    def _tell_missed(self, count: int) -> None:
        import logging  # hardly ever needed

        logging.getLogger("knarr.engine").warning(
            "log %s: file rotations were missed: %d files were removed before they were read"
            " (--log-opt max-size and max-file say how much is kept)",
            self._path,
            count,
        )

    def _present(self) -> Iterator[Record]:
        """Yield the whole records that the file has from here on, many with one read."""
        handle = self._files[self._number]
        while block := os.pread(handle, _BLOCK, self._offset):
            at = 0
            while (record := whole_record(block, at)) is not None:
                size = record_size(len(record[2]))
                at += size
                self._offset += size
                yield record
            if not at:
                return

    def place(self) -> tuple[int, int]:
        """Return where it is, for :meth:`go`."""
        return self._number, self._offset

    def go(self, place: tuple[int, int]) -> None:
        """Go back to a place whose file is still open."""
        self._number, self._offset = place

    def go_to_end(self) -> None:
        """Go behind the last record that there is."""
        for number in reversed(logfiles.numbers(self._path)):
            handle = self._open(number)
            if handle is not None:
                self._number, self._offset = number, whole_size(handle)
                return

    def backwards(self) -> Iterator[tuple[Record, tuple[int, int]]]:
        """Yield the present records from the last to the first, each with its place.

        The files that were looked at stay open.
        """
        for number in reversed(logfiles.numbers(self._path)):
            handle = self._open(number)
            if handle is None:
                return  # just removed, and so are those before it
            end: int | None = whole_size(handle)
            while end:
                end = previous_record(handle, end)
                record = None if end is None else read_record(handle, end)
                if end is None or record is None:
                    return
                yield record, (number, end)

    def _advance(self, keep: bool) -> bool:
        """Go to the next file that there is, or that is still open; False when there is none."""
        for number in sorted({*logfiles.numbers(self._path), *self._files}):
            if number <= self._number or self._open(number) is None:
                continue
            if not keep and self._number >= 0:
                os.close(self._files.pop(self._number))
            self._number, self._offset = number, 0
            return True
        return False

    def _open(self, number: int) -> int | None:
        """Return the descriptor of a file, None when it is gone. Raises Internal."""
        if number not in self._files:
            try:
                handle = logfiles.open_file(self._path, number)
            except zlib.error as error:
                name = logfiles.packed_name(self._path, number)
                raise errors.Internal(f"log {name} is damaged: {error}") from error
            if handle is None:
                return None
            self._files[number] = handle
        return self._files[number]
