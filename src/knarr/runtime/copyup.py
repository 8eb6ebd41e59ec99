"""The mount option ``tmpcopyup``: a tmpfs that begins with what the image has at its place.

The process opens what is there and makes the tmpfs, both of which its maker sees, and waits.
The copy is made outside, by descriptors, in the container's control group: an image could ask
for more memory than the container may use.
"""

import os

from knarr.kernel import mounts as k
from knarr.kernel import process
from knarr.kernel.lean import signal
from knarr.runtime import child
from knarr.runtime.entering import host_id
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.mountopts import MountOptions
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import TEMPORARY
from knarr.runtime.program.paths import ensure_directory, open_in_root
from knarr.runtime.rootfs import ActingAs
from knarr.runtime.steps.base import Setting, Stop
from knarr.runtime.steps.mounts import attach, new_mount, set_attributes, set_propagation
from knarr.runtime.steps.procguard import keep_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from knarr.runtime.process import Created, Recipe

_TARGET, _SOURCE, _MOUNT = TEMPORARY[2], TEMPORARY[3], TEMPORARY[4]
_SHOWN = 500  # bytes of a message
_OWN = ("mode=", "uid=", "gid=")


class CopiedTmpfs(Stop):
    """Mount a tmpfs with a copy of what it covers."""

    __slots__ = ("destination", "options", "source")

    def __init__(self, destination: str, source: str, options: MountOptions) -> None:
        self.destination = destination
        self.source = source
        self.options = options

    def emit(self, b: Builder, setting: Setting) -> None:
        """A detached mount can be filled; what is missing in the image is no copy's source."""
        del setting
        absent = Label()
        flags = os.O_RDONLY | os.O_DIRECTORY
        open_in_root(b, self.destination, _SOURCE, flags, orelse=absent, errors=(2,))
        b.place(absent)
        ensure_directory(b, self.destination, _TARGET, asks=True)
        keep_out(b, _TARGET, self.destination)
        new_mount(b, "tmpfs", self.source, self.options, _MOUNT, writable=True)
        child.stop(b)
        empty = Label()
        b.call("close", _SOURCE, orelse=empty)
        b.place(empty)
        attach(b, _MOUNT, _TARGET, self.destination)
        b.call("close", _TARGET)
        set_propagation(b, _MOUNT, self.options.propagation)
        if self.options.own_flags() & k.MS_RDONLY:
            set_attributes(b, _MOUNT, MountOptions(["ro"]))
        b.call("close", _MOUNT)

    def outside(self, recipe: "Recipe", created: "Created") -> None:
        """Copy, as the container's root and in its group. Raises RuntimeFailure."""
        del created
        if _SOURCE.get() < 0:
            return
        said = os.memfd_create("error")
        try:
            pid = os.fork()
            if pid == 0:
                self._be(recipe, said)
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            if status:
                text = os.pread(said, _SHOWN, 0).decode(errors="replace") or f"signal {-status}"
                text = f"tmpcopyup on {self.destination}: {text}"
                raise RuntimeFailure("error", "mounts", f"mounts: {text}")
        finally:
            os.close(said)

    def _be(self, recipe: "Recipe", said: int) -> "NoReturn":
        """Be the child that copies, and end."""
        status = 1
        try:
            process.set_pdeathsig(signal.SIGKILL)
            for path in () if recipe.group is None else recipe.group.entrances():
                with open(path, "wb", buffering=0) as file:
                    file.write(b"0")
            plan = recipe.plan
            self._copy((host_id(0, plan.uid_maps), host_id(0, plan.gid_maps)))
            status = 0
        except BaseException as error:  # whatever it is, it is told and this child ends
            text = error.strerror if isinstance(error, OSError) else repr(error)
            os.write(said, str(text).encode())
        finally:
            os._exit(status)

    def _copy(self, owner: "tuple[int, int]") -> None:
        from knarr.runtime.treecopy import copy_tree

        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=_MOUNT.get())
        before = os.fstat(root)
        with ActingAs(owner):
            copy_tree(_SOURCE.get(), root, lossy=True)
            if any(word.startswith(_OWN) for word in self.options.data):
                os.fchown(root, before.st_uid, before.st_gid)
                os.fchmod(root, before.st_mode & 0o7777)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mount tmpfs on {self.destination} with a copy of what is there"
