"""The engine's side of the resolver: there is one before a container is made that needs it."""

import json

from knarr._version import __version__
from knarr.runtime import detached, packets, resolving

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence
    from typing import Self

IDLE = 10.0  # seconds with nothing to serve after which a resolver ends
PATIENCE = 10.0  # seconds for its first word
_TRIES = 5
_PROGRAM = (
    "from knarr.networks.resolver.process import main; "
    "main(sys.argv[2], float(sys.argv[3]), int(sys.argv[-1]), sys.argv[4:-1])"
)
_GONE = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError, BrokenPipeError)


class Unavailable(OSError):
    """There is no resolver and none can be started."""


class Held:
    """A resolver that serves, and does not end for lack of work while this is open."""

    __slots__ = ("_link",)

    def __init__(self, link: "_socket.socket") -> None:
        self._link = link

    def ask(self, request: bytes) -> bytes:
        """Return the answer to a request, nothing when the resolver ends."""
        self._link.send(request)
        answer: bytes = self._link.recv(packets.LIMIT)
        return answer

    def close(self) -> None:
        """Count on it no longer: what was handed over is served as long as it lives."""
        self._link.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ensure(run_root: str, idle: float = IDLE, vigil: "Sequence[str]" = ()) -> Held:
    """Return a resolver that serves, which is started when there is none.

    vigil: what ``networks.vigil.over`` takes, for one that is started.
    It is held until the container runs. One of another version of knarr is replaced; it serves
    no more, its successor finds all containers again. Raises Unavailable.
    """
    for _ in range(_TRIES):
        try:
            link = packets.connect(run_root, resolving.SOCKET)
        except _GONE:
            _start(run_root, idle, vigil)
            continue
        link.settimeout(PATIENCE)
        held = Held(link)
        try:
            answer = held.ask(b'{"hello":1}')
            if answer and json.loads(answer)["version"] == __version__:
                return held
            held.ask(b'{"quit":1}')  # the answer is its end
        except _GONE:
            # It was about to end, or it was killed: the next one comes.
            pass
        except TimeoutError:
            held.close()
            break
        except BaseException:
            held.close()
            raise
        held.close()
    raise _unavailable(run_root, "it does not answer")


def watch(run_root: str, vigil: "Sequence[str]") -> "Callable[[], None]":
    """Have somebody there who watches over the rules; return what to call later, when it is idle.

    That is the resolver, which is begun when there is none; nobody waits for it. Raises OSError.
    """
    try:
        packets.connect(run_root, resolving.SOCKET).close()
    except _GONE:
        words = [run_root, str(IDLE), *vigil]
        return detached.begin(_PROGRAM, words, f"{run_root}/resolver.log")
    return lambda: None


def _start(run_root: str, idle: float, vigil: "Sequence[str]") -> None:
    log = f"{run_root}/resolver.log"
    try:
        ready = detached.start(_PROGRAM, [run_root, str(idle), *vigil], log)
    except OSError as error:
        raise _unavailable(run_root, str(error)) from error
    if not ready:
        raise _unavailable(run_root, "it did not start")


def _unavailable(run_root: str, why: str) -> Unavailable:
    return Unavailable(111, f"no DNS server for containers: {why}: see {run_root}/resolver.log")
