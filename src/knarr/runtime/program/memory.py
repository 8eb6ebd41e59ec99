"""The memory that a program and whoever reads its results share: cells, buffers, a stack.

One mapping at one address in the process and in all that are forked from it, each
with a copy of its own. So a block of operations can be made once and used by every
later fork. A cell is eight bytes; programs name it by its address.
"""

import ctypes
import os
import struct

from knarr.kernel.memory import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    map_memory,
)

_PAGE = 4096
_FILE = 4 << 20
_NO_ID = 0xFFFFFFFF  # (uid_t)-1 means: leave it as it is
_GROUPS_MAX = 65536  # NGROUPS_MAX
_PROGRAM_PAGES = 256
_SIZE = (6 + _PROGRAM_PAGES) * _PAGE + 4 * _GROUPS_MAX + 2 * _FILE
# PyBytesObject: the bytes stand behind the header, followed by a NUL.
_BYTES_HEADER = bytes.__basicsize__ - 1

CELLS_SIZE = _PAGE
BASE = map_memory(_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)
_view = memoryview((ctypes.c_char * _SIZE).from_address(BASE)).cast("B")


class Cell(int):
    """The address of a cell. As an argument of a call: what the cell holds."""

    __slots__ = ()

    def get(self) -> int:
        """Return the value, a signed 64-bit number."""
        at = self - BASE
        return int.from_bytes(_view[at : at + 8], "little", signed=True)

    def set(self, value: int) -> None:
        """Store a value."""
        at = self - BASE
        _view[at : at + 8] = value.to_bytes(8, "little", signed=True)


def _cell(number: int) -> Cell:
    return Cell(BASE + 8 * number)


# Where and why a program failed: the number of the operation, the error number.
FAULT_AT, FAULT_ERROR = _cell(0), _cell(1)
# Descriptors that steps share.
CHANNEL, ROOT, TARGET, PROC = _cell(2), _cell(3), _cell(4), _cell(5)
MASTER, SLAVE, SCRATCH = _cell(6), _cell(7), _cell(8)
# Who the process becomes: settled by its parent while it waits at the gate.
UID, GID, GROUP_COUNT = _cell(9), _cell(10), _cell(11)
# Its standard descriptors, knarr's init, its system call filter.
STDIO, INIT, FILTER = (_cell(20), _cell(21), _cell(22)), _cell(23), _cell(24)
# Addresses of paths: the directory for the root, and files of control groups to enter.
TARGET_PATH = _cell(25)
ENTRANCES = tuple(_cell(number) for number in range(48, 64))
# What it executes.
PATH, ARGUMENTS, ENVIRONMENT = _cell(13), _cell(14), _cell(15)
# Sizes of what was read of passwd and group, and what may go wrong without an end.
PASSWD_SIZE, GROUP_SIZE, CWD_RESULT = _cell(16), _cell(17), _cell(18)
# Descriptors of the process that was spawned and of one that a program cloned: four bytes.
SPAWNED, PIDFD = _cell(26), _cell(19)
# A keeper's channel, what its clone returned to it, and the pid of the process it cloned.
KEEPER_CHANNEL, KEEPER, CLONED = _cell(27), _cell(28), _cell(29)
# The connection to a seccomp agent.
LISTENER = _cell(12)
# The FIFO that a process waits at whose maker has gone.
GATE = _cell(30)
# The mount namespace in which it ends up, if that is not the one in which its mounts were made.
MOUNT_NAMESPACE = _cell(31)
# For the duration of a step; nothing survives the end of one.
TEMPORARY = tuple(_cell(number) for number in range(32, 48))
# Descriptors of bind mounts: index n in MOUNTS + 8 * n.
_MOUNTS = 64
MOUNTS_MAX = 440
# The control group namespace of others that it enters.
CGROUP_NAMESPACE = _cell(_MOUNTS + MOUNTS_MAX)

# What a process asks its maker: the address of a path; and that it has tried (``exchange.ask``).
QUESTION, ANSWER = _cell(_MOUNTS + MOUNTS_MAX + 1), _cell(_MOUNTS + MOUNTS_MAX + 2)

# The connection of who lends a hand to a maker elsewhere (``deputy``); -1: there is none.
LINK = _cell(_MOUNTS + MOUNTS_MAX + 3)

