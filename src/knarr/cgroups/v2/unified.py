"""``unified`` of linux.resources: files of cgroup v2 by name, written as they are."""

from knarr.cgroups import files, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Write

CONTROLLER = "unified"
# Files that move or end processes or hand out controllers are ours.
RESERVED = frozenset(
    f"cgroup.{name}" for name in ("procs", "threads", "kill", "freeze", "type", "subtree_control")
)


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return one write for each line of each file; ValueError for names that are no files."""
    writes = []
    unified = values.section(resources, "unified")
    for name, value in unified.items():
        if "/" in name or "." not in name.strip("."):
            raise ValueError(f"unified: {name!r} is not the name of a control file")
        if name in RESERVED:
            raise ValueError(f"unified: {name} is not a resource")
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"unified.{name}: expected a text, not {value!r}")
        # Files such as io.max take one device with each write.
        writes += [(name, line, f"unified.{name}") for line in value.splitlines() or [""]]
    return writes


def controllers(writes: "Iterable[Write]") -> list[str]:
    """Return the controllers that the files belong to; ``cgroup.*`` belongs to none."""
    names = dict.fromkeys(name.partition(".")[0] for name, _, _ in writes)
    return [name for name in names if name != "cgroup"]


apply = files.carry_out
