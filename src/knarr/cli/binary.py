"""Bytes to a file, to stdout, or from stdin: archives in and out."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal

from knarr.cli import terminal
from knarr.errors import InvalidArgument, Unavailable


@contextmanager
def output(path: str | None, verb: str) -> Iterator[BinaryIO]:
    """Yield what an archive is written to: ``path``, or stdout unless that is a terminal.

    A file appears under its name only when the block ends well. Raises InvalidArgument,
    Unavailable naming what cannot be written to.
    """
    try:
        with _output(path, verb) as stream:
            yield stream
    except BrokenPipeError:
        raise  # nobody reads stdout any more: no failure that has to be told
    except OSError as error:
        where = "standard output" if not path or path == "-" else path
        raise Unavailable(f"{verb}: {where}: {error.strerror or error}") from error


@contextmanager
def _output(path: str | None, verb: str) -> Iterator[BinaryIO]:
    if not path or path == "-":
        if terminal.is_terminal(1):
            raise InvalidArgument(
                f"cowardly refusing to {verb} to a terminal. Use the -o flag or redirect"
            )
        sys.stdout.flush()
        with os.fdopen(os.dup(1), "wb") as stream:
            yield stream
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with _opened(path, path) as stream:  # a device or a pipe takes the bytes as they come
            yield stream
        return
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}")
    try:
        # Made anew: in a directory of everybody's, a link could lie in wait under the name.
        with _opened(temporary, path, "xb") as stream:
            yield stream
        os.replace(temporary, path)
    except BaseException:  # also a signal's: nothing half written stays, whoever ends it
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def _opened(path: str, named: str, mode: Literal["wb", "xb"] = "wb") -> BinaryIO:
    try:
        return open(path, mode)
    except OSError as error:
        raise InvalidArgument(f"open {named}: {error.strerror}") from None


def pour(chunks: Iterable[bytes], stream: BinaryIO) -> None:
    """Write all chunks. Raises OSError."""
    stream.writelines(chunks)


@contextmanager
def stdin(verb: str) -> Iterator[BinaryIO]:
    """Yield the caller's stdin for reading an archive. Raises InvalidArgument on a terminal."""
    if terminal.is_terminal(0):
        raise InvalidArgument(f"requested {verb} from stdin, but stdin is a terminal")
    with os.fdopen(os.dup(0), "rb") as stream:
        yield stream
