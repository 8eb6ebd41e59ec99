"""What is known of containers between two commands: a directory for each below ``--root``.

    ROOT/ID/lock          held by the one command that changes the container at a time
    ROOT/ID/state.json    replaced by rename; what ``Container.save`` writes
    ROOT/ID/config.json   the configuration as it was at create
    ROOT/ID/gate          the FIFO at which the process waits until start; gate.new until it does
    ROOT/ID/cells         where a program that fails says why
    ROOT/@seccomp/        compiled filters; no container has such a name
    ROOT/@gone-*/         what is being removed

The lock is of the kind that belongs to a process and its table of descriptors (fcntl(2)): the
container's process, which has a copy of that table, does not go on holding it. Whether it runs
is not written down but looked up: the process with its start time, and who waits at the FIFO.
"""

import fcntl
import os
import stat
import time

from knarr.cgroups import files
from knarr.errors import Conflict, InvalidArgument, NotFound
from knarr.kernel import plainjson, process
from knarr.oci.errors import missing
from knarr.runtime import fifo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SECCOMP = "@seccomp"
_GONE = "@gone-"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_root(root: str) -> None:
    """Raise InvalidArgument for a place of states in which others could put one.

    What stands there is believed: which process to kill, which group to remove.
    """
    try:
        found = os.stat(root)
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid():
        hint = "" if os.geteuid() == 0 else " (without root: XDG_RUNTIME_DIR, or another --root)"
        raise InvalidArgument(f"--root {root}: belongs to another user{hint}")
    if found.st_mode & 0o022:
        raise InvalidArgument(f"--root {root}: others can write to it")


def check_name(name: str) -> str:
    """Return a container's name; raises InvalidArgument for one that is none, or a path."""
    if not name or name in (".", "..") or not _LETTERS.issuperset(name) or len(name) > 255:
        raise InvalidArgument(
            f"container id {name!r:.300}: expected letters, digits and _ + - . (at most 255)"
        )
    return name


