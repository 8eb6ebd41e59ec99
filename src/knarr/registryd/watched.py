"""A small file that people edit while the registry serves: read again when it is another."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from knarr.errors import InvalidArgument

_log = logging.getLogger(__name__)
_LARGEST = 16 * 1024 * 1024
Value = TypeVar("Value")
_Stamp = tuple[int, int, int]


class Watched(Generic[Value]):
    """What a file says, as it is now. Safe for threads.

    One that cannot be read or understood any more changes nothing; the log says so once.
    """

    def __init__(self, path: str, what: str, parse: Callable[[str], Value]) -> None:
        """Read it. what: begins errors. parse: raises InvalidArgument, without the file's name.

        Raises InvalidArgument.
        """
        self._path = path
        self._what = what
        self._parse = parse
        self._lock = threading.Lock()
        self._stamp, self._value = self._read()

    def now(self) -> Value:
        """Return what it says; the same object for as long as the file is the same."""
        with self._lock:
            try:
                stamp = _stamp(os.stat(self._path))
            except OSError as error:
                stamp = (0, 0, error.errno or 0)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._stamp, self._value = self._read()
                except InvalidArgument as error:
                    _log.error("%s; what it said before holds", error)
            return self._value

    def _read(self) -> tuple[_Stamp, Value]:
        try:
            with open(self._path, "rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                data = file.read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise InvalidArgument(f"it is larger than {_LARGEST} bytes")
            return stamp, self._parse(data.decode())
        except OSError as error:
            reason = f": {error.strerror}"
        except UnicodeDecodeError:
            reason = ": it is not UTF-8"
        except InvalidArgument as error:
            reason = f", {error}"
        raise InvalidArgument(f"{self._what} {self._path}{reason}")


def _stamp(info: os.stat_result) -> _Stamp:
    return info.st_mtime_ns, info.st_ino, info.st_size
