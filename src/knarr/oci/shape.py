"""What type each field of config.json has, for those that this runtime reads. Pure.

What is of another type is refused by its name before anything looks at it. Values, and what
belongs together, are for those who use them. Unknown fields are left alone, as the spec asks.
Source: runtime-spec, schema/config-schema.json.
"""

from knarr.runtime.fields import SpecError
from knarr.runtime.processplan import GROUPS, USER_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEVELS = 64  # objects and lists in one another; the spec needs eight


class Each:
    """An object whose keys are names, and whose values are all alike."""

    __slots__ = ("of",)

    def __init__(self, of: "Any") -> None:
        self.of = of


class Number:
    """A whole number from ``least`` to ``most``."""

    __slots__ = ("least", "most")

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most


_LATER = object()  # of values the control groups see to the types; texts are texts all the same
_ANY = Number(-(1 << 63), (1 << 64) - 1)
_WORD = Number(0, (1 << 32) - 1)
_ID = Number(0, (1 << 32) - 2)  # the last is no id
_LIMIT = Number(0, (1 << 64) - 1)
_CHARACTERS = Number(0, (1 << 16) - 1)  # struct winsize
_MAJOR, _MINOR = Number(0, (1 << 12) - 1), Number(0, (1 << 20) - 1)
_SECONDS = Number(1, ((1 << 31) - 1) // 1000)  # poll(2) takes milliseconds

_IDS = [{"containerID": _ID, "hostID": _ID, "size": Number(1, (1 << 32) - 1)}]
_HOOK = [{"path": str, "args": [str], "env": [str], "timeout": _SECONDS}]
_SECCOMP = {
    "defaultAction": str, "defaultErrnoRet": int, "architectures": [str], "flags": [str],
    "listenerPath": str, "listenerMetadata": str,
    "syscalls": [{"names": [str], "action": str, "errnoRet": int,
                  "args": [{"index": int, "value": int, "valueTwo": int, "op": str}]}],
}  # fmt: skip
_PROCESS = {
    "terminal": bool, "consoleSize": {"height": _CHARACTERS, "width": _CHARACTERS}, "cwd": str,
    "env": [str], "args": [str],
    "user": {"uid": _ID, "gid": _ID, "umask": Number(0, 0o777), "additionalGids": [_ID],
             USER_NAME: str, GROUPS: [str]},
    "capabilities": Each([str]),
    "rlimits": [{"type": str, "soft": _LIMIT, "hard": _LIMIT}],
    "noNewPrivileges": bool, "oomScoreAdj": Number(-1000, 1000),
    "apparmorProfile": str, "selinuxLabel": str,
    "scheduler": {"policy": str, "nice": int, "priority": int, "flags": [str],
                  "runtime": int, "deadline": int, "period": int},
    "ioPriority": {"class": str, "priority": int},
    "execCPUAffinity": {"initial": str, "final": str},
}  # fmt: skip
_LINUX = {
    "namespaces": [{"type": str, "path": str}], "uidMappings": _IDS, "gidMappings": _IDS,
    "devices": [{"path": str, "type": str, "major": _MAJOR, "minor": _MINOR, "fileMode": _WORD,
                 "uid": _ID, "gid": _ID}],
    "cgroupsPath": str, "resources": Each(_LATER), "rootfsPropagation": str, "seccomp": _SECCOMP,
    "maskedPaths": [str], "readonlyPaths": [str], "sysctl": Each(str), "mountLabel": str,
    "personality": {"domain": str, "flags": [str]},
    "intelRdt": {"closID": str, "l3CacheSchema": str, "memBwSchema": str, "schemata": [str],
                 "enableMonitoring": bool},
    "timeOffsets": Each({"secs": Number(-(1 << 63), (1 << 63) - 1), "nanosecs": _WORD}),
    "memoryPolicy": {"mode": str, "nodes": str, "flags": [str]}, "netDevices": Each({"name": str}),
}  # fmt: skip
CONFIG = {
    "ociVersion": str, "root": {"path": str, "readonly": bool}, "process": _PROCESS,
    "hostname": str, "domainname": str, "annotations": Each(str), "linux": _LINUX,
    "mounts": [{"destination": str, "type": str, "source": str, "options": [str],
                "uidMappings": _IDS, "gidMappings": _IDS}],
    "hooks": Each(_HOOK),
}  # fmt: skip
_CALLED = {str: "a text", bool: "true or false"}


def check(config: "Any") -> "dict[str, Any]":
    """Return a configuration without what is null; raises SpecError that names the field."""
    found = _without_nulls(config, "config.json")
    _check(found, CONFIG, "")
    checked: dict[str, Any] = found
    return checked


def resources_of(found: "Any") -> "dict[str, Any]":
    """Return linux.resources that came by itself, without what is null; raises SpecError."""
    found = _without_nulls(found, "resources")
    _check(found, _LINUX["resources"], "resources")
    checked: dict[str, Any] = found
    return checked


def process_of(process: "Any") -> "dict[str, Any]":
    """Return a process object that came by itself, without what is null; raises SpecError."""
    found = _without_nulls(process, "process")
    _check(found, _PROCESS, "process")
    checked: dict[str, Any] = found
    return checked


def _without_nulls(value: "Any", where: str, level: int = 0) -> "Any":
    """Return a value without what is null in objects: what Go's tools write for nothing."""
    if level > _LEVELS:
        raise SpecError(f"{where}: more than {_LEVELS} levels")
    if isinstance(value, dict):
        return {k: _without_nulls(v, where, level + 1) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(one, where, level + 1) for one in value]
    return value


def _check(value: "Any", shape: "Any", where: str) -> None:
    if shape is None:
        return
    if shape is _LATER:
        shape = Each(_LATER) if isinstance(value, dict) else [_LATER]
        if not isinstance(value, dict | list):
            shape = str if isinstance(value, str) else None
        _check(value, shape, where)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise SpecError(f"{where}: expected a list")
        for index, one in enumerate(value):
            _check(one, shape[0], f"{where}[{index}]")
    elif isinstance(shape, (dict, Each)):
        if not isinstance(value, dict):
            raise SpecError(f"{where or 'config.json'}: expected an object")
        for name, one in value.items():
            _check_text(name, f"{where or 'config.json'}: the name {name!a:.80}")
            inner = shape.of if isinstance(shape, Each) else shape.get(name)
            _check(one, inner, f"{where}.{name}" if where else name)
    elif shape is int or isinstance(shape, Number):
        _check_number(value, shape if isinstance(shape, Number) else _ANY, where)
    # A bool is an int to Python, and none to JSON.
    elif type(value) is not shape:
        raise SpecError(f"{where}: {value!r:.80} is not {_CALLED[shape]}")
    elif shape is str:
        _check_text(value, where)


def _check_number(value: "Any", shape: Number, where: str) -> None:
    if type(value) is not int:
        raise SpecError(f"{where}: {value!r:.80} is not a whole number")
    if not shape.least <= value <= shape.most:
        # Python writes no number of more than 4,300 digits.
        text = str(value) if abs(value) >> 256 == 0 else "a number of many digits"
        raise SpecError(f"{where}: {text} is not from {shape.least} to {shape.most}")


def _check_text(value: str, where: str) -> None:
    """Refuse what the kernel takes for the end of a text, and halves of surrogate pairs."""
    if "\0" in value:
        raise SpecError(f"{where}: has a NUL byte")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SpecError(f"{where}: has half of a surrogate pair") from error
