"""Groups made by systemd: each container a transient scope that is delegated to us.

org.freedesktop.systemd1(5), systemd.resource-control(5), "Control Group APIs and
Delegation" of the systemd project. cgroup v2 only.

A scope needs a process, so it is made by ``attach``: ``create`` checks the values and loads
the device program, the first ``attach`` starts the scope with that process and then sets
the limits. systemd gets those limits that it knows as properties (it writes them anew with
every reload) and the files are written by us as on any other v2 machine.
"""

import errno
import os

from knarr.cgroups import convert, processes, values
from knarr.cgroups.dbus import MEMBER as MEMBER_FIELD
from knarr.cgroups.dbus import SIGNAL, Connection, DBusError
from knarr.cgroups.errors import UnsupportedResource
from knarr.cgroups.v2 import controllers, devices, group, memory
from knarr.cgroups.v2 import manager as v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from knarr.cgroups.v2.group import Work

    Property = tuple[str, tuple[str, Any]]

PRIVATE = "/run/systemd/private"
SYSTEM_BUS = "/run/dbus/system_bus_socket"
NAME = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = f"{NAME}.Manager"
DEFAULT_SLICE = "system.slice"
UNIT_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
INFINITY = 2**64 - 1
NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.high": "MemoryHigh",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}
SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def parse(path: str) -> tuple[str, str]:
    """Return slice and scope for ``slice:prefix:name`` or for an absolute path.

    An empty slice, and every absolute path, is ``system.slice``; the parts of the path
    joined by dashes name the scope. Raises ValueError for a bad name.
    """
    if path.startswith("/"):
        parts = values.control_path(path).split("/")[1:]
        where, name = DEFAULT_SLICE, "-".join(parts)
    else:
        parts = path.split(":")
        if len(parts) != 3 or not parts[2]:
            raise ValueError(f"cgroup path {path!r}: systemd takes slice:prefix:name")
        where = parts[0] or DEFAULT_SLICE
        name = f"{parts[1]}-{parts[2]}" if parts[1] else parts[2]
    if not where.endswith(".slice") or not UNIT_LETTERS.issuperset(where):
        raise ValueError(f"cgroup path {path!r}: {where!r} is not the name of a slice")
    if not UNIT_LETTERS.issuperset(name) or len(name) > 240 or name.endswith(".slice"):
        raise ValueError(f"cgroup path {path!r}: {name!r} is not the name of a scope")
    return where, f"{name}.scope"


def expand(slice_name: str) -> str:
    """Return where a slice is: ``a-b.slice`` lies in ``a.slice``, ``-.slice`` is the root."""
    stem = slice_name.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    if not all(parts):
        raise ValueError(f"{slice_name!r} is not the name of a slice")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))


def properties(work: "Work") -> "list[Property]":
    """Return the systemd properties for planned writes, as far as systemd has them. Pure."""
    found: dict[str, tuple[str, Any]] = {}
    for _, writes in work:
        for name, value, _ in writes:
            value = value.strip()
            if name in NUMBERS and (value == "max" or value.isdecimal()):
                found[NUMBERS[name]] = ("t", INFINITY if value == "max" else int(value))
            elif name in SETS and value:
                found[SETS[name]] = ("ay", convert.bit_mask(convert.parse_list(value)))
            elif name == "cpu.max":
                found |= _quota(value)
            elif name == "io.bfq.weight" and value.isdecimal():
                found["IOWeight"] = ("t", convert.blkio_weight(int(value)))
    # systemd counts pids.max=0 as a mistake; the file alone is written then.
    if found.get("TasksMax") == ("t", 0):
        del found["TasksMax"]
    return list(found.items())


