"""The file of Docker's ``json-file`` driver: a JSON object a line, rotated as Docker does it.

It is written beside the log, for programs that read such files. Names shift: ``.1`` is what
was written before the present file, ``.2`` what was before that.
"""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.supervisor.lines import Line

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o640
_BEGIN = b'{"log":"'
_STREAMS = {1: b"stdout", 2: b"stderr"}
_SHORT = {b'"': b'\\"', b"\r": b"\\r"}
# What Docker's encoder escapes, also for HTML's sake, but for the newline that ends a line. The
# backslash is replaced before it comes with the others; a zero, which may come in large numbers,
# after all the others were looked for.
_SPECIAL = {
    byte: _SHORT.get(byte, b"\\u%04x" % byte[0])
    for byte in (b"%c" % code for code in (*b'"<>&', *range(31, 10, -1), *range(9, -1, -1)))
}
_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
_UNUSED = b"\x01"  # after it was escaped itself


class JsonFile:
    """One such file. config: path, limit and keep as of a log, attrs as JSON text or empty."""

    __slots__ = ("_attrs", "_file", "_keep", "_limit", "_path", "_size", "dropped")

    fd = -1
    waiting = full = False

    def __init__(self, config: "dict[str, Any]") -> None:
        self._path: str = config["path"]
        self._limit: int = config["limit"]
        self._keep: int = config["keep"]
        attrs = config["attrs"].encode()
        self._attrs = b',"attrs":' + attrs if attrs else b""
        self._file = os.open(self._path, _FLAGS, _MODE)
        self._size = os.fstat(self._file).st_size
        self.dropped = 0

    @property
    def due(self) -> bool:
        """Whether the file has reached its size."""
        return 0 < self._limit <= self._size

    def take(self, stream: int, pieces: "list[bytes | list[Line]]") -> None:
        """Append what :meth:`Lines.pieces` returned."""
        for piece in pieces:
            if isinstance(piece, bytes):
                self.send_run(stream, piece)
            else:
                self.send(piece)

    def send(self, lines: "list[Line]") -> None:
        """Append lines; none of them, or all."""
        if not lines:
            return
        data = b"".join(
            b"%b%b%b%b"
            % (_BEGIN, _escaped(data), b"\\n" if whole else b"", self._ending(stream, moment))
            for stream, moment, data, _, whole, _ in lines
        )
        if not self._append(data):
            self.dropped += len(lines)

    def send_run(self, stream: int, data: bytes) -> None:
        """Append whole lines in one piece, each with its newline; none of them, or all."""
        between = b"\\n" + self._ending(stream, time.time_ns()) + _BEGIN
        # Copies of so many bytes would cost as much as all the rest.
        lines = memoryview(_escaped(data).replace(b"\n", between))[: -len(_BEGIN)]
        if not self._append(lines, _BEGIN):
            self.dropped += data.count(b"\n")

    def _ending(self, stream: int, moment: int) -> bytes:
        """Return what follows the text of a line."""
        stamp = rfc3339(moment).encode()
        return b'","stream":"%b"%b,"time":"%b"}\n' % (_STREAMS[stream], self._attrs, stamp)

    def _append(self, data: "bytes | memoryview", before: bytes = b"") -> bool:
        """Append two pieces, or nothing; return whether the disk took them."""
        total = len(before) + len(data)
        try:
            done = os.writev(self._file, (before, data))
            while done < total:
                done += os.write(self._file, (before + bytes(data))[done:])
        except OSError:
            os.ftruncate(self._file, self._size)
            return False
        self._size += total
        return True

    def flush(self) -> None:
        """Nothing waits."""

    def rotate(self) -> str:
        """Move the files on by one; return the path of the one that was written. Raises OSError."""
        first = f"{self._path}.1"
        for number in range(self._keep - 1, 0, -1):
            for packed in ("", ".gz"):
                there = f"{self._path}.{number}{packed}"
                if not os.path.exists(there):
                    continue
                if number == self._keep - 1:
                    os.unlink(there)
                else:
                    os.rename(there, f"{self._path}.{number + 1}{packed}")
        if self._keep > 1:
            os.rename(self._path, first)
        else:
            os.unlink(self._path)
        os.close(self._file)
        self._file = os.open(self._path, _FLAGS, _MODE)
        self._size = 0
        return first if self._keep > 1 else ""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _escaped(data: bytes) -> bytes:
    """Return lines as they are inside JSON's quotes, but for their newlines.

    What is not there costs next to nothing: each step looks for a byte through all of them.
    """
    data = data.replace(b"\\", b"\\\\")
    for byte, escaped in _SPECIAL.items():
        data = data.replace(byte, escaped)
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        data = _replaced(data)
    for letter, escaped in _SEPARATORS:
        data = data.replace(letter, escaped)
    return data


def _replaced(data: bytes) -> bytes:
    """Return text with each byte that is no UTF-8 as Docker's encoder writes it.

    The codec makes question marks of such bytes, so those that were there step aside.
    """
    text = data.replace(b"?", _UNUSED).decode("utf-8", "surrogateescape")
    data = text.encode("utf-8", "replace").replace(b"?", b"\\ufffd")
    return data.replace(_UNUSED, b"?")


def rfc3339(moment: int) -> str:
    """Return a time (ns since the epoch) as Go writes it: no zeros at the end of the fraction."""
    seconds, nanoseconds = divmod(moment, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
