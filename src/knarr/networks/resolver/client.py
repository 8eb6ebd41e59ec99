"""The engine's side of the resolver: there is one before a container is made that needs it."""

import json

from knarr._version import __version__
from knarr.runtime import detached, packets, resolving

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

IDLE = 10.0  # seconds with nothing to serve after which a resolver ends
PATIENCE = 10.0  # seconds for its first word
_TRIES = 5
_PROGRAM = (
    "from knarr.networks.resolver.process import main; "
    "main(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))"
)
_GONE = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError, BrokenPipeError)


class Unavailable(OSError):
    """There is no resolver and none can be started."""


def ensure(run_root: str, idle: float = IDLE) -> "_socket.socket":
    """Return a connection to a resolver that serves, which is started when there is none.

    While the connection is open the resolver does not end: it is closed once the container runs.
    One of another version of knarr is replaced; it serves no more, its successor finds all
    containers again. Raises Unavailable.
    """
    for _ in range(_TRIES):
        try:
            link = packets.connect(run_root, resolving.SOCKET)
        except _GONE:
            _start(run_root, idle)
            continue
        try:
            link.settimeout(PATIENCE)
            link.send(b'{"hello":1}')
            packet, _fds = packets.receive(link, packets.LIMIT)
            if json.loads(packet)["version"] == __version__:
                return link
            link.send(b'{"quit":1}')
            link.recv(1)  # until it has gone
        except (*_GONE, EOFError):
            # It was about to end, or it was killed: the next one comes.
            pass
        except BaseException:
            link.close()
            raise
        link.close()
    raise _unavailable(run_root, "it does not answer")


def _start(run_root: str, idle: float) -> None:
    log = f"{run_root}/resolver.log"
    try:
        ready = detached.start(_PROGRAM, [run_root, str(idle)], log)
    except OSError as error:
        raise _unavailable(run_root, str(error)) from error
    if not ready:
        raise _unavailable(run_root, "it did not start")


def _unavailable(run_root: str, why: str) -> Unavailable:
    return Unavailable(111, f"no DNS server for containers: {why}: see {run_root}/resolver.log")
