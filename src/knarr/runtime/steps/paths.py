"""Steps on single paths of the finished tree: masks, read-only paths, sysctls, work directory."""

import os
import stat

from knarr.kernel import mounts as k
from knarr.kernel.files import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2
from knarr.runtime.lookup import ensure_directory, open_in_root
from knarr.runtime.mountopts import MountOptions
from knarr.runtime.steps.base import Context, Step
from knarr.runtime.steps.mounts import new_mount, set_attributes

_NULL = os.makedev(1, 3)


class MaskPaths(Step):
    """Hide paths: a directory under an empty read-only tmpfs, a file under /dev/null."""

    __slots__ = ("paths",)

    def __init__(self, paths: "tuple[str, ...]") -> None:
        self.paths = paths

    def execute(self, context: Context) -> None:
        """A missing path is left out; a symbolic link in one is an attack and an error."""
        empty = -1
        for path in self.paths:
            try:
                target = open_in_root(context.root_fd, path, follow=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                if not stat.S_ISDIR(os.fstat(target).st_mode):
                    clone = _null_device()
                elif empty < 0:
                    empty = clone = new_mount(
                        "tmpfs",
                        "tmpfs",
                        MountOptions(["ro", "nosuid", "nodev", "noexec", "size=0"]),
                    )
                else:
                    clone = k.open_tree(empty, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH)
                k.attach(clone, target)
                if clone != empty:
                    os.close(clone)
            finally:
                os.close(target)
        if empty >= 0:
            os.close(empty)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mask {' '.join(self.paths)}"


def _null_device() -> int:
    """Return a detached clone of the host's /dev/null, checked to be just that (CVE-2025-31133)."""
    fd = k.open_tree(k.AT_FDCWD, "/dev/null", k.OPEN_TREE_CLONE)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        os.close(fd)
        raise OSError(6, "/dev/null of the host is not the null device")
    return fd


class ReadonlyPaths(Step):
    """Make paths read-only by mounting each on itself."""

    __slots__ = ("paths",)

    def __init__(self, paths: "tuple[str, ...]") -> None:
        self.paths = paths

    def execute(self, context: Context) -> None:
        """A missing path is left out; a symbolic link in one is an error."""
        for path in self.paths:
            try:
                target = open_in_root(context.root_fd, path, follow=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                flags = k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE
                clone = k.open_tree(target, "", flags)
                k.attach(clone, target)
                set_attributes(clone, MountOptions(["ro"]), attached=True)
                os.close(clone)
            finally:
                os.close(target)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"read-only {' '.join(self.paths)}"


class Sysctl(Step):
    """Set kernel parameters of the container's own namespaces."""

    __slots__ = ("values",)

    def __init__(self, values: "tuple[tuple[str, str], ...]") -> None:
        self.values = values

    def execute(self, context: Context) -> None:
        """Written through the procfs that a step mounted, by descriptor (CVE-2025-52881)."""
        if context.proc_fd < 0:
            raise OSError(2, "sysctl needs a procfs among the mounts")
        resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
        for key, value in self.values:
            path = "sys/" + (key if "/" in key else key.replace(".", "/"))
            try:
                fd = openat2(context.proc_fd, path, os.O_WRONLY, 0, resolve)
                try:
                    os.write(fd, value.encode())
                finally:
                    os.close(fd)
            except OSError as error:
                raise OSError(error.errno, f"sysctl {key}={value}: {error.strerror}") from error

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "sysctl " + " ".join(f"{key}={value}" for key, value in self.values)


class WorkingDirectory(Step):
    """Make the working directory where the image lacks it, as Docker does."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def execute(self, context: Context) -> None:
        """The process changes into it later, with its own user's rights."""
        try:
            os.close(ensure_directory(context.root_fd, self.path))
        except OSError as error:
            # A read-only root or a magic link: chdir gives the clearer error later.
            context.warnings.append(f"working directory {self.path}: {error.strerror}")

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"working directory {self.path}"
