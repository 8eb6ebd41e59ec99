"""All that a group's controllers tell, in the form that runc made common (``events``).

Not on the start path. Figures are as the kernel has them: ns, bytes, counts. A controller that
this machine lacks has an empty section.
"""

from knarr.cgroups.v1 import report as v1
from knarr.cgroups.v2 import report as v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.cgroups.protocol import Group

    Section = dict[str, Any]

# section, the controller whose directory v1 reads, how it is read there and on v2
_SECTIONS: "tuple[tuple[str, str, Callable[[str], Section], Callable[[str], Section]], ...]" = (
    ("cpuset", "cpuset", v1.cpuset, v2.cpuset),
    ("memory", "memory", v1.memory, v2.memory),
    ("pids", "pids", v2.pids, v2.pids),
    ("blkio", "blkio", v1.blkio, v2.blkio),
    ("hugetlb", "hugetlb", v1.hugetlb, v2.hugetlb),
)


def report(group: "Group") -> "Section":
    """Return the figures of a group, 0 for what is not there. Raises OSError."""
    paths = group.paths
    other = paths.get("unified", "")
    found: Section = {}
    if "cpuacct" in paths or "cpu" in paths:
        found["cpu"] = v1.cpu(paths.get("cpuacct", ""), paths.get("cpu", ""))
    else:
        found["cpu"] = v2.cpu(other) if other else {}
    for name, controller, here, there in _SECTIONS:
        if controller in paths:
            found[name] = here(paths[controller])
        else:
            found[name] = there(other) if other else {}
    return found
