"""The files of a log: ``log``, ``log.1``, ``log.2`` and so on, the highest number is written.

No file ever gets another name or another's, so readers need no lock and meet nothing
twice: whoever is at the end of one file and finds a higher number goes on there. Only
compression makes ``log.N.gz`` of ``log.N`` (``log.0.gz`` of ``log``), and removes that when
the other is whole.
"""

import os
import sys

from knarr.kernel.clone import clone3
from knarr.kernel.files import close_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKED = ".gz"
_CHUNK = 1 << 20
_NICE = 10


def name(path: str, number: int) -> str:
    """Return the path of a log's file of that number, as it was written."""
    return f"{path}.{number}" if number else path


def packed_name(path: str, number: int) -> str:
    """Return the path of that file when it is compressed."""
    return f"{path}.{number}{_PACKED}"


def numbers(path: str) -> "list[int]":
    """Return the numbers of the files that a log has, the oldest first."""
    directory, base = os.path.split(path)
    found = set()
    try:
        entries = os.listdir(directory)
    except FileNotFoundError:
        return []
    for entry in entries:
        if entry == base:
            found.add(0)
        elif entry.startswith(base + "."):
            digits = entry[len(base) + 1 :].removesuffix(_PACKED)
            if digits.isdigit():
                found.add(int(digits))
    return sorted(found)


def newest(path: str) -> int:
    """Return the number of the file that is written, 0 when there is none yet."""
    return max(numbers(path), default=0)


def remove(path: str, number: int) -> None:
    """Remove a file in whichever form it is there."""
    _unlink(name(path, number))
    _unlink(packed_name(path, number))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return  # in the other form, or removed


def open_file(path: str, number: int) -> "int | None":
    """Return a descriptor of what was written to a file; None when it is gone.

    A compressed one is unpacked into a file without a name. Raises OSError, and
    EOFError or zlib.error for one that is damaged.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name(path, number), flags)
    except FileNotFoundError:
        pass  # compressed, or removed
    try:
        packed = os.open(packed_name(path, number), flags)
    except FileNotFoundError:
        return None
    unpacked = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        for part in _unpacked(packed):
            _write(unpacked, part)
    except BaseException:
        os.close(unpacked)
        raise
    finally:
        os.close(packed)
    return unpacked


def _unpacked(fd: int) -> "Iterator[bytes]":
    import zlib  # few logs are compressed

    unpacker = zlib.decompressobj(31)  # a gzip stream
    while data := os.read(fd, _CHUNK):
        while data:
            yield unpacker.decompress(data, _CHUNK)
            data = unpacker.unconsumed_tail
    yield unpacker.flush()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def compress(path: str, plain: str = "") -> "tuple[int, int]":
    """Have a child compress all files but the one that is written; return its pid and pidfd.

    path: of the log, or empty. plain: a file beside it that is complete, or empty. Raises OSError.
    """
    pid, pidfd = clone3(0)
    if pid:
        return pid, pidfd
    code = 1
    try:
        # It must not keep what its parent holds: the lock, the container's pipes.
        close_range(3)
        os.nice(_NICE)
        for number in numbers(path)[:-1] if path else ():
            _compress(name(path, number), packed_name(path, number))
        if plain:
            _compress(plain, plain + _PACKED)
        code = 0
    except BaseException as error:  # it must not return into the supervisor's loop
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


def _compress(plain: str, packed: str) -> None:
    """Put a compressed file beside one and remove it; one that is compressed or gone is left."""
    import zlib

    try:
        source = os.open(plain, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    directory, base = os.path.split(packed)
    temporary = f"{directory}/.{base}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(temporary, flags, 0o600)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    while data := os.read(source, _CHUNK):
        _write(target, packer.compress(data))
    _write(target, packer.flush())
    os.close(source)
    os.close(target)
    if os.path.exists(plain):  # else its turn has come meanwhile
        os.rename(temporary, packed)
        _unlink(plain)
    else:
        os.unlink(temporary)
