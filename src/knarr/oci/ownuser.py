"""What a caller without root does before it makes a container: it becomes root of a namespace.

Mounts are cloned, groups entered and id maps written by root only, and that an ordinary user is in
a user namespace of his own. The command makes one that has the user as 0 and every id that the
container's maps name as itself, a mount namespace with it, and begins anew in there. From then on
all is as for root. The container's user namespace lies below, so nobody in the container
has rights over the command, as with root.

Who is root of a user namespace already, but not of its mounts (``unshare -Ur``), makes mounts of
its own. Source: user_namespaces(7), newuidmap(1).
"""

import os

from knarr.errors import InvalidArgument
from knarr.kernel import mounts, process
from knarr.kernel.namespaces import CLONE_NEWNS, CLONE_NEWUSER, unshare
from knarr.oci import hooks, outside, protection, rootless, streams
from knarr.oci.rootless import has_groups, split
from knarr.runtime.fields import SpecError, ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.oci.outside import Outside

    Maps = tuple[tuple[int, int, int], ...]

_BEYOND = 16  # descriptors that the caller may have given the program, as it says
_TOOLS = {"uid": "newuidmap", "gid": "newgidmap"}
_SHOWN = 512  # bytes of what a program says


def _hold(fd: int, pid: int) -> None:
    """Have hooks run by the process that stayed outside."""
    import _socket

    hooks.elsewhere = outside.Outside(_socket.socket(fileno=streams.spare(fd)), pid).run


def found(word: str) -> None:
    """Take over what ``_begin_anew`` has passed on."""
    fd, pid, uid, gid = map(int, word.split(":"))
    rootless.caller = uid, gid
    if fd >= 0:
        _hold(fd, pid)


def enter(config: "dict[str, Any]", root: str, preserved: int) -> None:
    """Be root of the mounts at least, and see that it can be; an ordinary user begins anew.

    root: where states are. preserved: how many descriptors the program keeps. Raises SpecError
    and InvalidArgument.
    """
    if (config.get("linux") or {}).get("netDevices"):
        raise SpecError("linux.netDevices: only root has rights over the machine's devices")
    if os.geteuid():
        _become_root(config, root, preserved)
        return
    theirs = rootless.caller is None and not _are_ours()
    if hooks.elsewhere is None and outside.needed_for(config) and (theirs or _joins(config)):
        helper = outside.leave_behind(config, {})
        _hold(_moved(helper.sock.detach(), preserved), helper.pid)
    if theirs:
        unshare(CLONE_NEWNS)


def check_groups(config: "dict[str, Any]") -> str:
    """Return what is to be said of groups that its process cannot have, usually nothing.

    Raises SpecError where an ordinary user asks for some.
    """
    gids = ((config.get("process") or {}).get("user") or {}).get("additionalGids")
    if not gids or has_groups():
        return ""
    text = "process.user.additionalGids: the user namespace denies supplementary groups"
    if rootless.caller is not None:
        raise SpecError(f"{text} (its gidMappings have one id only)")
    return f"{text}: the process has none"


def _joins(config: "dict[str, Any]") -> bool:
    """Return whether a container has namespaces of others, out of which nobody may come back."""
    spaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(entry.get("path") for entry in spaces)


def _are_ours() -> bool:
    """Return whether this process may make mounts where it is."""
    try:
        os.close(mounts.open_tree(mounts.AT_FDCWD, "/", mounts.OPEN_TREE_CLONE))
    except PermissionError:
        return False
    except OSError:
        return True  # an old kernel, or a root that cannot be cloned: later calls say so
    return True


