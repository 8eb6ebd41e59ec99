"""The bundle that another OCI runtime is given: ``config.json`` and the file systems it names.

All that is mounted for it hangs in a mount namespace of the maker's own, at one place, so
the host never sees it and it is gone with the maker. What a runtime may not be able to do
is done before it sees it: ids are mapped, bind mounts are cloned and read-only as a whole,
names of users are looked up. ``config.json`` then asks for what was in version 1.0.2 of the
runtime-spec, which all runtimes know.
"""

import errno
import json
import os
import stat

from knarr.errors import KnarrError
from knarr.kernel import mounts as k
from knarr.kernel.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2, write_all
from knarr.kernel.namespaces import CLONE_NEWNS, unshare
from knarr.runtime import userfiles, usernamespace
from knarr.runtime.entering import host_id
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.foreign import cover
from knarr.runtime.rootfs import clone_tree, idmap_bind, open_root
from knarr.runtime.users import resolve_user
from knarr.spec.mount import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.0.2"
# Members of a spec's user that have a name looked up; the name of knarr's init.
_NAME, _GROUPS = "x-knarr-name", "x-knarr-groups"
_INIT, _BEHIND = "/dev/init", 2  # and which argument of it is the command
# Directories that nobody needs for a container and everybody may pass through. Those of sysfs
# are made to be mounted on: a covered one does not bar others from a sysfs of their own.
_PLACES = ("/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf", "/mnt", "/media")


class Bundle:
    """One container's bundle in the making.

    spec: of the request, which is changed. uid, gid: the host's, of who the process is.
    """

    __slots__ = ("binds", "domain", "gid", "leftover", "root_fd", "spec", "uid", "warnings")

    def __init__(self, request: "dict[str, Any]") -> None:
        self.spec: dict[str, Any] = request["spec"]
        self.root_fd = self.uid = self.gid = -1
        self.binds: dict[int, int] = {}
        self.leftover: list[int] = []
        self.warnings: list[str] = []
        self.domain: str = self.spec.pop("domainname", "")

    def open(self, request: "dict[str, Any]", binds: "dict[int, int]") -> None:
        """Make the mounts, which hang nowhere yet. Raises OSError, RuntimeFailure.

        binds: those that were made elsewhere, by their place in the spec.
        """
        uids, gids = (_maps(self.spec["linux"], name) for name in ("uidMappings", "gidMappings"))
        userns = self._user_namespace(uids, gids)
        rootfs = [Mount.from_dict(mount) for mount in request["rootfs"]]
        owner = (host_id(0, uids), host_id(0, gids))
        try:
            self.root_fd = open_root(
                rootfs, userns, owner,
                append=bool(request.get("overlay_append", True)), leftover=self.leftover,
            )  # fmt: skip
            for index, entry in enumerate(self.spec["mounts"]):
                if entry["type"] == "bind":
                    self.binds[index] = self._bind(entry, binds.get(index), userns)
        finally:
            if userns is not None:
                os.close(userns)
        self._settle_user()
        self._settle_command()
        user = self.spec["process"]["user"]
        self.uid, self.gid = host_id(user["uid"], uids), host_id(user["gid"], gids)

    def _user_namespace(self, uids: "Maps", gids: "Maps") -> "int | None":
        """Return a user namespace through which the mounts are seen, None without one."""
        for entry in self.spec["linux"]["namespaces"]:
            if entry["type"] == "user":
                if entry.get("path"):
                    return os.open(entry["path"], os.O_RDONLY | os.O_CLOEXEC)
                return usernamespace.make(uids, gids)
        return None

    def _bind(self, entry: "dict[str, Any]", fd: "int | None", userns: "int | None") -> int:
        """Return the mount of a bind, as read-only and with such ids as it is to have."""
        options: list[str] = entry["options"]
        recursive = "rbind" in options
        if fd is None:
            fd = clone_tree(entry["source"], None, recursive=recursive)
        if userns is not None and "idmap" in options:
            problem = idmap_bind(fd, userns, _Named(entry), recursive=recursive)
            self.warnings += [problem] if problem else []
        done = ["idmap"]
        if ("ro" in options or "rro" in options) and _read_only(fd, recursive="rro" in options):
            done += ["ro", "rro"]
        entry["options"] = [option for option in options if option not in done]
        return fd

    def _settle_user(self) -> None:
        """Look up who the process is, in the files below its root, as Docker does."""
        process = self.spec["process"]
        if _NAME in process["user"]:
            settle_user(process, self.root_fd)

    def _settle_command(self) -> None:
        """Look up a command that knarr's init is to run: it takes no name for a path."""
        process = self.spec["process"]
        args = process["args"]
        if args[0] != _INIT or len(args) <= _BEHIND or "/" in args[_BEHIND]:
            return
        name = args[_BEHIND]
        path = next((e[5:] for e in process.get("env") or () if e.startswith("PATH=")), "")
        for directory in path.split(":"):
            if self._is_program(f"{directory}/{name}"):
                args[_BEHIND] = f"{directory}/{name}"
                return
        text = f'exec: "{name}": executable file not found in $PATH'
        raise RuntimeFailure("not-found", "exec", text)

    def _is_program(self, path: str) -> bool:
        """Return whether there is a program at an absolute path of the container."""
        root, below = self.root_fd, 0
        for index, fd in self.binds.items():
            where = self.spec["mounts"][index]["destination"]
            if path.startswith(f"{where}/") and len(where) > below:
                root, below = fd, len(where)
        how = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        try:
            found = openat2(root, path[below:].lstrip("/"), os.O_PATH, 0, how)
        except OSError:
            return False  # not there, or nowhere near
        try:
            mode = os.fstat(found).st_mode
        finally:
            os.close(found)
        return stat.S_ISREG(mode) and bool(mode & 0o111)

    def attach(self, init: "int | None") -> None:
        """Have everything at its place, seen by this process and those that it starts.

        init: a descriptor of knarr's init, where the container has it. Raises OSError.
        """
        place = next((path for path in _PLACES if os.path.isdir(path)), "")
        if not place:
            text = f"there is none of {', '.join(_PLACES)} to mount a root file system on"
            raise RuntimeFailure("error", "bundle", text)
        cover(place)
        self.spec["root"]["path"] = _attach(self.root_fd, f"{place}/rootfs")
        for index, fd in self.binds.items():
            self.spec["mounts"][index]["source"] = _attach(fd, f"{place}/{index}")
        self.leftover += self.binds.values()
        if init is not None:
            source = _program(init, f"{place}/init")
            entry = {"destination": _INIT, "type": "bind", "source": source}
            self.spec["mounts"].append({**entry, "options": ["bind"]})
        # In a copy, mounts are listed in the order of the tree: a control group's mount in a
        # volume is older than those of this namespace, and runc takes the first that it reads of.
        unshare(CLONE_NEWNS)

    def write(self, directory: str, cgroup: str) -> None:
        """Write ``config.json``. cgroup: the path of the container's group. Raises OSError."""
        self.spec["ociVersion"] = VERSION
        self.spec["linux"]["cgroupsPath"] = cgroup
        os.mkdir(directory, 0o700)
        write_new(f"{directory}/config.json", json.dumps(self.spec).encode(), 0o600)


