"""A process elsewhere that lends a hand: the container becomes its child, and not ours.

A worker of a server has everything loaded, but what it clones is its own child, and whoever
called an OCI runtime waits for a child, or orphan, of the command that was called. So the thin
command that stands there (client/x86_64.S) does what has to be done by that process itself: it
carries out operations, and clones the one that carries out a program. It is told by packets and
knows nothing of what they mean.

Both see the cells of ``program.memory`` in one file. What the program points to, operations,
texts, structures, stands among Python's objects; a copy of those pages is mapped at the same
addresses there. The process shares no memory with the thin command but these mappings, and
the table of descriptors until its gate, as with ``process.create``. So the maker hands over
descriptors and puts the numbers that they got there into the cells.
"""

import ctypes
import errno
import os
import resource
import struct

from knarr.kernel import clone
from knarr.kernel.libc import NUMBERS
from knarr.kernel.memory import MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from knarr.kernel.namespaces import CLONE_NEWNS
from knarr.kernel.process import EVERY_PROCESSOR, PR_SET_DUMPABLE
from knarr.runtime import entering
from knarr.runtime.fifogate import HookStop
from knarr.runtime.program import carrier, memory
from knarr.runtime.program.operations import CALL, END, OPERATION, SIZE
from knarr.runtime.steps.base import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from knarr.runtime.plan import Plan
    from knarr.runtime.program.builder import Program

    # Hands over a packet with descriptors, and returns the answer. Raises OSError.
    Ask = Callable[[bytes, Sequence[int]], bytes]

# As in client/x86_64.S: what follows HEAD bytes of a packet stands in BUFFER.
_HEAD = 64
_BUFFER, _ROOM = 0x200000000, 0x8000
_CONTROL_SIZE = 272
_RIGHTS = 16  # where the numbers of descriptors begin in a control message (cmsg(3))
# The end of what is answered: no message has so many descriptors.
_FAULT_SIZE = 16
_FAULT = _BUFFER + _ROOM + 8 + _CONTROL_SIZE - _FAULT_SIZE
_MOST = (_CONTROL_SIZE - _FAULT_SIZE - _RIGHTS) // 4
_head = struct.Struct("=cc6x4Q24x")
_CALLS = _ROOM // SIZE // 2  # in one packet; the other half is for their texts
_PAGE = 4096
_MAP_FIXED_NOREPLACE = 0x100000  # since Linux 4.17
_PR_SET_NAME = 15
_WNOHANG = 1
_STANDARD = 2  # the last of the standard descriptors

# A call's name and its arguments; bytes stand for the address of a copy.
_Call = tuple[str, *tuple["int | bytes", ...]]