def _quota(value: str) -> "dict[str, tuple[str, Any]]":
    quota, _, period = value.partition(" ")
    every = int(period or convert.DEFAULT_PERIOD)
    found: dict[str, tuple[str, Any]] = {"CPUQuotaPeriodUSec": ("t", every)}
    if quota == "max":
        found["CPUQuotaPerSecUSec"] = ("t", INFINITY)
    else:
        # systemd rounds down to whole hundredths of a processor: round up before.
        per_second = -(-int(quota) * 1000000 // every)
        found["CPUQuotaPerSecUSec"] = ("t", -(-per_second // 10000) * 10000)
    return found


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
    """A group in a scope of systemd (``protocol.Group``); the scope starts with ``attach``."""

    __slots__ = ("_manager", "_owner", "_program", "_resources", "_slice", "_work", "unit")

    def __init__(self, path: str, manager: "Manager") -> None:
        self._slice, self.unit = parse(path)
        super().__init__(path, f"{manager.mount_point}{expand(self._slice)}/{self.unit}")
        self._manager = manager
        self._owner: int | tuple[int, int] | None = None
        self._work: Work | None = None
        self._program: int | None = None
        self._resources: Mapping[str, Any] = {}

    def expect(self, resources: "Mapping[str, Any]", owner: "int | tuple[int, int] | None") -> None:
        """Check resources and keep what the first ``attach`` will set; raises as ``create``."""
        self._work = group.plan(resources)
        self._program = devices.load(resources)
        self._resources = resources
        self._owner = owner

    def undo(self) -> "list[Any]":
        """Return the value with which ``manager.undo`` removes the group in any process."""
        return ["cgroup", 2, self.unit, self.directory]

    def clone_fd(self) -> int | None:
        """Return a directory descriptor for CLONE_INTO_CGROUP, None when ``attach`` is needed."""
        return super().clone_fd() if self._work is None else None

    def child(self, name: str) -> group.Group:
        """Return a new group below for what one exec starts (``protocol.Group``)."""
        directory = f"{self.directory}/{values.child_name(name)}"
        os.mkdir(directory)
        return group.Group(f"{self.path}/{name}", directory)

    def attach(self, pid: int) -> None:
        """Move a process into the group; OSError, ESRCH when it is gone."""
        if self._work is None:
            super().attach(pid)
            return
        work, program = self._work, self._program
        start(self._slice, self.unit, pid, properties(work))
        try:
            required = group.needed(work)
            controllers.enable(self.directory, required, group.ACCOUNTED)
            memory.complete(self.directory, self._resources)
            group.carry_out(self.directory, work, update=False)
            if program is not None:
                devices.attach(self.directory, program)
            if self._owner is not None:
                v2.delegate(self.directory, self._owner)
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._program is not None:
            os.close(self._program)
        self._program = self._work = None

    def _announce(self, work: "Work") -> None:
        """Tell systemd the limits it knows, or its next reload would bring the old ones back."""
        if found := properties(work):
            with connect() as connection:
                _call(connection, "SetUnitProperties", "sba(sv)", self.unit, True, found)

    def destroy(self) -> None:
        """Kill what is left and remove the group; twice is no error."""
        self._forget()
        undo(self.unit, [self.directory])


def start(where: str, unit: str, pid: int, limits: "list[Property]") -> None:
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
        # Accounting has to be asked for, or the controllers are off in our slice.
        *[(f"{name}Accounting", ("b", True)) for name in ("CPU", "Memory", "IO", "Tasks")],
        *limits,
    ]
    if not any(name == "TasksMax" for name, _ in limits):
        # Else systemd's own default for units, 15 % of all pids, would limit the container.
        options.append(("TasksMax", ("t", INFINITY)))
    try:
        with connect() as connection:
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


def undo(unit: str, directories: list[str]) -> None:
    """Kill what is left in a scope, stop and forget it, remove its directory. Idempotent."""
    for directory in directories:
        group.Group("/", directory).kill()
    try:
        with connect() as connection:
            _quietly(connection, "StopUnit", "ss", unit, "replace")
            _quietly(connection, "ResetFailedUnit", "s", unit)
    except (FileNotFoundError, ConnectionRefusedError):
        if not directories:
            return  # systemd is not there any more, and neither is the group
    for directory in directories:
        processes.remove([directory], group.Group("/", directory).kill)


class Manager(v2.Manager):
    """Makes groups through systemd (``protocol.Manager``)."""

    __slots__ = ()

    name = "systemd"

    def create(
        self,
        path: str,
        resources: "Mapping[str, Any]",
        *,
        owner: "int | tuple[int, int] | None" = None,
    ) -> Group:
        """Return a new group with its limits set (``protocol.Manager`` has the errors)."""
        found = Group(path, self)
        if processes.procs(found.directory):
            raise OSError(errno.EBUSY, "cgroup exists and has processes", found.directory)
        found.expect(resources, owner)
        return found

    def open(self, path: str) -> Group:
        """Return an existing group; FileNotFoundError when there is none."""
        found = Group(path, self)
        if not os.path.isdir(found.directory):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), found.directory)
        return found

    def unsupported(
        self, resources: "Mapping[str, Any]", parent: str = "/"
    ) -> list[UnsupportedResource]:
        """Return what of resources this machine cannot do."""
        del parent
        # Tried out in a slice's place of our own making: a scope would need a process.
        return v2.probe(v2.Manager(self.mount_point), resources, "/knarr-probe.slice")
