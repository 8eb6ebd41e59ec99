"""Handing controllers down to a group: ``cgroup.controllers`` and ``cgroup.subtree_control``.

Kernel Documentation/admin-guide/cgroup-v2.rst, "Controlling Controllers".
"""

import errno
import os

from knarr.cgroups import files
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def enable(directory: str, required: "Mapping[str, str]", wanted: "Iterable[str]" = ()) -> None:
    """Enable controllers for directory in ``cgroup.subtree_control`` of all groups above it.

    required: name to the field of linux.resources that needs it; wanted: names to take
    along where they exist. Nothing is written when the group has them all already.
    Raises UnsupportedResource when a required one does not exist here, OSError when the
    kernel refuses it (a group with processes cannot give controllers to its children).
    """
    names = {*required, *wanted}
    if names <= _read_set(f"{directory}/cgroup.controllers"):
        return
    for parent in _ancestors(directory):
        available = _read_set(f"{parent}/cgroup.controllers")
        for name, field in required.items():
            if name not in available:
                text = f"cgroup controller {name} is not available in {parent}"
                raise UnsupportedResource(field, text)
        missing = (names & available) - _read_set(f"{parent}/cgroup.subtree_control")
        for name in sorted(missing):
            _enable_one(parent, name, name in required)


def _enable_one(parent: str, name: str, required: bool) -> None:
    path = f"{parent}/cgroup.subtree_control"
    try:
        files.write(path, f"+{name}")
    except OSError as error:
        if not required:
            return  # only accounting: without it the figures are None
        advice = ""
        if error.errno == errno.EBUSY:
            advice = " (it holds processes itself: move them into a group below it)"
        text = f"cgroup controller {name} cannot be enabled: {error.strerror}{advice}"
        raise OSError(error.errno, text, path) from None


def _read_set(path: str) -> set[str]:
    return set(files.read(path).split())


def _ancestors(directory: str) -> list[str]:
    """Return the groups above a group from the root (as mounted here) down."""
    found: list[str] = []
    parent = os.path.dirname(directory)
    while os.path.exists(f"{parent}/cgroup.controllers"):
        found.insert(0, parent)
        parent = os.path.dirname(parent)
    return found
