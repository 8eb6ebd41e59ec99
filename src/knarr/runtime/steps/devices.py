"""Steps that fill /dev and make the console."""

import errno
import os
import stat
import struct
import termios

from knarr.kernel import mounts as k
from knarr.kernel import tty
from knarr.kernel.files import DEVPTS_SUPER_MAGIC
from knarr.runtime.mountopts import MountOptions
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import MASTER, SLAVE, STATFS, TEMPORARY
from knarr.runtime.program.paths import (
    check_device,
    check_type,
    ensure_directory,
    ensure_file,
    open_in_root,
    status,
)
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.steps.mounts import attach, clone, set_attributes

_DIRECTORY, _NODE, _TARGET = TEMPORARY[0], TEMPORARY[1], TEMPORARY[2]

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
_FLAGS = MountOptions(["nosuid", "noexec"])  # a node needs neither
STANDARD = frozenset(path for path, _, _ in DEFAULT_DEVICES)
TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


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

    def key(self, setting: Setting) -> "tuple[object, ...] | None":
        """See Step; under which name the host has a node now is looked up each time."""
        if setting.in_userns and self.kind != "p" and self.path not in STANDARD:
            return None
        return (*self._values(), setting.in_userns)

    def emit(self, b: Builder, setting: Setting) -> None:
        """See config-linux.md, "Devices": a file that is there already has to match."""
        if setting.in_userns and self.kind != "p":
            self._bind(b)
            return
        parent, name = os.path.split(self.path)
        ensure_directory(b, parent, _DIRECTORY)
        made, there = Label(), Label()
        number = 0 if self.kind == "p" else _encode(self.major, self.minor)
        b.call("mknodat", _DIRECTORY, name, TYPES[self.kind] | self.mode, number, path=self.path,
               orelse=there, errors=(errno.EEXIST,))  # fmt: skip
        b.jump(made)
        b.place(there)
        status(b, _DIRECTORY, name)
        self._check(b, errno.EEXIST)
        b.place(made)
        b.call("fchownat", _DIRECTORY, name, self.uid, self.gid, k.AT_SYMLINK_NOFOLLOW,
               path=self.path)  # fmt: skip
        b.call("close", _DIRECTORY)

    def _check(self, b: Builder, number: int) -> None:
        check_type(b, TYPES[self.kind], errno=number, path=self.path)
        if self.kind != "p":
            check_device(b, self.major, self.minor, self.path)

    def _bind(self, b: Builder) -> None:
        source = self._host_node()
        b.call("open_tree", k.AT_FDCWD, source, k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC, out=_NODE,
               path=source)  # fmt: skip
        status(b, _NODE)
        self._check(b, errno.ENXIO)
        ensure_file(b, self.path, _TARGET)
        attach(b, _NODE, _TARGET, self.path)
        set_attributes(b, _NODE, _FLAGS, self.path)
        b.call("close", _TARGET)
        b.call("close", _NODE)

    def _host_node(self) -> str:
        """Return the path of the host's node, which may have another name (sysfs(5)).

        Whether it is the right one is looked at again when it is taken.
        """
        if self.path in STANDARD or self._is_at(self.path):
            return self.path
        folder = "block" if self.kind == "b" else "char"
        try:
            with open(f"/sys/dev/{folder}/{self.major}:{self.minor}/uevent") as file:
                for line in file:
                    if line.startswith("DEVNAME=") and self._is_at("/dev/" + line[8:].rstrip("\n")):
                        return "/dev/" + line[8:].rstrip("\n")
        except OSError:
            # No sysfs, or no such device: only its own name was left to try.
            pass
        raise OSError(
            errno.ENXIO, f"the host has no node {self.path} of device {self.major}:{self.minor}"
        )

    def _is_at(self, path: str) -> bool:
        try:
            found = os.stat(path)
        except OSError:
            return False
        number = os.makedev(self.major, self.minor)
        return stat.S_IFMT(found.st_mode) == TYPES[self.kind] and found.st_rdev == number

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"device {self.path} ({self.kind} {self.major}:{self.minor})"


def _encode(major: int, minor: int) -> int:
    """Return device numbers as mknod(2) takes them (new_encode_dev in linux/kdev_t.h)."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


class DeviceLinks(Step):
    """Make /dev/fd, /dev/stdin, /dev/stdout, /dev/stderr and /dev/ptmx."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """See runtime-linux.md, "Dev symbolic links", and config-linux.md on /dev/ptmx."""
        del setting
        ensure_directory(b, "/dev", _DIRECTORY)
        for name, target in _LINKS:
            _link(b, name, target)
        end = Label()
        status(b, _DIRECTORY, "pts/ptmx", orelse=end, errors=(errno.ENOENT,))
        _link(b, "ptmx", "pts/ptmx")
        b.place(end)
        b.call("close", _DIRECTORY)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "links /dev/fd stdin stdout stderr ptmx"


def _link(b: Builder, name: str, target: str) -> None:
    """Link, unless the image or a mount brought its own: the spec asks to leave that."""
    there = Label()
    b.call("symlinkat", target, _DIRECTORY, name, path=name, orelse=there, errors=(errno.EEXIST,))
    b.place(there)


class Console(Step):
    """Make the pseudo-terminal in the container's own devpts and bind it on /dev/console."""

    __slots__ = ("columns", "rows")

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns

    def open(self, b: Builder) -> None:
        """Open master and slave; the slave comes from its master, by no path of the image."""
        flags = os.O_RDWR | os.O_NOCTTY
        open_in_root(b, "/dev/pts/ptmx", MASTER, flags, follow=False)
        b.call("fstatfs", MASTER, STATFS)
        b.test(STATFS, 0xFFFFFFFF, DEVPTS_SUPER_MAGIC, errno=errno.ENOTTY, path="/dev/pts")
        b.call("ioctl", MASTER, tty.TIOCSPTLCK, struct.pack("=i", 0))
        b.call("ioctl", MASTER, tty.TIOCGPTPEER, flags | os.O_CLOEXEC, out=SLAVE)
        if self.rows and self.columns:
            size = struct.pack("=4H", self.rows, self.columns, 0, 0)
            b.call("ioctl", SLAVE, termios.TIOCSWINSZ, size)

    def emit(self, b: Builder, setting: Setting) -> None:
        """Bound by descriptor as well (CVE-2025-52565)."""
        del setting
        self.open(b)
        ensure_file(b, "/dev/console", _TARGET)
        clone(b, SLAVE, _NODE)
        attach(b, _NODE, _TARGET, "/dev/console")
        b.call("close", _NODE)
        b.call("close", _TARGET)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"console ({self.rows}x{self.columns})"


class JoinConsole(Console):
    """The pseudo-terminal of an exec: in the container's devpts, without /dev/console."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """The slave comes from its master, as for the first process."""
        del setting
        self.open(b)
