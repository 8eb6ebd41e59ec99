"""The step that mounts the control groups' file systems."""

import errno
import os

from knarr.kernel import mounts as k
from knarr.kernel.namespaces import CLONE_NEWCGROUP
from knarr.runtime.mountopts import PROPAGATION, MountOptions
from knarr.runtime.program.builder import Builder
from knarr.runtime.program.memory import CGROUP_NAMESPACE, TEMPORARY
from knarr.runtime.program.paths import DIRECTORY, open_in_root
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.steps.mounts import BindMount, NewMount, set_attributes, set_propagation

_TARGET, _NAMESPACE = TEMPORARY[2], TEMPORARY[12]
_HOSTS = "/sys/fs/cgroup"


class JoinCgroups(Step):
    """Enter a control group namespace that exists.

    Not before the process is in its group: where a hierarchy is mounted with ``nsdelegate``
    (cgroups(7)) nobody is moved to, or born in, a group outside the root of the own namespace.
    """

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """The descriptor is in CGROUP_NAMESPACE."""
        del setting
        b.call("setns", CGROUP_NAMESPACE, CLONE_NEWCGROUP)
        b.call("close", CGROUP_NAMESPACE)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "enter the control group namespace that the container shares"


class CgroupMount(Step):
    """Mount the cgroup file systems: one tree on v2, one mount per hierarchy on v1.

    own: the container has a cgroup namespace, from which they are seen. On v1 it sees no more than
    its own groups without one, too; in a user namespace it sees all, and read-only.
    """

    __slots__ = ("destination", "options", "own")

    def __init__(self, destination: str, options: MountOptions, *, own: bool) -> None:
        self.destination = destination
        self.options = options
        self.own = own

    def key(self, setting: Setting) -> "tuple[object, ...]":
        """See Step."""
        return (*self._values(), setting.in_userns)

    def emit(self, b: Builder, setting: Setting) -> None:
        """The hierarchies are those of /proc/self/cgroup, seen from the cgroup namespace."""
        hierarchies = _hierarchies()
        if setting.in_userns and not self.own:
            # The kernel mounts a hierarchy only for who has rights over the cgroup namespace.
            options = MountOptions(["rbind", "nosuid", "nodev", "noexec", "rro"])
            BindMount(-1, self.destination, _HOSTS, options).emit(b, setting)
        elif not hierarchies:
            NewMount(self.destination, "cgroup2", "cgroup", self.options).emit(b, setting)
        elif self.own:
            self._emit_v1(b, setting, hierarchies)
        else:
            path = "/proc/self/ns/cgroup"
            flags = os.O_RDONLY | os.O_CLOEXEC
            b.call("openat", k.AT_FDCWD, path, flags, out=_NAMESPACE, path=path)
            b.call("unshare", CLONE_NEWCGROUP)
            self._emit_v1(b, setting, hierarchies)
            b.call("setns", _NAMESPACE, CLONE_NEWCGROUP)
            b.call("close", _NAMESPACE)

    def _emit_v1(self, b: Builder, setting: Setting, hierarchies: "list[str]") -> None:
        if self.options.data:
            text = f"{self.options.data[0]} is no option for the hierarchies of cgroup v1"
            raise OSError(errno.EINVAL, f"mounts: {self.destination}: {text}")
        frame = MountOptions(["nosuid", "nodev", "noexec", "mode=755"])
        NewMount(self.destination, "tmpfs", "cgroup", frame).emit(b, setting)
        flags = ["nosuid", "nodev", "noexec"]
        for controllers in hierarchies:
            place = f"{self.destination}/{controllers.removeprefix('name=')}"
            data = ["none", controllers] if "=" in controllers else controllers.split(",")
            NewMount(place, "cgroup", "cgroup", self._with(flags + data)).emit(b, setting)
            if "," in controllers:
                _link_controllers(b, self.destination, controllers)
        unified = f"{self.destination}/unified"
        NewMount(unified, "cgroup2", "cgroup", self._with(flags)).emit(b, setting)
        open_in_root(b, self.destination, _TARGET)
        if self.options.propagation:
            set_propagation(b, _TARGET, self.options.propagation)
        if self.options.own_flags() & k.MS_RDONLY:
            set_attributes(b, _TARGET, MountOptions(["ro"]))
        b.call("close", _TARGET)

    def _with(self, options: "list[str]") -> MountOptions:
        """Return options of one hierarchy: with what was asked for the mounts, behind it."""
        words = [word for word in self.options.words if word not in PROPAGATION]
        return MountOptions(options + words)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mount cgroup on {self.destination}"


def _hierarchies() -> "list[str]":
    """Return the controller lists of the v1 hierarchies; empty on pure v2."""
    with open("/proc/self/cgroup") as file:
        fields = [line.rstrip("\n").split(":", 2) for line in file]
    return [controllers for number, controllers, _ in reversed(fields) if number != "0"]


def _link_controllers(b: Builder, destination: str, controllers: str) -> None:
    """Give each controller of a joined hierarchy a link of its own name, as hosts have it."""
    open_in_root(b, destination, _TARGET, DIRECTORY)
    for name in controllers.split(","):
        b.call("symlinkat", controllers, _TARGET, name, path=name)
    b.call("close", _TARGET)
