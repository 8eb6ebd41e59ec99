"""Groups made by systemd: each container in a transient scope that is delegated to us.

org.freedesktop.systemd1(5), systemd.scope(5), "Control Group APIs and Delegation" of the
systemd project. cgroup v2 only.

A scope looks like this::

    system.slice/knarr-ID.scope     systemd's: made, and removed when empty, by it
      keeper                        one sleeping process of ours
      container                     ours: limits, processes, the groups of execs

The limits are set on the group inside, which delegation makes ours alone: systemd, whose
reload writes the attributes of its own units anew, does not look there. The keeper is
there because systemd starts no scope without a process and removes one at the moment its
last process ends, with the figures that say how the container used and ended.
"""

import errno
import os
import select

from knarr.cgroups import base, processes, values
from knarr.cgroups.dbus import MEMBER as MEMBER_FIELD
from knarr.cgroups.dbus import SIGNAL, Connection, DBusError
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v2 import group
from knarr.cgroups.v2 import manager as v2
from knarr.kernel import files as kernel_files
from knarr.kernel import process as kernel_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.files import Plan
    from knarr.cgroups.protocol import Usage

    Property = tuple[str, tuple[str, Any]]

PRIVATE = "/run/systemd/private"
USERS_SLICE = "user.slice"
SYSTEM_BUS = "/run/dbus/system_bus_socket"
NAME = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = f"{NAME}.Manager"
DEFAULT_SLICE = "system.slice"
UNIT_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
INFINITY = 2**64 - 1
_KEEPER = "knarr-keeper"
_MFD_EXEC = 0x10


class Instance:
    """Which systemd: the machine's, or that of a user (user@.service(5)).

    uid: of the user, as the machine knows him. base: its control group. slice: of scopes of which
    nobody says another.
    """

    __slots__ = ("base", "slice", "uid")

    def __init__(self, uid: int = -1) -> None:
        self.uid = uid
        self.base, self.slice = "", DEFAULT_SLICE
        if uid >= 0:
            self.base = f"/user.slice/user-{uid}.slice/user@{uid}.service"
            self.slice = USERS_SLICE

    def connect(self) -> Connection:
        """Return a connection to it. Raises OSError."""
        if self.uid < 0:
            return connect()
        directory = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{self.uid}"
        connection = Connection(f"{directory}/systemd/private", bus=False, uid=self.uid)
        _call(connection, "Subscribe")
        return connection


SYSTEM = Instance()


def parse(path: str, default: str = DEFAULT_SLICE) -> tuple[str, str]:
    """Return slice and scope for ``slice:prefix:name`` or for an absolute path.

    An empty slice, and every absolute path, is ``default``; the parts of the path
    joined by dashes name the scope. Raises ValueError for a bad name.
    """
    if path.startswith("/"):
        parts = values.control_path(path).split("/")[1:]
        where, name = default, "-".join(parts)
    else:
        parts = path.split(":")
        if len(parts) != 3 or not parts[2]:
            raise ValueError(f"cgroup path {path!r}: systemd takes slice:prefix:name")
        where = parts[0] or default
        name = f"{parts[1]}-{parts[2]}" if parts[1] else parts[2]
    try:
        expand(where)
    except ValueError as error:
        raise ValueError(f"cgroup path {path!r}: {error}") from None
    if not UNIT_LETTERS.issuperset(name) or len(name) > 240 or name.endswith(".slice"):
        raise ValueError(f"cgroup path {path!r}: {name!r} is not the name of a scope")
    return where, f"{name}.scope"


def expand(slice_name: str) -> str:
    """Return where a slice is: ``a-b.slice`` lies in ``a.slice``, ``-.slice`` is the root.

    Raises ValueError for what is not the name of one.
    """
    stem = slice_name.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    if stem == slice_name or not all(parts) or not UNIT_LETTERS.issuperset(stem):
        raise ValueError(f"{slice_name!r} is not the name of a slice")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))


