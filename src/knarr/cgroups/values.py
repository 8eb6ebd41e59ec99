"""Taking checked values out of OCI ``linux.resources`` (JSON, so anything may be in it)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

INT64_MAX = 2**63 - 1


def section(resources: "Mapping[str, Any]", name: str, where: str = "") -> "Mapping[str, Any]":
    """Return an object of linux.resources, empty when absent; ValueError when it is none."""
    value = resources.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where}{name}: expected an object, not {value!r}")
    return value


def items(parent: "Mapping[str, Any]", where: str, name: str) -> "list[Mapping[str, Any]]":
    """Return a list of objects, empty when absent; ValueError when it is something else."""
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{where}{name}: expected a list of objects")
    return value


def integer(
    parent: "Mapping[str, Any]", where: str, name: str, low: int = -1, high: int = INT64_MAX
) -> int | None:
    """Return a whole number from low to high, None when absent.

    Raises ValueError that names the field for another type or a number out of range.
    """
    value = parent.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{where}{name}: expected a whole number, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{where}{name}: {value} is not in the range {low} to {high}")
    return value


def boolean(parent: "Mapping[str, Any]", where: str, name: str) -> bool | None:
    """Return true or false, None when absent; ValueError for anything else."""
    value = parent.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"{where}{name}: expected true or false, not {value!r}")


def text(parent: "Mapping[str, Any]", where: str, name: str) -> str | None:
    """Return a single line of text, None when absent or empty; ValueError for anything else."""
    value = parent.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or "\n" in value or "\0" in value:
        raise ValueError(f"{where}{name}: expected one line of text, not {value!r}")
    return value


def device(entry: "Mapping[str, Any]", where: str) -> str:
    """Return ``major:minor`` of an entry; ValueError when one is missing or out of range."""
    major = integer(entry, where, "major", 0, 4095)
    minor = integer(entry, where, "minor", 0, 1048575)
    if major is None or minor is None:
        raise ValueError(f"{where}major and {where}minor: both numbers are needed")
    return f"{major}:{minor}"


def control_path(path: str) -> str:
    """Return the path of a group without doubled slashes, absolute.

    Raises ValueError for a relative one, for ``..`` and for the root itself, which is
    the whole machine and no container's.
    """
    if path[:1] == "/" and path[-1] != "/" and "//" not in path and "/." not in path:
        if "\n" not in path and "\0" not in path:
            return path  # as nearly all are
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or not parts or ".." in parts or "\n" in path or "\0" in path:
        raise ValueError(f"cgroup path {path!r}: expected an absolute path such as /knarr/ID")
    return "/" + "/".join(parts)


def child_name(name: str) -> str:
    """Return the name of a child group; ValueError when it is not one path component."""
    if not name or "/" in name or name in (".", "..") or "\n" in name or "\0" in name:
        raise ValueError(f"cgroup name {name!r}: expected one path component")
    # A file of a controller such as cpu.max could be hidden otherwise.
    if "." in name and name.split(".", 1)[0] in ("cgroup", "cpu", "memory", "io", "pids"):
        raise ValueError(f"cgroup name {name!r}: looks like a control file")
    return name
