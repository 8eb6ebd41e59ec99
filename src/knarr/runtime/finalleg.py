"""The last leg: what a process does between the start signal and execve.

Everything that can be computed is computed before; after the seccomp filter is
in place only capset, prctl and execve remain, so that a strict profile does not
stop the process half way.
"""

import errno
import os
import struct
import termios

from knarr.kernel import caps
from knarr.kernel import process as k
from knarr.kernel.files import (
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
)
from knarr.kernel.mounts import AT_EMPTY_PATH, AT_FDCWD
from knarr.kernel.seccomp import (
    FLAG_NEW_LISTENER,
    FLAG_TSYNC,
    FLAG_TSYNC_ESRCH,
    SECCOMP_SET_MODE_FILTER,
    FilterProgram,
)
from knarr.runtime import command
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program import kept, memory
from knarr.runtime.program.builder import Builder, Label, Program, Told, text
from knarr.runtime.program.memory import (
    ARGUMENTS,
    CHANNEL,
    ENVIRONMENT,
    FILTER,
    GID,
    GROUP_COUNT,
    INIT,
    LISTENER,
    PATH,
    PROC,
    SLAVE,
    STATFS,
    STDIO,
    TEMPORARY,
    UID,
    Cell,
    address_of,
)
from knarr.runtime.program.paths import check_inode, openat2, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FILE = TEMPORARY[0]
_KEPT_CHANNEL, _KEPT_INIT = 3, 4
_MSG_NOSIGNAL = 0x4000
_EVERYTHING = 0xFFFFFFFF
_F_SETFD = 2
_SIG_SETMASK = 2
_SIGNALS = 64
_UNCATCHABLE = (9, 19)  # SIGKILL, SIGSTOP
_READING = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
# First argument that stands for knarr's own init (the engine's spec builder writes it).
INIT_NAME = "/dev/init"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class FinalLeg:
    """What the process becomes: pure data, taken from ``process`` of a spec.

    capabilities: set name -> bit mask. rlimits: (resource number, soft, hard).
    seccomp_flags: flags of seccomp(2). memory_policy: see ``settings.memory_policy``.
    affinity: see ``settings.affinity``; for an exec.
    """

    __slots__ = (
        "affinity",
        "args",
        "capabilities",
        "cwd",
        "env",
        "io_priority",
        "lsm_label",
        "memory_policy",
        "no_new_privileges",
        "personality",
        "rlimits",
        "scheduler",
        "seccomp_flags",
        "terminal",
        "umask",
    )

    def __init__(self, **values: "Any") -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])

    if TYPE_CHECKING:
        affinity: tuple[bytes | None, bytes | None]
        args: tuple[str, ...]
        capabilities: dict[str, int]
        cwd: str
        env: tuple[str, ...]
        io_priority: int | None
        lsm_label: tuple[str, str] | None
        memory_policy: tuple[int, bytes] | None
        no_new_privileges: bool
        personality: int | None
        rlimits: tuple[tuple[int, int, int], ...]
        scheduler: dict[str, int] | None
        seccomp_flags: int
        terminal: bool
        umask: int

    def environment(self) -> "dict[str, str]":
        """Return the variables of the spec by name; an entry without ``=`` is none.

        A home directory that is empty is none either, so that the user's own takes its place.
        """
        split = (entry.partition("=") for entry in self.env)
        values = {name: value for name, mark, value in split if mark}
        if values.get("HOME") == "":
            del values["HOME"]
        return values

    def describe(self) -> "list[str]":
        """Return what the process becomes, as lines for people."""
        lines = [f"capabilities {self.capabilities.get('bounding', 0):#x}"]
        lines += ["no new privileges"] if self.no_new_privileges else []
        lines.append(f"exec {' '.join(self.args)}")
        return lines


