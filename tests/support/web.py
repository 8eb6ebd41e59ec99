"""A web server on a free port of the loopback, run by a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from knarr.web.limits import Limits
from knarr.web.listening import Address, listen
from knarr.web.message import Request, Response
from knarr.web.server import Server


@contextmanager
def serving(
    handler: Callable[[Request], Response],
    limits: Limits | None = None,
    where: Address | None = None,
) -> Iterator[tuple[Server, Callable[..., socket.socket]]]:
    """Serve; yield the server and what connects to it, from an address if one is given."""
    where = where or Address("127.0.0.1", 0)
    link = listen(where)
    name = link.getsockname()
    with Server(handler, [link], limits=limits) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()

        def connect(source: str = "") -> socket.socket:
            made = socket.socket(socket.AF_UNIX if where.path else socket.AF_INET)
            made.settimeout(30)
            if source:
                made.bind((source, 0))
            made.connect(name)
            return made

        try:
            yield server, connect
        finally:
            server.stop()
            thread.join()


def everything(link: socket.socket) -> bytes:
    """Return what comes until the other side ends."""
    parts = []
    try:
        while data := link.recv(65536):
            parts.append(data)
    except ConnectionResetError:
        pass
    return b"".join(parts)