def connect() -> Connection:
    """Return a connection to systemd: its own socket for root, else the system bus.

    The own socket needs no dbus daemon and brings all signals. Raises OSError.
    """
    try:
        return Connection(PRIVATE, bus=False)
    except OSError as private:
        try:
            connection = Connection(SYSTEM_BUS, bus=True)
        except OSError:
            raise private from None
    rule = f"type='signal',interface='{MANAGER}',member='JobRemoved'"
    bus = "org.freedesktop.DBus"
    connection.call(bus, ("/org/freedesktop/DBus", bus, "AddMatch"), "s", rule)
    _call(connection, "Subscribe")
    return connection


def _call(
    connection: Connection, method: str, signature: str = "", *body: "Any"
) -> "tuple[Any, ...]":
    return connection.call(NAME, (OBJECT, MANAGER, method), signature, *body)


def _wait(connection: Connection, job: str, unit: str) -> None:
    """Wait until a job is done; OSError (EIO) when it ended otherwise."""
    while True:
        message = connection.signal()
        if message.kind != SIGNAL or message.fields.get(MEMBER_FIELD) != "JobRemoved":
            continue
        _, path, _, result = message.body
        if path != job:
            continue
        if result != "done":
            raise OSError(errno.EIO, f"systemd could not start the scope: {result}", unit)
        return


class Group(group.Group):
    """A group in a scope of systemd (``protocol.Group``)."""

    __slots__ = ("instance", "keeper", "scope", "unit")

    def __init__(self, path: str, unit: str, scope: str, instance: Instance = SYSTEM) -> None:
        super().__init__(path, f"{scope}/container")
        self.instance = instance
        self.unit = unit
        self.scope = scope
        self.keeper: int | None = None

    def destroy(self) -> None:
        """Kill what is left, stop and forget the scope; twice is no error."""
        there = os.path.isdir(self.scope)
        if there:
            group.Group("/", self.scope).kill()
        try:
            with self.instance.connect() as connection:
                _quietly(connection, "StopUnit", "ss", self.unit, "replace")
                _quietly(connection, "ResetFailedUnit", "s", self.unit)
        except (FileNotFoundError, ConnectionRefusedError):
            if not there:
                return  # systemd is not there any more, and neither is the group
        processes.remove([self.scope], group.Group("/", self.scope).kill)
        if self.keeper is not None:
            reap(self.keeper)
            self.keeper = None


def start_keeper(program: bytes = b"") -> tuple[int, int]:
    """Return the pid of a new process that does nothing until it is killed, and a descriptor.

    It stays when a byte is written there. Without one it ends when the descriptor is closed,
    so when its maker is killed before anybody could know of it. The process holds no other
    descriptor and handles no signal of the caller's. program: see ``Manager.keep_by``.
    """
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    try:
        os.setsid()
        kernel_process.default_signals()
        kernel_process.set_name(_KEEPER)
        os.dup2(theirs, 0)
        kernel_files.close_range(1)
        if os.read(0, 1):
            os.close(0)
            _become(program)
            while True:
                select.poll().poll()
    finally:
        os._exit(1)


def _become(program: bytes) -> None:
    """Execute a program from memory, with a name and nothing else; return where that cannot be."""
    for flag in (_MFD_EXEC, 0) if program else ():
        try:
            file = os.memfd_create(_KEEPER, os.MFD_CLOEXEC | flag)
            os.write(file, program)
            os.execve(file, [_KEEPER], {})
        except OSError:  # the flag is since Linux 6.3; vm.memfd_noexec may forbid it altogether
            kernel_files.close_range(0)


