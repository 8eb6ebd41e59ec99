"""A mount of another container: the kernel clones only what is in one's own mount namespace.

So a process of its own goes there, clones it, and sends the descriptor back.
"""

import _socket
import array
import os

from knarr.kernel import mounts as k
from knarr.kernel.namespaces import CLONE_NEWNS, setns
from knarr.runtime.errors import RuntimeFailure

_FD = 4


def clone(namespace: int, path: str) -> int:
    """Return a detached clone of the mounts at ``path`` in a mount namespace.

    namespace: its descriptor. The caller is single-threaded. Raises RuntimeFailure.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _be(theirs, namespace, path)
    theirs.close()
    try:
        body, ancillary, _, _ = ours.recvmsg(256, _socket.CMSG_SPACE(_FD), _socket.MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    fds = array.array("i")
    for _level, _kind, data in ancillary:
        fds.frombytes(data)
    if not fds:
        why = body.decode(errors="replace") or "its process ended"
        raise RuntimeFailure("error", "mounts", f"{path} of the other container: {why}")
    return fds[0]


def _be(sock: "_socket.socket", namespace: int, path: str) -> None:
    """Be the process that goes there; never returns."""
    try:
        setns(namespace, CLONE_NEWNS)
        fd = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
        sock.sendmsg([b"f"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [fd]))])
    except BaseException as error:  # it must not return into its parent's work
        sock.sendmsg([str(error).encode()[:200] or b"?"])
    os._exit(0)