class Ending:
    """What the last leg needs beside its plan.

    stdio: three descriptors (-1: /dev/null of the container), None with a terminal.
    init_fd: knarr's init, executed where the arguments begin with ``INIT_NAME``.
    permitted: the capabilities that the process has to give. has_proc: PROC is a procfs.
    preserved: how many descriptors from 3 on the program keeps; 0 with an init.
    keyring: it gets a session keyring of its own. listening: its environment says its own
    pid, for descriptors that it is given; what stands in ``memory``. notifies: its filter asks
    an agent, to whom LISTENER leads.
    """

    __slots__ = (
        "filter",
        "has_proc",
        "init_fd",
        "keyring",
        "listening",
        "notifies",
        "permitted",
        "preserved",
        "stdio",
    )

    def __init__(
        self,
        stdio: "tuple[int, int, int] | None",
        program: "FilterProgram | None",
        init_fd: "int | None",
        permitted: int,
        *,
        has_proc: bool,
        preserved: int = 0,
        keyring: bool = True,
        listening: bool = False,
        notifies: bool = False,
    ) -> None:
        self.keyring = keyring
        self.notifies = notifies
        self.listening = listening
        self.preserved = preserved
        self.stdio = stdio
        self.filter = program
        self.init_fd = init_fd
        self.permitted = permitted
        self.has_proc = has_proc


def add(program: Program, name: str, leg: FinalLeg, ending: Ending) -> None:
    """Add the operations after the gate. Raises RuntimeFailure for what cannot work."""
    if ending.stdio is None and not leg.terminal:
        raise RuntimeFailure("error", "stdio", "no standard descriptors were given")
    # What this process lacks it cannot pass on; the runtime spec wants that to be no error.
    masks = {kind: mask & ending.permitted for kind, mask in leg.capabilities.items()}
    has_init = ending.init_fd is not None

    def part(key: "tuple[object, ...]", write: "Callable[..., None]", *arguments: object) -> None:
        program.add(name, kept.block(key, write, *arguments), str(key[0]))

    if leg.lsm_label is not None:
        part(("label", leg.lsm_label, ending.has_proc), _set_label, *leg.lsm_label, ending.has_proc)
    part(("stdio", _shape(ending.stdio)), _put_stdio, ending.stdio)
    program.add(name, kept.make(_settings, leg), "settings")
    ends = (has_init, ending.preserved, ending.notifies)
    part(("keep", *ends), _keep, *ends)
    part(("drop", masks["bounding"]), _drop_all_but, masks["bounding"])
    part(("user", ending.keyring), _become_user, ending.keyring)
    part(("cwd", leg.cwd), _enter, leg.cwd)
    behind_init = leg.args[0] == INIT_NAME and has_init
    if not behind_init or len(leg.args) > 1:
        if masks["effective"] & _READING:
            able = (masks["effective"], masks["inheritable"], ending.permitted)
            part(("able", *able), _be_able, *able)
        path = leg.environment().get("PATH", DEFAULT_PATH)
        wanted = leg.args[2] if behind_init else leg.args[0]
        part(("find", wanted, path), command.find, wanted, path)
    program.add(name, kept.make(_set_arguments, leg, behind_init), "arguments")
    part(("signals",), _default_signals)
    agent = _agent(has_init, ending.preserved) if ending.notifies else -1
    ways = (leg.no_new_privileges, leg.seccomp_flags, ending.filter is not None, ending.permitted,
            agent)  # fmt: skip
    part(("confine", *sorted(masks.items()), *ways), _confine, masks, *ways)
    part(("execute", leg.args[0], behind_init), _execute, leg.args[0], behind_init)


def _shape(stdio: "tuple[int, int, int] | None") -> "tuple[int, ...] | None":
    """Return what the operations for standard descriptors depend on: any high number is alike."""
    return None if stdio is None else tuple(min(len(STDIO), fd) for fd in stdio)


