"""The last leg: what a process does between the start signal and execve.

Everything that can be computed is computed before; after the seccomp filter is
in place only capset, prctl and execve remain, so that a strict profile does not
stop the interpreter half way.
"""

import fcntl
import os
import resource
import signal

from knarr.kernel import caps, process, tty
from knarr.kernel.files import (
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    close_range,
    fstatfs_type,
    openat2,
)
from knarr.kernel.mounts import AT_FDCWD
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.channel import Channel
    from knarr.runtime.users import ResolvedUser

CAP_LAST = 63
_EINVAL = 22
_ENOENT, _EACCES, _EPERM, _ENOEXEC, _ENOTDIR, _EISDIR, _ELOOP = 2, 13, 1, 8, 20, 21, 40
# First argument that stands for knarr's own init (the engine's spec builder writes it).
INIT_NAME = "/dev/init"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class FinalLeg:
    """What the process becomes: pure data, taken from ``process`` of a spec.

    capabilities: set name -> bit mask. rlimits: (resource number, soft, hard).
    seccomp_flags: flags of seccomp(2).
    """

    __slots__ = (
        "args",
        "capabilities",
        "cwd",
        "env",
        "io_priority",
        "lsm_label",
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
        args: tuple[str, ...]
        capabilities: dict[str, int]
        cwd: str
        env: tuple[str, ...]
        io_priority: int | None
        lsm_label: tuple[str, str] | None
        no_new_privileges: bool
        personality: int | None
        rlimits: tuple[tuple[int, int, int], ...]
        scheduler: dict[str, int] | None
        seccomp_flags: int
        terminal: bool
        umask: int

    def environment(self) -> "dict[str, str]":
        """Return the variables of the spec by name; an entry without ``=`` is none."""
        split = (entry.partition("=") for entry in self.env)
        return {name: value for name, mark, value in split if mark}

    def describe(self) -> "list[str]":
        """Return what the process becomes, as lines for people."""
        lines = [f"capabilities {self.capabilities.get('bounding', 0):#x}"]
        lines += ["no new privileges"] if self.no_new_privileges else []
        lines.append(f"exec {' '.join(self.args)}")
        return lines


def set_lsm_label(leg: FinalLeg, proc_fd: int) -> None:
    """Tell the security module which profile or label the next execve gives (apparmor(7)).

    proc_fd: a procfs that is known to be one; without one that of the root is
    taken, once it has proved to be a procfs and its top directory.
    """
    if leg.lsm_label is None:
        return
    module, text = leg.lsm_label
    name = text.removeprefix("exec ")
    try:
        if proc_fd < 0:
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            proc_fd = os.open("/proc", flags)
            if fstatfs_type(proc_fd) != PROC_SUPER_MAGIC or os.fstat(proc_fd).st_ino != 1:
                raise OSError(_EPERM, "/proc is not a procfs")
        fd = _open_attribute(proc_fd, module)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise RuntimeFailure(
            "error",
            "label",
            f'{module}: "{name}" cannot be applied: {error.strerror}',
            error.errno or 0,
        ) from error


def _open_attribute(proc_fd: int, module: str) -> int:
    """Return the exec attribute of this process: the module's own (5.8), else the common one."""
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
    for path in (f"thread-self/attr/{module}/exec", "thread-self/attr/exec"):
        try:
            return openat2(proc_fd, path, os.O_WRONLY, 0, resolve)
        except FileNotFoundError:
            continue
    raise OSError(_ENOENT, "this kernel does not run it")


def prepare_stdio(stdio: "tuple[int, int, int]", leg: FinalLeg) -> None:
    """Begin a session and put the three descriptors on 0, 1 and 2."""
    os.setsid()
    if leg.terminal:
        tty.set_controlling(stdio[0])
    for number, fd in enumerate(stdio):
        if fd == number:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, number, inheritable=True)


def run(
    leg: FinalLeg,
    user: "ResolvedUser",
    env: "dict[str, str]",
    program: "FilterProgram | None",
    channel: "Channel",
    init_fd: "int | None" = None,
) -> None:
    """Become the container's process; only returns by raising RuntimeFailure or OSError.

    channel: where failures are reported; execve closes it.
    init_fd: knarr's init, executed where the arguments begin with ``INIT_NAME``.
    """
    _settings(leg)
    init_fd = _keep(channel, init_fd)
    # What this process lacks it cannot pass on; the runtime spec wants that to be no error.
    permitted = caps.capget()[1]
    masks = {name: mask & permitted for name, mask in leg.capabilities.items()}
    _drop_all_but(masks["bounding"])
    process.new_session_keyring()
    process.set_keepcaps(True)
    os.setgroups(list(user.additional_gids))
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    process.set_keepcaps(False)
    process.set_dumpable(False)
    _enter(leg.cwd)
    argv = [os.fsencode(word) for word in leg.args]
    environment = {os.fsencode(key): os.fsencode(value) for key, value in env.items()}
    path, argv = _target(argv, env.get("PATH", DEFAULT_PATH), init_fd)
    _reset_signals()
    if leg.no_new_privileges:
        process.set_no_new_privs()
    elif program is not None:
        # Without no_new_privs loading needs CAP_SYS_ADMIN, which goes with capset.
        _raise_effective()
        program.load(leg.seccomp_flags)
    _capabilities(masks)
    if leg.no_new_privileges and program is not None:
        program.load(leg.seccomp_flags)
    try:
        os.execve(path, argv, environment)
    except OSError as error:
        raise _exec_failure(leg.args[0], error) from error