class Deputy:
    """The hand of process ``pid``. ask: tells it."""

    __slots__ = ("_ask", "_link", "_own", "_pid", "_spawned")

    def __init__(self, pid: int, ask: "Ask") -> None:
        self._pid = pid
        self._ask = ask
        self._spawned = 0
        self._own: frozenset[int] = frozenset()
        self._link = -1

    def is_read_only(self) -> bool:
        """Return whether nobody writes to its file through /proc/PID/exe. Raises OSError.

        The container's process has that file until its execve (``oci.protection``). What starts
        this one from a clone cannot do so on a kernel before 5.12.
        """
        return bool(os.statvfs(f"/proc/{self._pid}/exe").f_flag & os.ST_RDONLY)

    def prepare(self) -> None:
        """Have both see the same cells, before any is set. Raises OSError.

        From here on nobody looks into that process, it has no descriptor that it was not to
        have, and it may run on every processor that its group has: the container inherits that.
        """
        brought = self._brought()
        self._own = frozenset(self._open()).difference(brought)
        self._link = self._find_link()
        cells = os.memfd_create("knarr-cells", os.MFD_CLOEXEC)
        try:
            os.ftruncate(cells, memory.END - memory.BASE)
            memory.share(cells)
            (there,) = self.give([cells])
        finally:
            os.close(cells)
        self._do(
            *(("close", fd) for fd in brought),
            ("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0),
            ("prctl", _PR_SET_NAME, b"knarr-oci\0", 0, 0, 0),
            ("sched_setaffinity", 0, len(EVERY_PROCESSOR), EVERY_PROCESSOR),
            _mapping(memory.BASE, memory.END, MAP_SHARED | _MAP_FIXED_NOREPLACE, there),
        )

    def tell_in(self, path: str) -> None:
        """Have its cells in the file in which ``memory.tell_in`` put ours. Raises OSError."""
        begin = memory.BASE
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            (there,) = self.give([fd])
        finally:
            os.close(fd)
        self._do(_mapping(begin, begin + memory.CELLS_SIZE, MAP_SHARED | MAP_FIXED, there))

    def enter(self, joins: "entering.Joins") -> None:
        """Have it enter namespaces by path, which the container inherits. Raises RuntimeFailure."""
        opened = entering.open_all(joins)
        try:
            numbers = self.give([fd for _, fd in opened])
            for (flag, path), there in zip(joins, numbers, strict=True):
                if flag in entering.BY_ITSELF:
                    entering.BY_ITSELF[flag].set(there)
                    continue
                try:
                    self._do(("setns", there, flag))
                except OSError as error:
                    raise entering.failure(path, error.strerror or "", error.errno or 0) from error
        finally:
            entering.close_all(opened)

    def give(self, fds: "Sequence[int]") -> "list[int]":
        """Return the numbers of copies there, which are close-on-exec. Raises OSError."""
        found: list[int] = []
        for at in range(0, len(fds), _MOST):
            some = fds[at : at + _MOST]
            answer = self._ask(_head.pack(b"D", b"g", 0, 0, 0, 0), some)
            _result(answer)
            if int.from_bytes(answer[8:16], "little") != _RIGHTS + 4 * len(some):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            found += struct.unpack_from(f"={len(some)}i", answer, 8 + _RIGHTS)
        return found

    def let_go(self) -> None:
        """Have it close all but its own; the process has a table of its own by now. OSError.

        What the process has opened, or closed, meanwhile was opened and closed for both.
        """
        self._do(*(("close", fd) for fd in self._open() if fd not in self._own))

    def spawn(
        self, program: "Program", flags: int, cgroup_fd: "int | None" = None
    ) -> "tuple[int, int]":
        """Return (pid, pidfd) of a process that carries a program out; see ``carrier.spawn``."""
        memory.FAULT_ERROR.set(0)
        memory.LINK.set(self._link)
        start = program.address()
        group = None if cgroup_fd is None else self.give([cgroup_fd])[0]
        flags |= clone.CLONE_FILES | clone.CLONE_PIDFD | clone.CLONE_CLEAR_SIGHAND
        stack = (memory.STACK, memory.STACK_SIZE)
        arguments = clone.arguments(flags, memory.SPAWNED, group, stack)
        place = memory.address_of(arguments)
        self._copy([*program.regions(), (place, len(arguments))])
        head = _head.pack(b"D", b"s", place, len(arguments), start, memory.FAULT_AT)
        pid = _result(self._ask(head, ()))
        if pid < 0:
            raise OSError(-pid, f"clone3: {os.strerror(-pid)}")
        self._spawned = pid
        return pid, os.pidfd_open(pid)  # it has not been waited for

    def reap(self) -> None:
        """Have it wait for the process, if that has ended: nobody else would before it ends."""
        if self._spawned:
            self._do(("wait4", self._spawned, 0, _WNOHANG, 0))

    def _brought(self) -> "list[int]":
        """Return the descriptors that it was started with, beside the standard ones.

        Its own it has all opened close-on-exec; nobody can be started with such a one.
        """
        found = []
        for fd in self._open():
            if fd > _STANDARD:
                with open(f"/proc/{self._pid}/fdinfo/{fd}") as file:
                    flags = next(line for line in file if line.startswith("flags:"))
                if not int(flags.split()[1], 8) & os.O_CLOEXEC:
                    found.append(fd)
        return found

    def _find_link(self) -> int:
        """Return the number of its end of the connection: it has no other socket of its own."""
        for fd in self._own:
            if fd > _STANDARD and os.readlink(f"/proc/{self._pid}/fd/{fd}").startswith("socket:"):
                return fd
        raise OSError(errno.EPROTO, "the thin command has no connection")

    def _open(self) -> "list[int]":
        return [int(name) for name in os.listdir(f"/proc/{self._pid}/fd")]

    def _copy(self, regions: "list[tuple[int, int]]") -> None:
        """Have what stands in these places (address, size) stand there as well. Raises OSError."""
        pages = sorted(
            {
                page
                for address, size in regions
                for page in range(address // _PAGE, (address + size - 1) // _PAGE + 1)
            }
        )
        copy = os.memfd_create("knarr-program", os.MFD_CLOEXEC)
        try:
            mappings, offset = [], 0
            (there,) = self.give([copy])
            for begin, end in _runs(pages):
                size = (end - begin) * _PAGE
                os.write(copy, (ctypes.c_char * size).from_address(begin * _PAGE))
                how = MAP_PRIVATE | _MAP_FIXED_NOREPLACE
                mappings.append(_mapping(begin * _PAGE, end * _PAGE, how, there, offset))
                offset += size
        finally:
            os.close(copy)
        self._do(*mappings)

    def _do(self, *calls: "_Call") -> None:
        """Have it make calls, one after the other. Raises OSError for the first that fails."""
        for at in range(0, len(calls), _CALLS):
            self._do_some(calls[at : at + _CALLS])

    def _do_some(self, calls: "Sequence[_Call]") -> None:
        """Have it make as many as there is room for there, with the texts that they have."""
        texts = b""
        behind = _BUFFER + (len(calls) + 1) * SIZE
        packed = []
        for name, *arguments in calls:
            values = []
            for argument in arguments:
                if isinstance(argument, bytes):
                    values.append(behind + len(texts))
                    texts += argument + bytes(-len(argument) % 8)
                else:
                    values.append(int(argument) & 0xFFFFFFFFFFFFFFFF)
            values += [0] * (6 - len(values))
            packed.append(OPERATION.pack(NUMBERS[name], 0, CALL, 0, 0, 0, 0, *values))
        packed.append(OPERATION.pack(0, 0, END, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        said = b"".join(packed) + texts
        if len(said) > _ROOM:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        answer = self._ask(_head.pack(b"D", b"r", _BUFFER, _FAULT, 0, 0) + said, ())
        number = -_result(answer)
        if number:
            at = int.from_bytes(answer[-_FAULT_SIZE:][:8], "little")
            raise OSError(number, f"{calls[at][0]}: {os.strerror(number)}")


def suits(plan: "Plan") -> bool:
    """Return whether a deputy can do what a plan asks of who clones the process.

    It enters no user or mount namespace and makes none of time, and while the process is on its
    way nothing comes back from it but that it waits. The cells are a file, whose size is limited
    like that of any.
    """
    longest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    stops = [step for step in plan.steps if isinstance(step, Stop)]
    return (
        carrier.SHARED != 0
        and (longest == resource.RLIM_INFINITY or longest >= memory.END - memory.BASE)
        and not plan.apart
        and not plan.joins_user
        and plan.time_offsets is None
        and not any(flag == CLONE_NEWNS for flag, _ in plan.joins)
        and all(isinstance(step, HookStop) for step in stops)
    )


def _result(answer: bytes) -> int:
    if len(answer) != 8 + _CONTROL_SIZE:
        raise OSError(errno.EPROTO, "the thin command did not understand")
    return int.from_bytes(answer[:8], "little", signed=True)


def _mapping(begin: int, end: int, how: int, fd: int, offset: int = 0) -> "_Call":
    return ("mmap", begin, end - begin, PROT_READ | PROT_WRITE, how, fd, offset)


def _runs(pages: "list[int]") -> "list[tuple[int, int]]":
    """Return first and behind the last of each row of pages."""
    found: list[tuple[int, int]] = []
    for page in pages:
        if found and found[-1][1] == page:
            found[-1] = found[-1][0], page + 1
        else:
            found.append((page, page + 1))
    return found
