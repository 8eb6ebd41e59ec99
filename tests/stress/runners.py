"""Two ways to carry an order out: the real command, and a process that uses the library."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import traceback
from typing import NamedTuple, Protocol

from tests.stress.orders import Order, carry_out

SECONDS = 90.0  # no command may take longer, whatever else goes on
_HEADER = struct.Struct("!iII")  # exit code, bytes of output, bytes of errors


class Result(NamedTuple):
    """What a command left; code -n when signal n ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def killed(self) -> bool:
        """Return whether the process that was at it was killed, so that nobody told the end."""
        return self.code in (-signal.SIGKILL, 128 + signal.SIGKILL) and not self.err


class Runner(Protocol):
    """Whatever carries orders out."""

    def run(self, order: Order, stdin: bytes = b"") -> Result:
        """Carry it out and return what it left. Raises TimeoutExpired."""

    def close(self) -> None:
        """End what it has started."""


class CommandRunner:
    """The ``knarr`` command."""

    def __init__(self, program: str) -> None:
        self._program = program

    def run(self, order: Order, stdin: bytes = b"") -> Result:
        """Run the command."""
        done = subprocess.run(
            [self._program, *order.words()],
            input=stdin, capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """Do nothing: each command ends by itself."""


class LibraryRunner:
    """A process with one engine; another one takes its place when it is killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, order: Order, stdin: bytes = b"") -> Result:
        """Have the process carry it out."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.stress.runners"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = order.to_json().encode()
        try:
            self._process.stdin.write(b"%d %d\n" % (len(line), len(stdin)) + line + stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            self.close()
            return Result(-signal.SIGKILL, b"", b"")
        header = self._process.stdout.read(_HEADER.size)
        if len(header) < _HEADER.size:
            self.close()
            return Result(-signal.SIGKILL, b"", b"")
        code, size, errors = _HEADER.unpack(header)
        return Result(code, self._process.stdout.read(size), self._process.stdout.read(errors))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process as process:
                assert process.stdin is not None
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    pass  # it was killed
                process.wait(SECONDS)
            self._process = None


def _serve() -> None:
    """Carry orders out until stdin ends."""
    from knarr import Engine, errors
    from knarr.cli import exitcodes
    from knarr.config import Settings

    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with Engine(Settings.from_environment()) as engine:
        while line := stdin.readline():
            size, more = (int(word) for word in line.split())
            order, data = Order.from_json(stdin.read(size).decode()), stdin.read(more)
            code, out, err = 0, b"", b""
            try:
                code, out = carry_out(engine, order, data)
            except errors.KnarrError as error:
                code, err = exitcodes.for_error(error, order.verb), f"Error: {error}\n".encode()
            except Exception:
                code, err = 1, b"unexpected " + traceback.format_exc().encode()
            stdout.write(_HEADER.pack(code, len(out), len(err)) + out + err)
            stdout.flush()


if __name__ == "__main__":
    _serve()