class _Named:
    """Source and destination of a bind mount."""

    __slots__ = ("destination", "source")

    def __init__(self, entry: "dict[str, Any]") -> None:
        self.source: str = entry["source"]
        self.destination: str = entry["destination"]


def settle_user(process: "dict[str, Any]", root: int) -> None:
    """Replace the name of a process's user by ids, looked up below the directory ``root``.

    Raises RuntimeFailure for one that is not there.
    """
    user = process["user"]
    try:
        found = resolve_user(user[_NAME], *userfiles.read(root), user.get(_GROUPS) or ())
    except KnarrError as error:
        raise RuntimeFailure("invalid", "user", str(error)) from error
    ids = {"uid": found.uid, "gid": found.gid, "additionalGids": list(found.additional_gids)}
    process["user"] = ids
    if not any(entry.startswith("HOME=") for entry in process.get("env") or ()):
        process["env"] = [*(process.get("env") or ()), f"HOME={found.home}"]


def write_new(path: str, body: bytes, mode: int) -> None:
    """Write a file that is not there yet. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, body)
    finally:
        os.close(fd)


def _maps(linux: "dict[str, Any]", name: str) -> "Maps":
    found = linux.get(name) or ()
    return tuple((each["containerID"], each["hostID"], each["size"]) for each in found)


def _attach(fd: int, path: str) -> str:
    """Attach a mount on a new file or directory of its kind; return where that is."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.mkdir(path)
    else:
        write_new(path, b"", 0o600)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        k.attach(fd, place)
    finally:
        os.close(place)
    return path


def _read_only(fd: int, *, recursive: bool) -> bool:
    """Make a detached mount read-only; False where the kernel cannot (before Linux 5.12).

    Not left to the runtime: in a user namespace not every one can do it to a mount that has
    other restrictions, which stay.
    """
    flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
    try:
        k.mount_setattr(fd, flags=flags, attr_set=k.MOUNT_ATTR_RDONLY)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return False
    return True


def _program(fd: int, path: str) -> str:
    """Have a program that is in memory at a path, which nobody can write to; return the path."""
    write_new(path, os.pread(fd, os.fstat(fd).st_size, 0), 0o555)
    mount = clone_tree(path, None)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _read_only(mount, recursive=False)
        k.attach(mount, place)
    finally:
        os.close(place)
        os.close(mount)
    return path


if TYPE_CHECKING:
    Maps = tuple[tuple[int, int, int], ...]