STATX = BASE + _PAGE  # struct statx
STATFS = BASE + _PAGE + 512  # struct statfs
POLL = BASE + _PAGE + 768  # struct pollfd [2]: the channel, the parent
BYTE = BASE + _PAGE + 1024  # one byte from the channel
SCRATCH_PATH = BASE + _PAGE + 1040  # "/proc/self/fd/N" of SCRATCH
KEEPER_POLL = BASE + _PAGE + 1104  # struct pollfd [2]: the keeper's channel, the parent
CLONE_ARGUMENTS = BASE + _PAGE + 1152  # struct clone_args of what a keeper clones
LISTEN_PID = BASE + _PAGE + 1280  # "LISTEN_PID=…", of sd_listen_fds(3)
# The message to a seccomp agent: struct msghdr, iovec[5], cmsghdr with a descriptor; a pid as text.
MESSAGE = BASE + _PAGE + 1408
VECTORS = BASE + _PAGE + 1472
CONTROL = BASE + _PAGE + 1552
NOTIFIED = CONTROL + 16
LISTENER_PID = BASE + _PAGE + 1584
LISTENER_PID_SIZE = 10
MODE = BASE + _PAGE + 1600  # four octal digits and room for what is written behind them
WORKING_DIRECTORY = BASE + 2 * _PAGE  # result of getcwd
PATH_LIMIT = _PAGE
STACK = BASE + 3 * _PAGE
STACK_SIZE = _PAGE
HOME = BASE + 4 * _PAGE  # "HOME=…"
GROUPS = BASE + 5 * _PAGE  # of setgroups, 32 bits each
KEEPER_STACK = GROUPS + 4 * _GROUPS_MAX
PROGRAM = KEEPER_STACK + STACK_SIZE  # of a keeper and the process it clones
PROGRAM_SIZE = _PROGRAM_PAGES * _PAGE
PASSWD = PROGRAM + PROGRAM_SIZE
GROUP = PASSWD + _FILE
FILE_LIMIT = _FILE
END = BASE + _SIZE


def mount_cell(number: int) -> Cell:
    """Return the cell for the descriptor of a bind mount; OverflowError beyond the last."""
    if number >= MOUNTS_MAX:
        raise OverflowError(f"mounts: more than {MOUNTS_MAX} bind mounts are not supported")
    return _cell(_MOUNTS + number)


def read(address: int, size: int) -> bytes:
    """Return ``size`` bytes at an address in here."""
    at = address - BASE
    return bytes(_view[at : at + size])


def write(address: int, data: "bytes | memoryview") -> None:
    """Store bytes at an address in here."""
    at = address - BASE
    _view[at : at + len(data)] = data


def set_user(uid: int, gid: int, groups: "tuple[int, ...]", home: str) -> None:
    """Settle who the process becomes and where its home is.

    Raises OverflowError for ids that are none and for more than there is room for.
    """
    if not all(0 <= number < _NO_ID for number in (uid, gid, *groups)):
        raise OverflowError(f"user: {uid}:{gid} are no ids")
    entry = os.fsencode(f"HOME={home}")
    if len(entry) >= _PAGE or len(groups) > _GROUPS_MAX:
        raise OverflowError("user: its home directory or its list of groups is too long")
    UID.set(uid)
    GID.set(gid)
    GROUP_COUNT.set(len(groups))
    write(GROUPS, struct.pack(f"={len(groups)}I", *groups))
    write(HOME, entry + b"\0")


def home() -> str:
    """Return where the home of who ``set_user`` settled is, as an entry of an environment."""
    return text_at(HOME)


def address_of(data: bytes) -> int:
    """Return where the bytes of an object stand, with a NUL behind them; the caller keeps it."""
    return id(data) + _BYTES_HEADER


def text_at(address: int) -> str:
    """Return the text of which this is the address."""
    return os.fsdecode(ctypes.string_at(address))


def tell_in(fd: int) -> None:
    """Have the cells in a file of at least ``CELLS_SIZE`` bytes: who reads it sees the fault cells.

    What they held is lost. A child that is forked later shares them.
    """
    map_memory(CELLS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, BASE)


def share(fd: int = -1) -> None:
    """Make the mapping one with that of the next fork, for machines whose child has no other way.

    fd: of a file that it is to be in, for a process that maps that as well. What it held is lost.
    """
    flags = MAP_SHARED | MAP_FIXED | (MAP_ANONYMOUS if fd < 0 else 0)
    map_memory(_SIZE, PROT_READ | PROT_WRITE, flags, fd, BASE)
