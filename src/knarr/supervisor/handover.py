"""How a container passes from the process that made it to its supervisor.

One packet of a fixed layout with the descriptors: reading it must not touch
memory that the supervisor then keeps for as long as the container runs. It comes
while the container's process is on its way, and a word when that runs.
"""

import _socket
import array
import os
import struct

from knarr.runtime import packets

_LAYOUT = struct.Struct("=iii????B")
_LIMIT = 12800  # three of the longest paths and what stands before them
_NAMES = ("pidfd", "listener", "out", "err", "stdin", "client", "oom")
_RUNS = b"r"


class Handover:
    """What a supervisor needs: pid and descriptors (-1: none), the log's path ("": none).

    manager, cgroup: name of the cgroup manager and path of the container's group.
    exit_file: where the exit is recorded durably ("": nowhere). keeper: pid of a process
    that has done its work and is to be waited for, or 0; spare: of one that was not needed.
    configured: the state says more
    about the log. checked: its health is to be. oom: tells of out-of-memory kills.

    With a terminal, out and stdin are its master. client: a connection that is
    attached from the first byte; owner: the container must not outlive it.
    """

    __slots__ = (
        "cgroup",
        "checked",
        "client",
        "configured",
        "err",
        "exit_file",
        "keeper",
        "listener",
        "log",
        "manager",
        "oom",
        "out",
        "owner",
        "pid",
        "pidfd",
        "spare",
        "stdin",
        "terminal",
    )

    def __init__(
        self,
        pid: int,
        pidfd: int,
        listener: int,
        out: int,
        err: int,
        stdin: int,
        client: int,
        terminal: bool,
        owner: bool,
        log: str,
        manager: str,
        cgroup: str,
        exit_file: str,
        keeper: int,
        configured: bool = False,
        checked: bool = False,
        spare: int = 0,
        oom: int = -1,
    ) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.listener = listener
        self.out = out
        self.err = err
        self.stdin = stdin
        self.client = client
        self.terminal = terminal
        self.owner = owner
        self.log = log
        self.manager = manager
        self.cgroup = cgroup
        self.exit_file = exit_file
        self.keeper = keeper
        self.spare = spare
        self.configured = configured
        self.checked = checked
        self.oom = oom


def send(sock: "_socket.socket", value: Handover) -> None:
    """Send a container to its supervisor, before it runs; raises OSError."""
    fds = array.array("i")
    mask = 0
    for bit, name in enumerate(_NAMES):
        fd = getattr(value, name)
        if fd >= 0 and not (name == "stdin" and value.terminal):
            mask |= 1 << bit
            fds.append(fd)
    texts = f"{value.log}\0{value.manager}\0{value.cgroup}\0{value.exit_file}"
    head = _LAYOUT.pack(
        value.pid,
        value.keeper,
        value.spare,
        value.terminal,
        value.owner,
        value.configured,
        value.checked,
        mask,
    )
    sock.sendmsg([head + os.fsencode(texts)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])


def confirm(sock: "_socket.socket", root_fd: int) -> None:
    """Say that the container runs, with its root file system's mount; raises OSError.

    The mount comes last: of a container that never runs nothing is to be busy any more when
    its caller hears that.
    """
    packets.send(sock, _RUNS, [root_fd])


def confirmed(sock: "_socket.socket") -> int:
    """Wait for that; return the mount, -1 when the maker ended without a container."""
    try:
        _, (root_fd,) = packets.receive(sock, packets.LIMIT)
    except (OSError, EOFError):
        return -1
    return root_fd


def receive(sock: "_socket.socket") -> "Handover | None":
    """Return the container; None when its maker ended without one."""
    try:
        body, ancillary, _, _ = sock.recvmsg(
            _LIMIT, _socket.CMSG_SPACE(len(_NAMES) * 4), _socket.MSG_CMSG_CLOEXEC
        )
    except OSError:
        return None
    if not body:
        return None
    fds = array.array("i")
    for _level, _kind, data in ancillary:
        fds.frombytes(data)
    pid, keeper, spare, terminal, owner, configured, checked, mask = _LAYOUT.unpack_from(body)
    got = iter(fds)  # in the order of _NAMES
    pidfd = next(got) if mask & 1 else -1
    listener = next(got) if mask & 2 else -1
    out = next(got) if mask & 4 else -1
    err = next(got) if mask & 8 else -1
    stdin = next(got) if mask & 16 else out if terminal else -1
    client = next(got) if mask & 32 else -1
    oom = next(got) if mask & 64 else -1
    log, manager, cgroup, exit_file = os.fsdecode(body[_LAYOUT.size :]).split("\0")
    # By position: names of arguments would be written to, each in a page of its own.
    return Handover(
        pid, pidfd, listener, out, err, stdin, client, terminal, owner,
        log, manager, cgroup, exit_file, keeper, configured, checked, spare, oom,
    )  # fmt: skip
