"""The container's standard streams on the supervisor's side: named pipes or a pseudo-terminal.

Output goes through FIFOs in the run directory, and the container's ends are
opened for reading too: when the supervisor is killed, a writer neither gets
SIGPIPE nor loses a byte, and whoever takes over opens the FIFO again.

Input goes through a pipe without a name: who opens a FIFO (/dev/stdin) that nobody writes to
any more waits for ever, where a pipe has its end. Whoever takes over finds it where the
container's first process has it; a link in the run directory says which pipe it is.
"""

import fcntl
import os
import stat

TYPE_CHECKING = False

NAMES = ("stdin", "stdout", "stderr")
# Bytes of a pipe whose writer has filled it: as much as fs.pipe-max-size usually allows anybody.
BULK = 1 << 20
_F_SETPIPE_SZ = 1031


class Streams:
    """Descriptors of the supervisor: out and err to read, stdin to write; -1 where there is none.

    child: the container's three descriptors, to be closed once it runs.
    """

    __slots__ = ("child", "err", "out", "stdin")

    def __init__(self) -> None:
        self.child: tuple[int, int, int] | None = None
        self.stdin = self.out = self.err = -1

    def close_child(self) -> None:
        """Close the container's ends, so that end of file can be seen."""
        for fd in self.child or ():
            if fd >= 0:
                os.close(fd)
        self.child = None

    def close(self) -> None:
        """Close everything."""
        self.close_child()
        for fd in {self.stdin, self.out, self.err}:
            if fd >= 0:
                os.close(fd)
        self.stdin = self.out = self.err = -1


def _fifo(run_dir: str, name: str) -> str:
    path = f"{run_dir}/{name}"
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        os.unlink(path)
        os.mkfifo(path, 0o600)
    return path


def _link(target: str, path: str) -> None:
    try:
        os.symlink(target, path)
    except FileExistsError:
        os.unlink(path)
        os.symlink(target, path)


def make_pipes(run_dir: str, *, stdin: bool) -> Streams:
    """Return streams over new pipes; without ``stdin`` the container reads /dev/null."""
    streams = Streams()
    ends = [-1, -1, -1]
    streams.child = (-1, -1, -1)
    try:
        if stdin:
            ends[0], streams.stdin = os.pipe()
            os.set_blocking(streams.stdin, False)
            _link(os.readlink(f"/proc/self/fd/{ends[0]}"), f"{run_dir}/stdin")
        for number, name in ((1, "stdout"), (2, "stderr")):
            path = _fifo(run_dir, name)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            setattr(streams, "out" if number == 1 else "err", reader)
            ends[number] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        streams.child = (ends[0], ends[1], ends[2])
    except BaseException:
        streams.child = (ends[0], ends[1], ends[2])
        streams.close()
        raise
    return streams


def give_to(streams: Streams, uid: int, gid: int) -> None:
    """Make the pipes the container user's, so that it can open /dev/stdout again."""
    for fd in streams.child or ():
        if fd >= 0 and uid >= 0:
            os.fchown(fd, uid, gid)


def widen(fd: int) -> None:
    """Give a pipe room for what its writer writes while we do not run, or are writing ourselves.

    What is in it counts as its writer's memory, so only one that has been full is widened.
    """
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, BULK)
    except OSError:
        return  # a terminal, or more than its owner may have: it works as it is


def reopen_pipes(run_dir: str, pid: int) -> Streams:
    """Return streams over the pipes that a dead supervisor left; what is missing stays -1.

    pid: of the container's first process, which a descriptor of the caller holds.
    """
    streams = Streams()
    for name, attribute in (("stdout", "out"), ("stderr", "err")):
        try:
            fd = os.open(f"{run_dir}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        setattr(streams, attribute, fd)
    streams.stdin = _reopen_input(run_dir, pid)
    return streams


def _reopen_input(run_dir: str, pid: int) -> int:
    """Return the writing end of the pipe that a process still has as its stdin, or -1.

    What it has there is the container's to choose: nothing but that pipe is opened.
    """
    try:
        pipe = os.readlink(f"{run_dir}/stdin")
        place = os.open(f"/proc/{pid}/fd/0", os.O_PATH | os.O_CLOEXEC)
        try:
            own = f"/proc/self/fd/{place}"
            if not stat.S_ISFIFO(os.fstat(place).st_mode) or os.readlink(own) != pipe:
                return -1
            return os.open(own, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(place)
    except OSError:
        return -1  # it never had one, has closed it, or has ended
