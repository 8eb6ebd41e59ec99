"""Which control groups a command enters: the container's, or some below that it names."""

import os

from knarr.cgroups import files, places
from knarr.errors import InvalidArgument
from knarr.oci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.oci.state import Container

_UNIFIED = "unified"


def parse(texts: "list[str]") -> "dict[str, str]":
    """Return the group of each controller that ``--cgroup`` names, of "" for all of them.

    texts: ``PATH`` or, on v1, ``CONTROLLER[,CONTROLLER]:PATH``. Raises UsageError.
    """
    found: dict[str, str] = {}
    for text in texts:
        names, mark, path = text.rpartition(":")
        if not mark and len(texts) > 1:
            raise UsageError(f"--cgroup {text}: needs CONTROLLER: where there are several")
        for name in names.split(","):
            if (mark and not name) or name in found:
                raise UsageError(f"--cgroup {text}: names no controller, or one that was named")
            found[name] = _relative(text, path)
    return found


def _relative(text: str, path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise UsageError(f"--cgroup {text}: bad sub cgroup path")
    return "".join(f"/{part}" for part in parts)


def entered(
    container: "Container", wanted: "dict[str, str]", *, born: bool
) -> "tuple[int, list[int]]":
    """Return the v2 directory to be born in (-1: none) and files to write ``0`` to, all open.

    wanted: see ``parse``. born: the kernel lets the command be born in a group, which spares
    the locks of a move: not from within a user namespace, to which the group does not belong.
    Raises UsageError, and OSError for a group that is not there.
    """
    where = container.values["cgroup"]
    if where["manager"] == "none":
        if wanted:
            raise UsageError("--cgroup: the container has no control group")
        return -1, []
    directories = _directories(container, wanted)
    flags = os.O_WRONLY | os.O_CLOEXEC
    group, procs = -1, []
    for directory, controller in {at: name for name, at in directories.items()}.items():
        try:
            if controller == _UNIFIED and born:
                group = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            else:
                procs.append(os.open(places.entrance(controller, directory), flags))
        except OSError as error:
            # The words are runc's, whose tests look for some of them.
            text = f"cgroup: adding pid 0 to {directory}: {error.strerror}"
            raise InvalidArgument(text) from error
    return group, procs


def _directories(container: "Container", wanted: "dict[str, str]") -> "dict[str, str]":
    """Return for each controller the directory that the command is to be in."""
    where = container.values["cgroup"]
    is_unit = where["manager"].startswith("systemd")
    found: dict[str, str]
    try:
        found = container.group().paths if is_unit else places.find(where["path"])
    except FileNotFoundError:
        # On v2 its first process may have gone elsewhere, and the group been removed.
        at = None if wanted else places.unified_of(container.pid)
        if at is None:
            raise
        return {_UNIFIED: at}
    if not wanted:
        return _with_room(container, found)
    if list(found) == [_UNIFIED] and "" not in wanted:
        raise UsageError("--cgroup: cgroup v2 has no controllers to tell apart")
    for name in wanted:
        if name and name not in found:
            raise UsageError(f"--cgroup {name}: unknown controller {name}")
    return {name: at + wanted.get(name, wanted.get("", "")) for name, at in found.items()}


def _with_room(container: "Container", found: "dict[str, str]") -> "dict[str, str]":
    """Return the directories, on v2 with that of the first process where theirs has no room.

    A v2 group that hands controllers down holds no processes itself (cgroups(7), "no internal
    processes"): what runs there, as systemd does, has gone into a group of its own below.
    """
    at = found.get(_UNIFIED)
    if at is None or not files.read(f"{at}/cgroup.subtree_control").strip():
        return found
    own = places.unified_of(container.pid) or ""
    return found | {_UNIFIED: own} if own.startswith(f"{at}/") else found