class Container:
    """One container. values: what ``state.json`` holds."""

    __slots__ = ("_lock", "name", "path", "values")

    def __init__(self, root: str, name: str) -> None:
        self.name = check_name(name)
        self.path = os.path.join(root, name)
        self.values: dict[str, Any] = {}
        self._lock = -1

    def file(self, name: str) -> str:
        """Return the path of one of its files."""
        return os.path.join(self.path, name)

    @property
    def gate(self) -> str:
        """The FIFO at which its process waits."""
        return self.file("gate")

    @property
    def pid(self) -> int:
        """The pid of its process, 0 before there is one."""
        found: int = self.values.get("pid") or 0
        return found

    def save(self) -> None:
        """Write the values. Raises OSError."""
        write_new(self.file("state.json"), plainjson.dumps(self.values))

    def load(self) -> None:
        """Read the values; raises NotFound when there is no such container.

        There are none of a create that was killed at its very beginning.
        """
        self._check()
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self.file("state.json"), flags)
        except OSError:
            return
        with open(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                try:
                    found = plainjson.loads(file.read())
                except ValueError:
                    return  # nothing that ``save`` has written: it puts a whole file there
                self.values = found if isinstance(found, dict) else {}

    def _check(self) -> None:
        """Raise NotFound unless the container's directory is one, and no link to another."""
        try:
            found = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            missing(self.name)
        if not stat.S_ISDIR(found.st_mode):
            missing(self.name)

    def make(self) -> None:
        """Make and lock the directory of a new container; raises Conflict for a name in use."""
        os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            raise Conflict(f"container with id exists: {self.name}") from None
        self.lock()

    def lock(self) -> None:
        """Wait until no other command changes this container; raises NotFound without one."""
        self._check()
        try:
            self._lock = os.open(self.file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            missing(self.name)
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        if os.fstat(self._lock).st_nlink == 0:
            missing(self.name)  # removed while this one waited, and perhaps made anew

    def unlock(self) -> None:
        """Let others change it."""
        os.close(self._lock)
        self._lock = -1

    def lock_again(self) -> bool:
        """Lock it after ``unlock``; return False when it is gone, or another has its name."""
        before = [self.values.get(key) for key in ("pid", "start_time")]
        try:
            self.lock()
            self.load()
        except NotFound:
            return False
        return before == [self.values.get(key) for key in ("pid", "start_time")]

    def process(self) -> int:
        """Return a pid descriptor of its process, -1 when that has ended."""
        if not self.pid:
            return -1
        try:
            fd = process.pidfd_open(self.pid)
        except ProcessLookupError:
            return -1
        # Looked at only now: from here on the number cannot become another's.
        if process.start_time(self.pid) == self.values["start_time"]:
            return fd
        os.close(fd)
        return -1

    def status(self) -> str:
        """Return creating, created, running, paused or stopped."""
        if self.pid and process.start_time(self.pid) != self.values["start_time"]:
            return "stopped"
        if not os.path.exists(self.gate):
            return "creating" if self.pid or self._is_locked() else "stopped"
        if self._is_frozen():
            return "paused"
        return "created" if self.waits() else "running"

    def waits(self) -> bool:
        """Return whether its process has yet to be started."""
        try:
            return fifo.is_waiting(self.gate)
        except FileNotFoundError:
            return False

    def _is_locked(self) -> bool:
        """Return whether another command is at it."""
        if self._lock >= 0:
            return False
        try:
            fd = os.open(self.file("lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def _is_frozen(self) -> bool:
        """Return what the group would say, without what it takes to have one."""
        path = self.values["cgroup"].get("freezing")
        return bool(path) and files.read_int(path) == 1

    @property
    def grouped(self) -> bool:
        """Whether it has a control group."""
        return bool(self.values["cgroup"]["manager"] != "none")

    def group(self) -> "Any":
        """Return its control group; FileNotFoundError when there is none."""
        return self.manager().open(self.values["cgroup"]["path"])

    def manager(self) -> "Any":
        """Return who makes its control group."""
        from knarr.cgroups.manager import detect

        return detect(self.values["cgroup"]["manager"])

    def remove_group(self) -> None:
        """Remove its control group, if that was made for it, with whoever is left in it. OSError.

        The modules that know groups take longer to load than all else that ``delete`` does.
        """
        group = self.values.get("cgroup", {})
        if group.get("made") and not _are_removed(group.get("directories") or ()):
            self.manager().remove(group["path"])

    def told(self, status: str = "") -> "dict[str, Any]":
        """Return its state for others (runtime-spec runtime.md, "State"), as hooks get it."""
        status = status or self.status()
        found = {
            "ociVersion": self.values.get("ociVersion", "1.0.0"),
            "id": self.name,
            "status": status,
            "pid": 0 if status == "stopped" else self.pid,
            "bundle": self.values.get("bundle", ""),
        }
        if self.values.get("annotations"):
            found["annotations"] = self.values["annotations"]
        return found

    def shown(self) -> "dict[str, Any]":
        """Return its state with what runc shows beside it, in its order."""
        told = self.told()
        keys = ("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created")
        found = {key: told.get(key, self.values.get(key, "")) for key in keys}
        if "annotations" in told:
            found["annotations"] = told["annotations"]
        return found | {"owner": self._owner()}

    def _owner(self) -> str:
        """Return the name of who made it, or the id as runc writes one that has no name."""
        try:
            uid = os.stat(self.path).st_uid
        except FileNotFoundError:
            missing(self.name)
        if uid == 0:
            return "root"
        import pwd

        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"#{uid}"

    def remove(self) -> None:
        """Remove all that is known of it; that is all gone is no error.

        Under another name first: who looks for it finds all of it or nothing, and the name is
        free at once.
        """
        root = os.path.dirname(self.path)
        try:
            os.rename(self.path, os.path.join(root, f"{_GONE}{os.getpid()}-{time.monotonic_ns()}"))
        except FileNotFoundError:
            pass  # a removal that was killed half-way has come so far
        sweep(root)


def _are_removed(directories: "Sequence[str]") -> bool:
    """Remove a group's directories; return False where that takes more, as somebody is in it."""
    for directory in directories:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return bool(directories)


def discard(root: str, name: str) -> None:
    """Remove what has a container's name and is none, and what killed commands left."""
    try:
        os.unlink(os.path.join(root, check_name(name)))
    except (FileNotFoundError, NotADirectoryError):
        pass
    sweep(root)


def sweep(root: str) -> None:
    """Remove what is left of containers that are gone, also by commands that were killed."""
    for name in _entries(root):
        if name.startswith(_GONE):
            _remove(os.path.join(root, name))


def _remove(folder: str) -> None:
    """Remove a directory of files; what is not there any more, others have removed."""
    for name in (*_entries(folder), ""):
        path = os.path.join(folder, name)
        try:
            (os.unlink if name else os.rmdir)(path)
        except FileNotFoundError:
            continue


def _entries(root: str) -> "list[str]":
    try:
        return os.listdir(root)
    except FileNotFoundError:
        return []


def write_new(path: str, text: str) -> None:
    """Write a file so that others see it whole or not at all. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o644)
    try:
        with open(fd, "w") as file:
            file.write(text)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove_pid_file(path: str, pid: int) -> None:
    """Remove a pid file that says this pid; that there is none is no error."""
    try:
        with open(path) as file:
            ours = file.read() == str(pid)
        if ours:
            os.unlink(path)
    except (OSError, ValueError):
        return  # it was not written


def load(root: str, name: str, *, lock: bool = False) -> Container:
    """Return a container that exists; raises NotFound. lock: as ``Container.lock``."""
    container = Container(root, name)
    if lock:
        container.lock()
    container.load()
    return container


def names(root: str) -> "list[str]":
    """Return the names of all containers."""
    return sorted(name for name in _entries(root) if _LETTERS.issuperset(name))
