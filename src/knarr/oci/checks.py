"""What no kernel would take of a configuration, found before anything is made.

Types and single numbers are in ``shape``, what this runtime does not do is refused by ``plan``;
here is what depends on a length, or on another field.
"""

import os

from knarr.kernel.namespaces import NAMESPACES
from knarr.oci import resctrl
from knarr.oci.version import refuses_unknown_capabilities
from knarr.runtime.fields import SpecError
from knarr.runtime.program.memory import MOUNTS_MAX
from knarr.spec.capabilities import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEVICE = 15  # bytes: IFNAMSIZ without the zero byte
_NAME = 64  # bytes: __NEW_UTS_LEN
_MAPS = 340  # lines of an id map (user_namespaces(7))


def check(config: "dict[str, Any]") -> None:
    """Raise SpecError that names the field for what cannot be."""
    for field in ("hostname", "domainname"):
        if len((config.get(field) or "").encode()) > _NAME:
            raise SpecError(f"{field}: has more than {_NAME} bytes")
    linux = config.get("linux") or {}
    for index, device in enumerate(linux.get("devices") or ()):
        parts = (device.get("path") or "").rstrip("/").split("/")
        if parts[0] or not parts[-1] or {".", ".."} & set(parts):
            raise SpecError(f"linux.devices[{index}].path: is not an absolute path of a file")
    for kind in ("uidMappings", "gidMappings"):
        if linux.get(kind):
            _check_maps(linux[kind], f"linux.{kind}")
    if "intelRdt" in linux:
        resctrl.check(linux["intelRdt"])
    if linux.get("netDevices"):
        _check_devices(linux)
    process = config.get("process") or {}
    check_process(process, linux)
    if refuses_unknown_capabilities(config):
        _check_capabilities(process.get("capabilities") or {})
    binds = [entry for entry in config.get("mounts") or () if _is_bind(entry)]
    if len(binds) > MOUNTS_MAX:
        raise SpecError(f"mounts: more than {MOUNTS_MAX} bind mounts are not supported")


def check_process(process: "dict[str, Any]", linux: "dict[str, Any]") -> None:
    """Raise SpecError for what a process object cannot be in a container with this ``linux``."""
    if (process.get("args") or ["x"])[0] == "":
        raise SpecError("process.args[0]: is empty")
    for index, limit in enumerate(process.get("rlimits") or ()):
        if limit.get("soft", 0) > limit.get("hard", 0):
            raise SpecError(f"process.rlimits[{index}].soft: is above hard")
    for kind, name in (("uidMappings", "uid"), ("gidMappings", "gid")):
        if linux.get(kind):
            _check_mapped(process.get("user") or {}, name, linux[kind])


def _check_capabilities(sets: "dict[str, list[str]]") -> None:
    for kind, names in sets.items():
        for name in names or ():
            if name not in NUMBERS:
                text = f"{name!r} is not known, which until version 1.0 is an error"
                raise SpecError(f"process.capabilities.{kind}: {text}")


def _check_devices(linux: "dict[str, Any]") -> None:
    """Names of network devices are those of dev_valid_name() in net/core/dev.c."""
    if not any(entry.get("type") == "network" for entry in linux.get("namespaces") or ()):
        raise SpecError("linux.netDevices: needs a network namespace, new or by path")
    for name, entry in linux["netDevices"].items():
        for given in (name, entry.get("name") or name):
            is_name = 0 < len(given.encode()) <= _DEVICE and given not in (".", "..")
            if not is_name or any(letter in "/:" or letter.isspace() for letter in given):
                raise SpecError(f"linux.netDevices.{name}: {given!r} is no name of a device")
        new = entry.get("name") or ""
        if new.count("%") > 1 or ("%" in new and "%d" not in new):
            raise SpecError(f"linux.netDevices.{name}.name: {new!r} has another % than one %d")


def _is_bind(entry: "dict[str, Any]") -> bool:
    options = entry.get("options") or ()
    return "bind" in options or "rbind" in options or entry.get("type") in ("bind", "none")


def _check_maps(maps: "list[dict[str, int]]", where: str) -> None:
    if len(maps) > _MAPS:
        raise SpecError(f"{where}: has more than {_MAPS} entries")
    for field in ("containerID", "hostID"):
        ranges = sorted((entry.get(field, 0), entry.get("size", 0)) for entry in maps)
        end = 0
        for start, size in ranges:
            if start < end:
                raise SpecError(f"{where}: {start} is in two ranges of {field}")
            end = start + size
        if end >= 1 << 32:
            raise SpecError(f"{where}: {field} and size go beyond 32 bits")


def _check_mapped(user: "dict[str, Any]", name: str, maps: "list[dict[str, int]]") -> None:
    """An id that has none on the host can be nobody's (setresuid(2): EINVAL)."""
    ids = [(f"process.user.{name}", user.get(name, 0))]
    if name == "gid":
        more = enumerate(user.get("additionalGids") or ())
        ids += [(f"process.user.additionalGids[{index}]", gid) for index, gid in more]
    for field, number in ids:
        if not any(0 <= number - one["containerID"] < one["size"] for one in maps):
            raise SpecError(f"{field}: {number} is not in linux.{name}Mappings")


def check_sysctls(config: "dict[str, Any]") -> None:
    """Refuse parameters of a namespace by path that is this process's own: they are the host's.

    Looks at the machine. Raises SpecError; what the path is otherwise is for who enters it.
    """
    linux = config.get("linux") or {}
    for entry in linux.get("namespaces") or ():
        kind, path = entry.get("type"), entry.get("path")
        keys = [key for key in linux.get("sysctl") or () if path and _kind_of(key) == kind]
        if keys and _is_own(kind, path):
            text = f"{keys[0]!r} would be the host's: {path} is this process's own {kind} namespace"
            raise SpecError(f"linux.sysctl: {text}")


def _kind_of(key: str) -> str:
    name = key.replace("/", ".")
    if name.startswith("net."):
        return "network"
    return "uts" if name in ("kernel.hostname", "kernel.domainname") else "ipc"


def _is_own(kind: str, path: str) -> bool:
    try:
        return os.path.samefile(path, f"/proc/self/ns/{NAMESPACES[kind][1]}")
    except OSError:
        return False
