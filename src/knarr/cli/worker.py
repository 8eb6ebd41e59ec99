"""A worker of the command server: waits for one caller and becomes its command."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from knarr.cli import context, readiness
from knarr.cli.caller import Caller, Interrupted
from knarr.cli.served import ServedCaller
from knarr.kernel import process
from knarr.warm import pages
from knarr.warm import request as requests
from knarr.warm.request import Refused, Request

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from knarr.warm.loaded import LoadedCode


def become_a_command(listener: socket.socket, notice: int, code: LoadedCode, server: int) -> None:
    """Wait for a caller, run its command, end the process; never returns.

    ``notice`` stays open to the end of the command: that is how the server learns of it.
    """
    here = requests.place()
    came = requests.await_caller(listener, notice, code, server, _prepare)
    link = came.link
    try:
        Caller().prepare_signals()
        link.settimeout(requests.PATIENCE)
        request, caller = _begin(link, here if came.fresh and not _is_elsewhere(came.pid) else [])
    except (Refused, ValueError):
        requests.answer(link, b"N")
    except Interrupted as asked:
        requests.answer(link, b"K%d" % asked.number)
    except OSError:
        requests.answer(link, b"N")  # a descriptor that is none, or the caller is gone
    else:
        _carry_out(request.argv, caller)


def _prepare(awaited: Callable[[], bool]) -> None:
    pages.own(awaited)
    context.ready = readiness.prepare(awaited)


def _begin(link: socket.socket, here: list[bytes]) -> tuple[Request, ServedCaller]:
    request = requests.receive(link)
    link.settimeout(None)
    if request.place != here:
        raise Refused
    requests.become(request)
    process.set_name("knarr")
    return request, ServedCaller(link, request.foreground)


def _carry_out(argv: list[str], caller: ServedCaller) -> None:
    try:
        from knarr.cli import main

        sys.argv = argv
        status = main.run(argv[1:], caller)
    except Interrupted as asked:
        status = -asked.number
    caller.end(status)


def _is_elsewhere(pid: int) -> bool:
    """Return whether the caller has another network than we, which the request does not say."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:
        return True  # it has gone