def _become_root(config: "dict[str, Any]", root: str, preserved: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    maps = {"uid": _outer(config, "uid", uid), "gid": _outer(config, "gid", gid)}
    stays = outside.needed_for(config) or any(len(one) > 1 for one in maps.values())
    helper = None
    if stays:
        others = {name: _tool(tool) for name, tool in _TOOLS.items()}
        helper = outside.leave_behind(config, others)
    try:
        # Files of a process that nobody may look into belong to the machine's root in /proc. There
        # is nobody in the namespace yet.
        process.set_dumpable(True)
        try:
            unshare(CLONE_NEWUSER | CLONE_NEWNS)
        except OSError as error:
            text = f"linux.namespaces: user: {error.strerror}"
            raise InvalidArgument(f"{text} (may users have user namespaces here?)") from error
        for name in ("uid", "gid"):
            _map(helper, name, maps[name])
        process.set_dumpable(False)
        if helper is not None and not outside.needed_for(config):
            helper.end()
            helper = None
        _begin_anew(helper, uid, gid, root, preserved)
    except BaseException:
        if helper is not None:
            helper.end()
        raise


def _begin_anew(helper: "Outside | None", uid: int, gid: int, root: str, preserved: int) -> None:
    fd = pid = -1
    if helper is not None:
        pid = helper.pid
        fd = _moved(helper.sock.detach(), preserved)
        os.set_inheritable(fd, True)
    protection.begin_anew((f"{fd}:{pid}:{uid}:{gid}",), (f"--root={root}",))


def _moved(fd: int, preserved: int) -> int:
    """Return a copy of a descriptor behind those that the caller says that it has given."""
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _BEYOND + preserved)
    os.close(fd)
    return moved


def _outer(config: "dict[str, Any]", kind: str, own: int) -> "Maps":
    """Return the map of the command's own namespace: 0 is ``own``, others are themselves.

    Raises SpecError where the container's map is missing or names the machine's root.
    """
    linux = config.get("linux") or {}
    field = f"linux.{kind}Mappings"
    spaces = [entry for entry in linux.get("namespaces") or () if entry.get("type") == "user"]
    if not spaces:
        raise SpecError("linux.namespaces: without root a user namespace is needed")
    if spaces[0].get("path"):
        raise SpecError("linux.namespaces: a user namespace by path is for root")
    given = linux.get(f"{kind}Mappings")
    if not given:
        raise SpecError(f"{field}: without root at least one mapping is needed")
    found: list[tuple[int, int]] = []
    for _, outside_id, size in sorted(ids(given, field), key=lambda entry: entry[1]):
        if outside_id == 0:
            raise SpecError(f"{field}: id 0 of the host is not this user's")
        found += [part for part in split(outside_id, size, own) if part[0] != own]
    merged: list[tuple[int, int]] = []
    for first, size in found:
        if merged and sum(merged[-1]) == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + size)
        else:
            merged.append((first, size))
    return ((0, own, 1), *((first, first, size) for first, size in merged))


def _map(helper: "Outside | None", kind: str, maps: "Maps") -> None:
    """Write a map of this process's namespace: one id by itself, more by a program of root's."""
    field = f"linux.{kind}Mappings"
    if len(maps) == 1:
        try:
            if kind == "gid":
                _write("setgroups", "deny")
            _write(f"{kind}_map", "{} {} {}".format(*maps[0]))
        except OSError as error:
            raise InvalidArgument(f"{field}: {error.strerror}") from error
        return
    assert helper is not None
    words = [str(number) for entry in maps for number in entry]
    error_text = helper.ask({kind: [str(os.getpid()), *words]})
    if error_text:
        raise InvalidArgument(f"{field}: {error_text}")


def _write(name: str, text: str) -> None:
    fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _tool(name: str) -> "Callable[[list[str]], str]":
    """Return what has a program write a map; the program asks /etc/subuid or /etc/subgid."""

    def act(words: "list[str]") -> str:
        output = os.memfd_create("output")
        actions = [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
        try:
            pid = os.posix_spawnp(name, [name, *words], os.environ, file_actions=actions)
        except OSError as error:
            return f"{name}: {error.strerror}: more ids than the user's own need it"
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = os.pread(output, _SHOWN, 0).decode(errors="replace").strip()
        os.close(output)
        return (said or f"{name}: exit status {status}") if status else ""

    return act
