"""The file of Docker's ``json-file`` driver: a JSON object a line, rotated as Docker does it.

It is written beside the log, for programs that read such files. Names shift: ``.1`` is what
was written before the present file, ``.2`` what was before that.
"""

import os
import time
from json.encoder import encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.supervisor.lines import Line

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o640
_BEGIN = b'{"log":"'
_STREAMS = {1: "stdout", 2: "stderr"}
# Docker's encoder escapes what would mean something in HTML and JavaScript, too.
_ESCAPED = {
    "<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029",
}  # fmt: skip
_TABLE = str.maketrans(_ESCAPED)
# The same for bytes, of which one has to be replaced before it comes with the others.
_SPECIAL = {
    code: encode_basestring(chr(code)).translate(_TABLE)[1:-1].encode()
    for code in (*b"\\", *range(10), *range(11, 32), *b'"<>&')
}
_PLAIN = bytes(code for code in range(128) if code not in _SPECIAL)
_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


class JsonFile:
    """One such file. config: path, limit and keep as of a log, attrs as JSON text or empty."""

    __slots__ = ("_attrs", "_file", "_keep", "_limit", "_path", "_size", "dropped")

    fd = -1
    waiting = full = False

    def __init__(self, config: "dict[str, Any]") -> None:
        self._path: str = config["path"]
        self._limit: int = config["limit"]
        self._keep: int = config["keep"]
        self._attrs = f',"attrs":{config["attrs"]}' if config["attrs"] else ""
        self._file = os.open(self._path, _FLAGS, _MODE)
        self._size = os.fstat(self._file).st_size
        self.dropped = 0

    @property
    def due(self) -> bool:
        """Whether the file has reached its size."""
        return 0 < self._limit <= self._size

    def send(self, lines: "list[Line]") -> None:
        """Append lines; none of them, or all."""
        if not lines:
            return
        data = "".join(
            f'{{"log":{_text(data, whole)}{self._ending(stream, moment)}'
            for stream, moment, data, _, whole, _ in lines
        ).encode()
        if not self._append(data):
            self.dropped += len(lines)

    def send_run(self, stream: int, data: bytes) -> None:
        """Append whole lines in one piece, each with its newline; none of them, or all."""
        between = b'\\n"' + self._ending(stream, time.time_ns()).encode() + _BEGIN
        # Copies of so many bytes would cost as much as all the rest.
        lines = memoryview(_escaped(data).replace(b"\n", between))[: -len(_BEGIN)]
        if not self._append(lines, _BEGIN):
            self.dropped += data.count(b"\n")

    def _ending(self, stream: int, moment: int) -> str:
        """Return what follows the text of a line."""
        return f',"stream":"{_STREAMS[stream]}"{self._attrs},"time":"{rfc3339(moment)}"}}\n'

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
    """Return lines as they are inside JSON's quotes, but for their newlines."""
    special = set(data.translate(None, _PLAIN))
    if not special:
        return data
    for code, escaped in _SPECIAL.items():
        if code in special:
            data = data.replace(b"%c" % code, escaped)
    if max(special) > 127:
        data = data.decode("utf-8", "replace").encode()
        for letter, escaped in _SEPARATORS:
            data = data.replace(letter, escaped)
    return data


def _text(data: bytes, whole: bool) -> str:
    text = data.decode("utf-8", "replace")
    return encode_basestring(text + "\n" if whole else text).translate(_TABLE)


def rfc3339(moment: int) -> str:
    """Return a time (ns since the epoch) as Go writes it: no zeros at the end of the fraction."""
    seconds, nanoseconds = divmod(moment, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