def set_cells(program: Program, leg: FinalLeg, ending: Ending) -> None:
    """Set what the operations of ``program`` take from cells.

    Where the spec names no home, an entry of the environment is that in ``memory``, settled at
    the gate.
    """
    for cell, fd in zip(STDIO, ending.stdio or (), strict=False):
        cell.set(fd)
    if ending.init_fd is not None:
        INIT.set(ending.init_fd)
    if ending.filter is not None:
        argument = ending.filter.argument
        FILTER.set(address_of(argument))
        program.keep(ending.filter, argument)
    values = leg.environment()
    entries = [text(f"{name}={value}") for name, value in values.items()]
    pointers = [address_of(entry) for entry in entries]
    if "HOME" not in values:
        pointers.append(memory.HOME)
    if ending.listening:
        pointers.append(memory.LISTEN_PID)
    array = struct.pack(f"={len(pointers) + 1}Q", *pointers, 0)
    ENVIRONMENT.set(address_of(array))
    program.keep(*entries, array)


def _set_label(b: Builder, module: str, label: str, has_proc: bool) -> None:
    """Tell the security module which profile or label the next execve gives (apparmor(7)).

    Without a procfs that is known to be one, that of the root is taken, once it
    has proved to be a procfs and its top directory.
    """
    name = label.removeprefix("exec ")
    explain = Told("error", "label", f'{module}: "{name}" cannot be applied')
    if not has_proc:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        b.call("openat", AT_FDCWD, "/proc", flags, out=PROC, explain=explain)
        b.call("fstatfs", PROC, STATFS, explain=explain)
        b.test(STATFS, 0xFFFFFFFF, PROC_SUPER_MAGIC, errno=errno.EPERM, explain=explain)
        status(b, PROC)
        check_inode(b, 1, explain)
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
    older, there = Label(), Label()
    # The module's own (5.8), else the common one.
    own, common = f"thread-self/attr/{module}/exec", "thread-self/attr/exec"
    openat2(b, PROC, own, _FILE, os.O_WRONLY, resolve, orelse=older, errors=(errno.ENOENT,),
            explain=explain)  # fmt: skip
    b.jump(there)
    b.place(older)
    openat2(b, PROC, common, _FILE, os.O_WRONLY, resolve, explain=explain)
    b.place(there)
    data = label.encode()
    b.call("write", _FILE, data, len(data), explain=explain)
    b.call("close", _FILE)


def _put_stdio(b: Builder, stdio: "tuple[int, int, int] | None") -> None:
    """Begin a session and put the three descriptors on 0, 1 and 2."""
    b.call("setsid")
    if stdio is None:
        b.call("fchown", SLAVE, UID, -1)
        b.call("ioctl", SLAVE, termios.TIOCSCTTY, 0)
        for number in range(3):
            b.call("dup3", SLAVE, number, 0)
        return
    for number, fd in enumerate(stdio):
        if fd == number:
            b.call("fcntl", fd, _F_SETFD, 0)
        elif fd >= 0:
            b.call("dup3", STDIO[number], number, 0)
        else:
            b.call("openat", AT_FDCWD, "/dev/null", os.O_RDONLY | os.O_CLOEXEC, out=_FILE,
                   path="/dev/null")  # fmt: skip
            b.call("dup3", _FILE, number, 0)


def _settings(b: Builder, leg: FinalLeg) -> None:
    for number, soft, hard in leg.rlimits:
        b.call("prlimit64", 0, number, struct.pack("=qq", soft, hard), None)
    if leg.scheduler is not None:
        explain = Told("error", "scheduler", "process.scheduler")
        b.call("sched_setattr", 0, k.sched_attributes(**leg.scheduler), 0, explain=explain)
    if leg.io_priority is not None:
        explain = Told("error", "ioPriority", "process.ioPriority")
        b.call("ioprio_set", 1, 0, leg.io_priority, explain=explain)
    if leg.personality is not None:
        explain = Told("error", "personality", "linux.personality")
        b.call("personality", leg.personality, explain=explain)
    if leg.memory_policy is not None:
        mode, nodes = leg.memory_policy
        explain = Told("error", "memoryPolicy", "linux.memoryPolicy")
        b.call("set_mempolicy", mode, nodes or None, len(nodes) * 8 + 1 if nodes else 0,
               explain=explain)  # fmt: skip
    b.call("umask", leg.umask)


