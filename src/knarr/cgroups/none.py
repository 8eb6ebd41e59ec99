"""The manager for machines, or callers, without control groups: nothing is limited or counted."""

import errno

from knarr.cgroups import accounting, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.protocol import Stats, Usage


class Group:
    """A group that is none (``protocol.Group``): processes are where their parent is."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def paths(self) -> dict[str, str]:
        """Return the directory of each controller (``protocol.Group``)."""
        return {}

    def clone_fd(self) -> int | None:
        """Return a directory descriptor for CLONE_INTO_CGROUP, None on v1."""
        return None

    def attach(self, pid: int) -> None:
        """Leave the process where it is."""

    def entrances(self) -> tuple[str, ...]:
        """Return no files."""
        return ()

    def child(self, name: str, *, made: bool = False) -> "Group":
        """Return a new group below for what one exec starts (``protocol.Group``)."""
        del made
        return Group(f"{self.path}/{values.child_name(name)}")

    def update(self, resources: "Mapping[str, Any]") -> None:
        """Change limits; what resources do not name stays. Errors as ``Manager.create``."""
        refuse(resources)

    def freeze(self) -> None:
        """Stop all processes and return when they stand still; TimeoutError if one does not."""
        raise OSError(errno.EOPNOTSUPP, "cannot freeze without control groups", self.path)

    def thaw(self) -> None:
        """Nothing was frozen."""

    def frozen(self) -> bool:
        """Return whether the group was frozen."""
        return False

    def freezing(self) -> str:
        """Return no file."""
        return ""

    def kill(self, signal: int = 9) -> None:
        """Kill nothing: the pid namespace's first process takes the others with it."""

    def procs(self) -> list[int]:
        """Return the ids of all processes inside and below."""
        return []

    def wait_empty(self, timeout: float) -> bool:
        """Wait at most timeout seconds until no process is left; return whether so."""
        del timeout
        return True

    def usage(self) -> "Usage":
        """Return None for every figure."""
        return dict.fromkeys(accounting.KEYS)

    def stats(self, detail: bool = False) -> "Stats":
        """Return None for every figure."""
        del detail
        waited: dict[str, int | None]
        waited = dict.fromkeys(("periods", "throttled_periods", "throttled_ns"))
        return accounting.stats(
            self.usage(), waited, {"limit": None}, {"current": None, "limit": None}
        )

    def oom_kills(self) -> int:
        """Return how many processes the OOM killer ended."""
        return 0

    def destroy(self) -> None:
        """Remove nothing: nothing was made."""


class Manager:
    """Makes no groups (``protocol.Manager``)."""

    name = "none"
    version = 0

    def create(
        self,
        path: str,
        resources: "Mapping[str, Any]",
        *,
        owner: "int | tuple[int, int] | None" = None,
    ) -> Group:
        """Return a new group with its limits set (``protocol.Manager`` has the errors)."""
        del owner
        refuse(resources)
        return Group(values.control_path(path))

    def prepare(self) -> None:
        """Nothing is needed."""

    def open(self, path: str) -> Group:
        """Return an existing group; FileNotFoundError when there is none."""
        return Group(values.control_path(path))

    def exists(self, path: str) -> bool:
        """Return that there is none."""
        del path
        return False

    def usage(self, path: str) -> "Usage":
        """Return None for every figure."""
        return Group(path).usage()

    def remove(self, path: str) -> None:
        """Remove nothing: nothing was made."""

    def lacking(self, fields: "Iterable[str]") -> list[str]:
        """Return all of them."""
        return list(fields)

    def unsupported(
        self, resources: "Mapping[str, Any]", parent: str = "/"
    ) -> list[UnsupportedResource]:
        """Return what of resources this machine cannot do."""
        del parent
        return [error for name in resources if (error := refusal(resources, name))]


def refusal(resources: "Mapping[str, Any]", name: str) -> UnsupportedResource | None:
    """Return why a part of resources cannot be had, None when it asks for nothing.

    The device list is let pass: every container has one, and without CAP_MKNOD and with
    ``nodev`` mounts it is the second of two walls.
    """
    if name == "devices" or not resources[name] or resources[name] == {"limit": -1}:
        return None
    return UnsupportedResource(name, "control groups are switched off")


def refuse(resources: "Mapping[str, Any]") -> None:
    """Raise UnsupportedResource for the first limit that is asked for."""
    for name in resources:
        if error := refusal(resources, name):
            raise error
