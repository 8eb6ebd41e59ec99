"""Steps that fill /dev and make the console."""

import os
import stat

from knarr.kernel import mounts as k
from knarr.kernel import tty
from knarr.kernel.files import DEVPTS_SUPER_MAGIC, fstatfs_type
from knarr.runtime.lookup import ensure_directory, ensure_file, open_in_root
from knarr.runtime.steps.base import Context, Step

# config-linux.md, "Default Devices": path, major, minor
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class Device(Step):
    """Make one device node, or bind the host's where a user namespace forbids mknod."""

    __slots__ = ("gid", "kind", "major", "minor", "mode", "path", "uid")

    def __init__(
        self,
        path: str,
        kind: str,
        major: int,
        minor: int,
        mode: int = 0o666,
        uid: int = 0,
        gid: int = 0,
    ) -> None:
        self.path = path
        self.kind = kind
        self.major = major
        self.minor = minor
        self.mode = mode
        self.uid = uid
        self.gid = gid

    def execute(self, context: Context) -> None:
        """See config-linux.md, "Devices": a file that is there already has to match."""
        if context.in_userns and self.kind != "p":
            self._bind(context)
            return
        parent, name = os.path.split(self.path)
        directory = ensure_directory(context.root_fd, parent)
        try:
            try:
                os.mknod(name, _TYPES[self.kind] | self.mode, self._number(), dir_fd=directory)
            except FileExistsError:
                if not self._matches(os.stat(name, dir_fd=directory, follow_symlinks=False)):
                    raise
            os.chown(name, self.uid, self.gid, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)

    def _bind(self, context: Context) -> None:
        fd = self._host_node()
        try:
            target = ensure_file(context.root_fd, self.path)
            try:
                k.attach(fd, target)
            finally:
                os.close(target)
        finally:
            os.close(fd)

    def _host_node(self) -> int:
        """Return a detached clone of the host's node, which may have another name (sysfs(5))."""
        paths = [self.path]
        try:
            folder = "block" if self.kind == "b" else "char"
            with open(f"/sys/dev/{folder}/{self.major}:{self.minor}/uevent") as file:
                for line in file:
                    if line.startswith("DEVNAME="):
                        paths.append("/dev/" + line[8:].rstrip("\n"))
        except OSError:
            # No sysfs, or no such device: only its own name is left to try.
            pass
        for path in paths:
            try:
                fd = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE)
            except FileNotFoundError:
                continue
            if self._matches(os.fstat(fd)):
                return fd
            os.close(fd)
        raise OSError(6, f"the host has no node {self.path} of device {self.major}:{self.minor}")

    def _number(self) -> int:
        return 0 if self.kind == "p" else os.makedev(self.major, self.minor)

    def _matches(self, status: os.stat_result) -> bool:
        return stat.S_IFMT(status.st_mode) == _TYPES[self.kind] and (
            self.kind == "p" or status.st_rdev == self._number()
        )

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"device {self.path} ({self.kind} {self.major}:{self.minor})"


class DeviceLinks(Step):
    """Make /dev/fd, /dev/stdin, /dev/stdout, /dev/stderr and /dev/ptmx."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """See runtime-linux.md, "Dev symbolic links", and config-linux.md on /dev/ptmx."""
        directory = ensure_directory(context.root_fd, "/dev")
        try:
            for name, target in _LINKS:
                _link(directory, name, target)
            if _exists(directory, "pts/ptmx"):
                _link(directory, "ptmx", "pts/ptmx")
        finally:
            os.close(directory)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "links /dev/fd stdin stdout stderr ptmx"


def _link(directory: int, name: str, target: str) -> None:
    try:
        os.symlink(target, name, dir_fd=directory)
    except FileExistsError:
        # The image or a mount brought its own; the spec asks to leave it.
        return


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class Console(Step):
    """Make the pseudo-terminal in the container's own devpts and bind it on /dev/console."""

    __slots__ = ("columns", "rows")

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns

    def open(self, context: Context) -> None:
        """Open master and slave; the slave comes from its master, by no path of the image."""
        flags = os.O_RDWR | os.O_NOCTTY
        context.master = open_in_root(context.root_fd, "/dev/pts/ptmx", flags, follow=False)
        if fstatfs_type(context.master) != DEVPTS_SUPER_MAGIC:
            raise OSError(25, "/dev/pts is not a devpts")
        tty.unlock(context.master)
        context.slave = tty.open_slave(context.master)
        if self.rows and self.columns:
            tty.set_size(context.slave, self.rows, self.columns)

    def execute(self, context: Context) -> None:
        """Bound by descriptor as well (CVE-2025-52565)."""
        self.open(context)
        target = ensure_file(context.root_fd, "/dev/console")
        try:
            clone = k.open_tree(context.slave, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH)
            k.attach(clone, target)
            os.close(clone)
        finally:
            os.close(target)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"console ({self.rows}x{self.columns})"


class JoinConsole(Console):
    """The pseudo-terminal of an exec: in the container's devpts, without /dev/console."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """The slave comes from its master, as for the first process."""
        self.open(context)
