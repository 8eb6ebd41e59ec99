"""Asking the watcher, which is started when it is not there."""

from __future__ import annotations

import os
import signal
import sys

from knarr.errors import Unavailable
from knarr.images.lazy import process
from knarr.runtime.channel import Channel
from knarr.supervisor import rundir

_TRIES = 8
_GONE = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError, BrokenPipeError, EOFError)


def watch(data_root: str, run_root: str) -> None:
    """Return when all layers that are on their way are watched over, mounted, and being brought.

    Raises Unavailable.
    """
    places = process.Places(data_root, run_root)
    for _ in range(_TRIES):
        try:
            answer = _ask(places)
        except _GONE:
            _spawn(places)
            continue
        if "error" in answer:
            raise Unavailable(str(answer["error"]))
        return
    raise Unavailable(f"nobody watches over layers that are to come: see {places.log}")


def _ask(places: process.Places) -> dict[str, object]:
    channel = Channel(rundir.connect(places.run_root, process.SOCKET))
    try:
        channel.send({"look": True})
        return channel.receive()[0]
    finally:
        channel.sock.close()


def _spawn(places: process.Places) -> None:
    """Start a watcher and return when it listens, or has found another one."""
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        pid = os.posix_spawn(
            sys.executable,
            process.arguments(places, writer),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, places.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals(),
        )
    finally:
        os.close(writer)
    try:
        os.waitpid(pid, 0)  # it forks at once: the caller gets no child to wait for
    except ChildProcessError:
        pass  # the caller ignores SIGCHLD
    try:
        os.read(reader, 1)
    finally:
        os.close(reader)