def _keep(channel: "Channel", init_fd: "int | None") -> "int | None":
    """Close all descriptors but 0 to 2, the channel (on 3) and knarr's init (on 4)."""
    copies = [fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, 16)]
    if init_fd is not None:
        copies.append(fcntl.fcntl(init_fd, fcntl.F_DUPFD_CLOEXEC, 16))
    channel.move_to(3, copies[0])
    if init_fd is None:
        close_range(4)
        return None
    init_fd = os.dup2(copies[1], 4, inheritable=False)
    close_range(5)
    return init_fd


def _target(
    argv: "list[bytes]", path: str, init_fd: "int | None"
) -> "tuple[str | int, list[bytes]]":
    """Return what to execute and its arguments, the command's full path behind an init."""
    if argv[0] != INIT_NAME.encode() or init_fd is None:
        return find_command(os.fsdecode(argv[0]), path), argv
    if len(argv) == 1:
        return init_fd, argv
    return init_fd, [*argv[:2], os.fsencode(find_command(os.fsdecode(argv[2]), path)), *argv[3:]]


def _settings(leg: FinalLeg) -> None:
    for number, soft, hard in leg.rlimits:
        try:
            resource.setrlimit(number, (soft, hard))
        except ValueError as error:
            raise OSError(_EPERM, f"setrlimit: {error}") from error
    if leg.scheduler is not None:
        process.sched_setattr(**leg.scheduler)
    if leg.io_priority is not None:
        process.ioprio_set(leg.io_priority)
    if leg.personality is not None:
        process.personality(leg.personality)
    os.umask(leg.umask)


def _drop_all_but(wanted: int) -> None:
    """Reduce the bounding set to ``wanted``; a number that this kernel does not know is the end."""
    for capability in range(CAP_LAST + 1):
        if wanted >> capability & 1:
            continue
        try:
            caps.bounding_drop(capability)
        except OSError as error:
            if error.errno != _EINVAL:
                raise
            return


def _raise_effective() -> None:
    """Changing to another user cleared the effective set; the permitted one was kept."""
    _, permitted, inheritable = caps.capget()
    caps.capset(permitted, permitted, inheritable)


def _capabilities(masks: "dict[str, int]") -> None:
    caps.capset(masks["effective"], masks["permitted"], masks["inheritable"])
    caps.ambient_clear()
    ambient = masks["ambient"] & masks["permitted"] & masks["inheritable"]
    for capability in range(CAP_LAST + 1):
        if ambient >> capability & 1:
            caps.ambient_raise(capability)
    process.set_dumpable(False)


def _enter(cwd: str) -> None:
    """Change into the working directory and prove that it lies inside the root (CVE-2024-21626)."""
    try:
        os.chdir(cwd)
        inside = os.getcwd().startswith("/")
    except OSError as error:
        raise RuntimeFailure(
            "error", "chdir", f'working directory "{cwd}": {error.strerror}', error.errno or 0
        ) from error
    if not inside:
        raise RuntimeFailure("error", "chdir", f'working directory "{cwd}" is outside the root')


def _reset_signals() -> None:
    """Undo what interpreter, launcher and whoever started it ignore: execve would keep it."""
    process.default_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    process.set_pdeathsig(0)


def find_command(name: str, path: str) -> str:
    """Return the path to execute for ``name`` as execvp(3) looks it up.

    Raises RuntimeFailure with Docker's texts: ``not-found`` or ``not-executable``.
    """
    if not name:
        raise RuntimeFailure("not-found", "exec", "no command specified", _ENOENT)
    if "/" in name:
        _check(name)
        return name
    denied = False
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            _refuse_magic(candidate)
            return candidate
        denied = denied or os.path.isfile(candidate)
    if denied:
        raise RuntimeFailure(
            "not-executable", "exec", f'exec: "{name}": permission denied', _EACCES
        )
    raise RuntimeFailure(
        "not-found", "exec", f'exec: "{name}": executable file not found in $PATH', _ENOENT
    )


def _check(name: str) -> None:
    try:
        os.stat(name)
    except OSError as error:
        missing = error.errno in (_ENOENT, _ENOTDIR, _ELOOP)
        raise RuntimeFailure(
            "not-found" if missing else "not-executable",
            "exec",
            f'exec: "{name}": stat {name}: {(error.strerror or "").lower()}',
            error.errno or 0,
        ) from error
    if os.path.isdir(name):
        raise RuntimeFailure("not-executable", "exec", f'exec: "{name}": is a directory', _EISDIR)
    if not os.access(name, os.X_OK):
        raise RuntimeFailure(
            "not-executable", "exec", f'exec: "{name}": permission denied', _EACCES
        )
    _refuse_magic(name)


def _refuse_magic(name: str) -> None:
    """Refuse what only exists through /proc: /proc/self/exe is this interpreter (CVE-2019-5736)."""
    try:
        os.close(openat2(AT_FDCWD, name, os.O_PATH, 0, RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        raise RuntimeFailure(
            "not-executable", "exec", f'exec: "{name}": leads through /proc', error.errno or 0
        ) from error


def _exec_failure(name: str, error: OSError) -> RuntimeFailure:
    """Return the failure of execve itself, e.g. a missing interpreter of a script."""
    text = (error.strerror or "").lower()
    kind = "not-found" if error.errno == _ENOENT else "not-executable"
    if error.errno not in (_ENOENT, _EACCES, _EPERM, _ENOEXEC, _ENOTDIR, _EISDIR, _ELOOP):
        kind = "error"
    return RuntimeFailure(kind, "exec", f'exec: "{name}": {text}', error.errno or 0)