def _agent(has_init: bool, preserved: int) -> int:
    """Return the number on which the connection to a seccomp agent stands, behind all others."""
    return _KEPT_INIT + 1 if has_init else _KEPT_CHANNEL + preserved + 1


def _keep(b: Builder, has_init: bool, preserved: int, notifies: bool) -> None:
    """Close all descriptors but 0 to 2, the channel (on 3) and knarr's init (on 4).

    The channel stands behind those that the program keeps, and last what leads to an agent.

    Both were opened on higher numbers. Where failures are told, execve closes it.
    """
    kept = _KEPT_CHANNEL + preserved
    b.call("dup3", CHANNEL, kept, os.O_CLOEXEC)
    if has_init:
        b.call("dup3", INIT, _KEPT_INIT, os.O_CLOEXEC)
    last = _agent(has_init, preserved)
    if notifies:
        b.call("dup3", LISTENER, last, os.O_CLOEXEC)
    b.call("close_range", last + notifies, _EVERYTHING, 0)


def _drop_all_but(b: Builder, wanted: int) -> None:
    """Reduce the bounding set to ``wanted``; a number that this kernel does not know is the end."""
    end = Label()
    for capability in range(caps.LAST + 1):
        if not wanted >> capability & 1:
            b.call("prctl", caps.PR_CAPBSET_DROP, capability, 0, 0, 0, orelse=end,
                   errors=(errno.EINVAL,))  # fmt: skip
    b.place(end)


def _become_user(b: Builder, keyring: bool) -> None:
    """Leave the caller's keys behind (keyctl(2)) and take the ids, with all capabilities kept."""
    if keyring:
        none = Label()
        b.call("keyctl", _KEYCTL_JOIN, None, 0, 0, 0, orelse=none, errors=(errno.ENOSYS,))
        b.place(none)
    _prctl(b, k.PR_SET_KEEPCAPS, 1)
    denied = Label()
    # Only where the user namespace denies it, see user_namespaces(7): there are no groups then.
    b.call("setgroups", GROUP_COUNT, memory.GROUPS, orelse=denied, errors=(errno.EPERM,))
    b.place(denied)
    b.call("setresgid", GID, GID, GID)
    b.call("setresuid", UID, UID, UID)
    _prctl(b, k.PR_SET_KEEPCAPS, 0)
    _prctl(b, k.PR_SET_DUMPABLE, 0)


_KEYCTL_JOIN = 1  # KEYCTL_JOIN_SESSION_KEYRING


def _prctl(b: Builder, option: int, value: int) -> None:
    b.call("prctl", option, value, 0, 0, 0)


def _be_able(b: Builder, effective: int, inheritable: int, permitted: int) -> None:
    """Have the program's capabilities already for the look at its file, as execve has them."""
    b.call("capset", caps.HEADER, caps.pack(effective, permitted, inheritable))


def _enter(b: Builder, cwd: str) -> None:
    """Change into the working directory and prove that it lies inside the root (CVE-2024-21626)."""
    where = f'working directory "{cwd}"'
    outside = Told(
        "directory", "chdir", f"{where} is outside the root", reason=False, numbered=False
    )
    explain = Told("directory", "chdir", where)
    b.call("chdir", cwd, explain=explain)
    b.call("getcwd", memory.WORKING_DIRECTORY, memory.PATH_LIMIT, explain=explain)
    b.test(memory.WORKING_DIRECTORY, 0xFF, ord("/"), explain=outside)