def reap(pid: int) -> None:
    """Wait for a killed keeper; that it is not ours, or reaped already, is no error."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


def start(where: str, unit: str, pid: int, instance: Instance = SYSTEM) -> None:
    """Start a delegated scope with a process in it and wait until systemd has moved it.

    Raises OSError with the unit as filename. A failed scope of the same name, which a
    crash may have left, is cleared once.
    """
    options: list[Property] = [
        ("Description", ("s", f"knarr container {unit.removesuffix('.scope')}")),
        ("Slice", ("s", where)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [pid])),
        ("DefaultDependencies", ("b", False)),
        ("CollectMode", ("s", "inactive-or-failed")),
        # Else systemd's own default for units, 15 % of all pids, would limit the container.
        ("TasksMax", ("t", INFINITY)),
    ]
    try:
        with instance.connect() as connection:
            try:
                job = _start(connection, unit, options)
            except DBusError as error:
                if not error.name.endswith(".UnitExists"):
                    raise
                _quietly(connection, "ResetFailedUnit", "s", unit)
                job = _start(connection, unit, options)
            _wait(connection, job, unit)
    except OSError as error:
        error.filename = error.filename or unit
        raise


def _start(connection: Connection, unit: str, options: "list[Property]") -> str:
    signature = "ssa(sv)a(sa(sv))"
    (job,) = _call(connection, "StartTransientUnit", signature, unit, "fail", options, [])
    return str(job)


def _quietly(connection: Connection, method: str, signature: str, *body: "Any") -> None:
    """Call a method on a unit; that the unit is gone is no error."""
    try:
        _call(connection, method, signature, *body)
    except DBusError as error:
        if not error.name.endswith((".NoSuchUnit", ".UnitNotLoaded")):
            raise


class Manager(v2.Manager):
    """Makes groups through systemd (``protocol.Manager``).

    A path is ``slice:prefix:name``, or absolute and then a scope in ``system.slice``; of a user's
    systemd in its ``user.slice``.
    """

    __slots__ = ("_instance", "_program")

    name = "systemd"

    def __init__(self, mount_point: str, instance: Instance = SYSTEM) -> None:
        super().__init__(mount_point)
        self._instance = instance
        self._program = b""

    def keep_by(self, program: bytes) -> None:
        """Have each keeper execute a static program, which does nothing without arguments.

        One that was forked from a large process would keep the memory of that.
        """
        self._program = program

    def at(self, path: str) -> Group:
        """Return the group of a path, which need not be there."""
        where, unit = parse(path, self._instance.slice)
        scope = f"{self.mount_point}{self._instance.base}{expand(where)}/{unit}"
        return Group(path, unit, scope, self._instance)

    def make(self, path: str, work: "Plan") -> tuple[group.Group, list[str]]:
        """Start a scope with a keeper in it and make the container's group. OSError if in use."""
        del work
        found = self.at(path)
        if pids := processes.procs(found.scope):
            raise OSError(errno.EBUSY, base.not_empty(pids), found.scope)
        found.keeper, stay = start_keeper(self._program)
        try:
            where = parse(path, self._instance.slice)[0]
            start(where, found.unit, found.keeper, self._instance)
            # A group that hands controllers down may hold no process itself.
            os.mkdir(f"{found.scope}/keeper")
            group.Group(path, f"{found.scope}/keeper").attach(found.keeper)
            os.mkdir(found.directory)
            os.write(stay, b"1")
        except BaseException:  # also a signal's: the keeper would sleep for ever
            processes.signal_all([found.keeper], processes.SIGKILL)
            reap(found.keeper)
            raise
        finally:
            os.close(stay)
        return found, [found.scope]

    def exists(self, path: str) -> bool:
        """Return whether the scope of a path is there, whoever has made it."""
        return os.path.isdir(self.at(path).scope)

    def usage(self, path: str) -> "Usage":
        """Return what the group of a path used; None for everything when it is gone."""
        return self.at(path).usage()

    def remove(self, path: str) -> None:
        """Stop the scope of a path with what is left in it; that it is gone is no error."""
        self.at(path).destroy()

    def lacking(self, fields: "Iterable[str]") -> list[str]:
        """Return those fields of linux.resources that this machine does not have."""
        return v2.Manager(self.mount_point).lacking(fields)

    def unsupported(
        self, resources: "Mapping[str, Any]", parent: str = "/"
    ) -> list[UnsupportedResource]:
        """Return what of resources this machine cannot do, tried out without a scope."""
        return v2.Manager(self.mount_point).unsupported(resources, parent)
