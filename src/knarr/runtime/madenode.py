"""A device node for a container in a user namespace, in which nobody can make one.

Its maker makes it outside, in an empty file system of its own, with the owner and mode that are
asked for, whether the host has such a node or not; the process mounts it at its place. The usual
devices are the host's own nodes (``steps.devices``).
"""

import errno
import os

from knarr.kernel import caps
from knarr.kernel import mounts as k
from knarr.runtime import child, nulls
from knarr.runtime.entering import host_id
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program.builder import Builder
from knarr.runtime.program.memory import SCRATCH, SCRATCH_PATH, TEMPORARY
from knarr.runtime.program.paths import DIRECTORY, ensure_file, open_in_root, status
from knarr.runtime.steps.base import Setting, Stop
from knarr.runtime.steps.devices import STANDARD, TYPES, Device
from knarr.runtime.steps.mounts import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.plan import Plan
    from knarr.runtime.process import Created, Recipe
    from knarr.runtime.steps.base import Step

_NODE, _TARGET, _FOLDER = TEMPORARY[1], TEMPORARY[2], TEMPORARY[3]
_NAME = "node"
_CAP_MKNOD = 1 << 27


class MadeDevice(Device, Stop):
    """Mount a node that was made for this container."""

    __slots__ = ()

    def key(self, setting: Setting) -> "tuple[object, ...]":
        """See Step."""
        del setting
        return self._values()

    def emit(self, b: Builder, setting: Setting) -> None:
        """Before Linux 6.15 only what is attached can be cloned: for a moment it is."""
        del setting
        child.stop(b)
        open_in_root(b, "/", _TARGET, DIRECTORY)
        attach(b, _FOLDER, _TARGET)
        b.call("close", _TARGET)
        b.call("open_tree", _FOLDER, _NAME, k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC, out=_NODE,
               path=self.path)  # fmt: skip
        b.call("dup3", _FOLDER, SCRATCH, os.O_CLOEXEC)
        b.call("umount2", SCRATCH_PATH, k.MNT_DETACH)
        b.call("close", _FOLDER)
        status(b, _NODE)
        self._check(b, errno.ENXIO)
        ensure_file(b, self.path, _TARGET)
        attach(b, _NODE, _TARGET, self.path)
        b.call("close", _TARGET)
        b.call("close", _NODE)

    def outside(self, recipe: "Recipe", created: "Created") -> None:
        """Make the node. Raises RuntimeFailure for an owner that the container has not."""
        del created
        plan = recipe.plan
        owner = host_id(self.uid, plan.uid_maps), host_id(self.gid, plan.gid_maps)
        if -1 in owner:
            text = f"{self.path}: its owner {self.uid}:{self.gid} has no ids in the user namespace"
            raise RuntimeFailure("error", self.describe(), text)
        folder = nulls.folder()
        try:
            number = os.makedev(self.major, self.minor)
            os.mknod(_NAME, TYPES[self.kind] | self.mode, number, dir_fd=folder)
            os.chown(_NAME, *owner, dir_fd=folder, follow_symlinks=False)
            os.chmod(_NAME, self.mode, dir_fd=folder)
            # The process closes it, in the table that is both's.
            _FOLDER.set(child.high(folder))
        finally:
            os.close(folder)


def make_nodes(plan: "Plan") -> None:
    """Have a plan's devices made where its process cannot, and this one can.

    Root of a user namespace cannot, whatever capabilities it has there.
    """
    if plan.in_userns and not plan.nested and caps.capget()[0] & _CAP_MKNOD:
        plan.steps = tuple([_made(step) for step in plan.steps])


def _made(step: "Step") -> "Step":
    if not isinstance(step, Device) or step.kind == "p" or step.path in STANDARD:
        return step
    values = (step.path, step.kind, step.major, step.minor, step.mode, step.uid, step.gid)
    return MadeDevice(*values)
