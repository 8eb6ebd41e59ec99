"""Where failures are told: standard error, and a file for callers that parse it.

The lines are those of runc's logger, in JSON or as text; podman and containerd read the first.
"""

import os
import sys
import time

from knarr.kernel import plainjson

_LONGEST = 4096
_ESCAPED = {"\n": " ", "\t": " "}
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """A log. path: empty: standard error. form: json or text."""

    __slots__ = ("_debug", "_form", "_path")

    def __init__(self, path: str = "", form: str = "text", *, debug: bool = False) -> None:
        self._path = path
        self._form = form
        self._debug = debug

    def debug(self, message: str) -> None:
        """Tell what is of interest with ``--debug`` only."""
        if self._debug:
            self._write("debug", message)

    def warning(self, message: str) -> None:
        """Tell what is left out, or failed without being a failure."""
        self._write("warning", message)

    def error(self, message: str) -> None:
        """Tell why the command failed; on standard error in any case."""
        self._write("error", message)
        if self._path:
            _tell(f"knarr-oci: {_line(message)}\n")

    def _write(self, level: str, message: str) -> None:
        line = _line(message)
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            text = plainjson.dumps({"level": level, "msg": line, "time": when}) + "\n"
        elif self._path:
            text = f"time={plainjson.dumps(when)} level={level} msg={plainjson.dumps(line)}\n"
        else:
            text = f"knarr-oci: {line}\n"
        if not self._path:
            _tell(text)
            return
        try:
            fd = os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            _tell(f"knarr-oci: --log {self._path}: {error.strerror}\n")
            return
        with open(fd, "w", errors="surrogateescape") as file:
            file.write(text)


def _line(message: str) -> str:
    """Return a message on one line, and nothing in it that a terminal would act upon."""
    line = "".join([one if one.isprintable() else _ESCAPED.get(one, ascii(one)[1:-1])
                    for one in message[:_LONGEST]])  # fmt: skip
    return line if len(message) <= _LONGEST else f"{line} ..."


def _tell(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
