"""A mount of another container: the kernel clones only what is in one's own mount namespace.

So a process of its own goes there, clones it, and sends the descriptor back.
"""

import os

from knarr.kernel import mounts as k
from knarr.kernel.namespaces import CLONE_NEWNS, setns
from knarr.runtime import packets
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_LIMIT = 256  # of a packet that says why there is no clone


def clone(namespace: int, path: str) -> int:
    """Return a detached clone of the mounts at ``path`` in a mount namespace.

    namespace: its descriptor. The caller is single-threaded. Raises RuntimeFailure.
    """
    ours, theirs = packets.pair()
    pid = os.fork()
    if pid == 0:
        _be(theirs, namespace, path)
    theirs.close()
    try:
        why, fds = packets.receive(ours, _LIMIT)
    except EOFError:
        why, fds = b"its process ended", []
    finally:
        ours.close()
        os.waitpid(pid, 0)
    if not fds:
        text = f"{path} of the other container: {why.decode(errors='replace')}"
        raise RuntimeFailure("error", "mounts", text)
    return fds[0]


def _be(sock: "_socket.socket", namespace: int, path: str) -> None:
    """Be the process that goes there; never returns."""
    try:
        setns(namespace, CLONE_NEWNS)
        fd = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
        packets.send(sock, b"f", [fd])
    except BaseException as error:  # it must not return into its parent's work
        packets.send(sock, str(error).encode()[:200] or b"?", [])
    os._exit(0)
