"""Steps on single paths of the finished tree: masks, read-only paths, sysctls, work directory."""

import errno
import os
import stat

from knarr.kernel import mounts as k
from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV
from knarr.runtime.mountopts import MountOptions
from knarr.runtime.program.builder import Builder, Label, Told
from knarr.runtime.program.memory import CWD_RESULT, PROC, TEMPORARY
from knarr.runtime.program.paths import (
    check_device,
    check_type,
    open_in_root,
    openat2,
    status,
    try_directory,
)
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.steps.mounts import attach, clone, new_mount, set_attributes

_TARGET, _CLONE, _EMPTY, _FILE = TEMPORARY[3], TEMPORARY[4], TEMPORARY[5], TEMPORARY[6]
_GONE = (errno.ENOENT, errno.ENOTDIR)
_NULL = "/dev/null"


class MaskPaths(Step):
    """Hide paths: a directory under an empty read-only tmpfs, a file under /dev/null."""

    __slots__ = ("paths",)

    def __init__(self, paths: "tuple[str, ...]") -> None:
        self.paths = paths

    def emit(self, b: Builder, setting: Setting) -> None:
        """A missing path is left out; a symbolic link in one is an attack and an error."""
        del setting
        options = MountOptions(["ro", "nosuid", "nodev", "noexec", "size=0"])
        new_mount(b, "tmpfs", "tmpfs", options, _EMPTY)
        for path in self.paths:
            missing, file, masked, first, done = Label(), Label(), Label(), Label(), Label()
            open_in_root(b, path, _TARGET, follow=False, orelse=missing, errors=_GONE)
            status(b, _TARGET)
            check_type(b, stat.S_IFDIR, orelse=file)
            # The first mount stays detached and only serves as the original; but before
            # Linux 6.15 only an attached one can be cloned, so there it covers the first path.
            clone(b, _EMPTY, _CLONE, orelse=first)
            b.jump(masked)
            b.place(first)
            attach(b, _EMPTY, _TARGET, path)
            b.jump(done)
            b.place(file)
            _null_device(b)
            b.place(masked)
            attach(b, _CLONE, _TARGET, path)
            b.call("close", _CLONE)
            b.place(done)
            b.call("close", _TARGET)
            b.place(missing)
        b.call("close", _EMPTY)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mask {' '.join(self.paths)}"


def _null_device(b: Builder) -> None:
    """Clone the host's /dev/null, checked to be just that (CVE-2025-31133)."""
    flags = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC
    b.call("open_tree", k.AT_FDCWD, _NULL, flags, out=_CLONE, path=_NULL)
    status(b, _CLONE)
    check_type(b, stat.S_IFCHR, errno=errno.ENXIO, path=_NULL)
    check_device(b, 1, 3, _NULL)


class ReadonlyPaths(Step):
    """Make paths read-only by mounting each on itself."""

    __slots__ = ("paths",)

    def __init__(self, paths: "tuple[str, ...]") -> None:
        self.paths = paths

    def emit(self, b: Builder, setting: Setting) -> None:
        """A missing path is left out; a symbolic link in one is an error."""
        del setting
        read_only = MountOptions(["ro"])
        for path in self.paths:
            missing = Label()
            open_in_root(b, path, _TARGET, follow=False, orelse=missing, errors=_GONE)
            clone(b, _TARGET, _CLONE, recursive=True)
            attach(b, _CLONE, _TARGET, path)
            set_attributes(b, _CLONE, read_only)
            b.call("close", _CLONE)
            b.call("close", _TARGET)
            b.place(missing)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"read-only {' '.join(self.paths)}"


class Sysctl(Step):
    """Set kernel parameters of the container's own namespaces."""

    __slots__ = ("values",)

    def __init__(self, values: "tuple[tuple[str, str], ...]") -> None:
        self.values = values

    def key(self, setting: Setting) -> "tuple[object, ...]":
        """See Step."""
        return (*self._values(), setting.has_proc)

    def emit(self, b: Builder, setting: Setting) -> None:
        """Written through the procfs that a step mounted, by descriptor (CVE-2025-52881)."""
        if not setting.has_proc:
            raise OSError(errno.ENOENT, "sysctl needs a procfs among the mounts")
        resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
        for key, value in self.values:
            path = "sys/" + (key if "/" in key else key.replace(".", "/"))
            what = f"sysctl {key}={value}"
            explain = Told("error", what, what)
            data = value.encode()
            openat2(b, PROC, path, _FILE, os.O_WRONLY, resolve, explain=explain)
            b.call("write", _FILE, data, len(data), explain=explain)
            b.call("close", _FILE)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "sysctl " + " ".join(f"{key}={value}" for key, value in self.values)


class WorkingDirectory(Step):
    """Make the working directory where the image lacks it, as Docker does."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def emit(self, b: Builder, setting: Setting) -> None:
        """The process changes into it later, with its own user's rights.

        A read-only root or a magic link is told then: chdir gives the clearer error.
        """
        del setting
        try_directory(b, self.path, CWD_RESULT)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"working directory {self.path}"