def _set_arguments(b: Builder, leg: FinalLeg, behind_init: bool) -> None:
    """Set the arguments: behind an init with the command's full path."""
    words = leg.args
    arguments = struct.pack(f"={len(words) + 1}Q", *(b.address(word) for word in words), 0)
    if behind_init and len(words) > 1:
        # Nobody else reads these bytes, so that they may be written to.
        b.set(Cell(address_of(arguments) + 2 * 8), PATH)
    b.set(ARGUMENTS, arguments)


def _default_signals(b: Builder) -> None:
    """Give every signal its default action, also 32 and 33, which the C library hides.

    Ignored signals survive execve, and posix_spawn(3) of glibc ignores those two
    (sigaction(2)). The signal mask is emptied last, and nobody's death is a signal any more.
    """
    nothing = bytes(32)  # struct sigaction of the kernel: SIG_DFL, no flags, empty mask
    for number in range(1, _SIGNALS + 1):
        if number not in _UNCATCHABLE:
            b.call("rt_sigaction", number, nothing, None, 8)
    b.call("rt_sigprocmask", _SIG_SETMASK, bytes(8), None, 8)
    _prctl(b, k.PR_SET_PDEATHSIG, 0)


def _confine(
    b: Builder,
    masks: "dict[str, int]",
    no_new_privileges: bool,
    seccomp_flags: int,
    filtered: bool,
    permitted: int,
    agent: int,
) -> None:
    """Load the filter and set the capabilities, in the order in which each may still be done."""
    header = caps.HEADER
    if no_new_privileges:
        _prctl(b, k.PR_SET_NO_NEW_PRIVS, 1)
    elif filtered:
        # Without no_new_privs loading needs CAP_SYS_ADMIN, which goes with capset. The change
        # to another user cleared the effective set; the permitted one was kept.
        b.call("capset", header, caps.pack(permitted, permitted, masks["inheritable"]))
        _load(b, seccomp_flags, agent)
    b.call("capset", header, caps.pack(masks["effective"], masks["permitted"],
                                       masks["inheritable"]))  # fmt: skip
    _prctl_ambient(b, caps.PR_CAP_AMBIENT_CLEAR_ALL, 0)
    ambient = masks["ambient"] & masks["permitted"] & masks["inheritable"]
    for capability in range(caps.LAST + 1):
        if ambient >> capability & 1:
            _prctl_ambient(b, caps.PR_CAP_AMBIENT_RAISE, capability)
    _prctl(b, k.PR_SET_DUMPABLE, 0)
    if no_new_privileges and filtered:
        _load(b, seccomp_flags, agent)


def _load(b: Builder, flags: int, agent: int) -> None:
    """Load the filter; an agent gets the descriptor for its notifications at once."""
    explain = Told("error", "seccomp", "linux.seccomp")
    if agent < 0:
        b.call("seccomp", SECCOMP_SET_MODE_FILTER, flags, FILTER, explain=explain)
        return
    # With TSYNC alone the result could be a thread's id instead of a descriptor (seccomp(2)).
    flags |= FLAG_NEW_LISTENER | (FLAG_TSYNC_ESRCH if flags & FLAG_TSYNC else 0)
    b.call("seccomp", SECCOMP_SET_MODE_FILTER, flags, FILTER, out=memory.NOTIFIED, explain=explain)
    told = Told("error", "seccomp", "linux.seccomp.listenerPath: cannot send to the agent")
    b.call("sendmsg", agent, memory.MESSAGE, _MSG_NOSIGNAL, explain=told)
    b.call("close", agent)  # an agent may wait for the end of what it is told


def _prctl_ambient(b: Builder, what: int, capability: int) -> None:
    b.call("prctl", caps.PR_CAP_AMBIENT, what, capability, 0, 0)


def _execute(b: Builder, name: str, behind_init: bool) -> None:
    explain = command.ExecFailure(name)
    if behind_init:
        b.call("execveat", _KEPT_INIT, "", ARGUMENTS, ENVIRONMENT, AT_EMPTY_PATH, explain=explain)
    else:
        b.call("execve", PATH, ARGUMENTS, ENVIRONMENT, explain=explain)
