"""``linux.intelRdt``: shares of caches and of memory bandwidth, by the kernel's resctrl.

Source: runtime-spec config-linux.md, "IntelRdt"; Documentation/filesystems/resctrl.rst.
"""

import os

from knarr.errors import InvalidArgument
from knarr.runtime.fields import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # Resource (L3, L2, MB …) -> number of a cache -> its share
    Schemata = dict[str, dict[str, int]]

_FIELD = "linux.intelRdt"
_DEFAULT = "/"  # the class of service that everything is in
_BANDWIDTH = ("MB", "SMBA")  # numbers in decimal; others are masks in hexadecimal


def root() -> str:
    """Return where resctrl is mounted. Raises InvalidArgument when it is not."""
    from knarr.cgroups.mounts import whole

    with open("/proc/self/mountinfo") as file:
        places = whole(file.read(), ("resctrl",))
    if not places:
        raise InvalidArgument(f"{_FIELD}: no resctrl file system is mounted")
    return places[0]


def is_shared(place: str, resource: str) -> bool:
    """Return whether the machine can share a resource out: L3, MB … place: where resctrl is."""
    return os.path.isdir(f"{place}/info/{resource}")


def check(given: "dict[str, Any]") -> None:
    """Raise SpecError for what cannot be."""
    name = given.get("closID") or ""
    if name in (".", "..") or ("/" in name and name != _DEFAULT):
        raise SpecError(f"{_FIELD}.closID: {name!r} is no name of a class of service")
    for line in lines_of(given):
        if "\n" in line or ":" not in line:
            raise SpecError(f"{_FIELD}: {line!r} is no line of schemata")
    bandwidth = given.get("memBwSchema") or ""
    if bandwidth and not bandwidth.startswith("MB:"):
        raise SpecError(f"{_FIELD}.memBwSchema: {bandwidth!r} does not begin with MB:")


def lines_of(given: "dict[str, Any]") -> "list[str]":
    """Return the lines of schemata in the order in which they are written."""
    first = [given.get("l3CacheSchema"), given.get("memBwSchema")]
    return [line for line in (*first, *(given.get("schemata") or ())) if line]


class Groups:
    """The groups of one container.

    made: directories that ``remove`` removes, known before they are there. tasks: the files that
    its processes are written into, in order.
    """

    __slots__ = ("_lines", "_place", "made", "tasks")

    def __init__(self, place: str, given: "dict[str, Any]", name: str) -> None:
        """place: where resctrl is. name: the container's. Raises InvalidArgument."""
        chosen = given.get("closID") or ""
        self._place = place if chosen == _DEFAULT else f"{place}/{chosen or name}"
        self._lines = lines_of(given)
        self.made: list[str] = []
        self.tasks = [f"{self._place}/tasks"]
        if os.path.isdir(self._place):
            if chosen and self._lines:
                self._compare()
                self._lines = []
        elif chosen and not self._lines:
            raise InvalidArgument(f"{_FIELD}.closID: there is no class of service {chosen}")
        else:
            self.made.append(self._place)
        if given.get("enableMonitoring"):
            self.made.append(f"{self._place}/mon_groups/{name}")
            self.tasks.append(f"{self.made[-1]}/tasks")

    def make(self) -> None:
        """Make what is to be made, and set the shares. Raises InvalidArgument."""
        try:
            for directory in self.made:
                os.mkdir(directory, 0o755)
            if self._lines:
                write(self._place, self._lines)
        except OSError as error:
            text = f"{_FIELD}: {error.strerror}: {error.filename}{self._reason()}"
            raise InvalidArgument(text) from error

    def kept(self, given: "dict[str, Any]") -> "list[str]":
        """Return those of ``made`` that ``delete`` removes: a class that was named is to stay."""
        return self.made if not given.get("closID") else self.made[self._place in self.made :]

    def _compare(self) -> None:
        """Raise InvalidArgument where the class of service has other shares than are asked for."""
        with open(f"{self._place}/schemata") as file:
            found = _parsed(file.read().splitlines())
        for resource, shares in _parsed(self._lines).items():
            for cache, share in shares.items():
                if found.get(resource, {}).get(cache) != share:
                    text = f"{resource} of cache {cache} is another in {self._place}/schemata"
                    raise InvalidArgument(f"{_FIELD}: {text}")

    def _reason(self) -> str:
        return _last_words(os.path.dirname(self._place))


def write(place: str, lines: "list[str]") -> None:
    """Set shares; all are refused or none. Raises OSError."""
    data = "".join(f"{line}\n" for line in lines).encode()
    path = f"{place}/schemata"
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _last_words(place: str) -> str:
    """Return what the kernel says of the last refusal."""
    try:
        with open(f"{place}/info/last_cmd_status") as file:
            return f" ({file.read().strip()})"
    except OSError:
        return ""


def told(place: str, group: str, monitored: str) -> "dict[str, Any]":
    """Return a group's shares beside everybody's, and what is measured, in the names of runc.

    place: where resctrl is. monitored: the group that is measured. Raises OSError.
    """
    found: dict[str, Any] = {"schemata": _lines(f"{group}/schemata")}
    for directory, ending in ((group, ""), (place, "_root")):
        for line in _lines(f"{directory}/schemata"):
            for prefix, name in (("L3:", "l3_cache_schema"), ("MB:", "mem_bw_schema")):
                if line.startswith(prefix):
                    found[name + ending] = line
    measured = _measured(f"{monitored}/mon_data")
    for key, names in (
        ("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")),
        ("cmt_stats", ("llc_occupancy",)),
    ):
        each = [{name: one[name] for name in names if name in one} for one in measured]
        if any(each):
            found[key] = each
    return found


def _lines(path: str) -> "list[str]":
    with open(path) as file:
        return [line.strip() for line in file]


def _measured(folder: str) -> "list[dict[str, int]]":
    """Return the figures of each cache that is measured, none where nothing is."""
    found = []
    if not os.path.isdir(folder):
        return []
    for cache in sorted(os.listdir(folder)):
        if cache.startswith("mon_L3_"):
            values = {}
            for name in os.listdir(f"{folder}/{cache}"):
                with open(f"{folder}/{cache}/{name}") as file:
                    text = file.read().strip()
                if text.isdecimal():  # else "Unavailable" or "Error"
                    values[name] = int(text)
            found.append(values)
    return found


def enter(tasks: "list[str]", pid: int) -> None:
    """Put a process into groups. Raises InvalidArgument."""
    for path in tasks:
        try:
            with open(path, "r+b", buffering=0) as file:
                file.write(b"%d" % pid)
        except OSError as error:
            raise InvalidArgument(f"{_FIELD}: {error.strerror}: {path}") from error


def remove(made: "list[str]") -> None:
    """Remove groups, inner ones first; what is gone is gone. Raises OSError."""
    for directory in reversed(made):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue


def _parsed(lines: "list[str]") -> "Schemata":
    found: Schemata = {}
    for line in lines:
        resource, _, shares = line.strip().partition(":")
        base = 10 if resource in _BANDWIDTH else 16
        for share in filter(None, shares.split(";")):
            cache, _, value = share.partition("=")
            try:
                found.setdefault(resource, {})[cache.strip()] = int(value, base)
            except ValueError:
                raise InvalidArgument(f"{_FIELD}: {line.strip()!r} is no schema") from None
    return found
