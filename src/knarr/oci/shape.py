"""What type each field of config.json has, for those that this runtime reads. Pure.

What is of another type is refused by its name before anything looks at it. Values, and what
belongs together, are for those who use them. Unknown fields are left alone, as the spec asks.
Source: runtime-spec, schema/config-schema.json.
"""

from knarr.runtime.processplan import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEVELS = 64  # objects and lists in one another; the spec needs eight


class Each:
    """An object whose keys are names, and whose values are all alike."""

    __slots__ = ("of",)

    def __init__(self, of: "Any") -> None:
        self.of = of


_IDS = [{"containerID": int, "hostID": int, "size": int}]
_HOOK = [{"path": str, "args": [str], "env": [str], "timeout": int}]
_SECCOMP = {
    "defaultAction": str, "defaultErrnoRet": int, "architectures": [str], "flags": [str],
    "listenerPath": str, "listenerMetadata": str,
    "syscalls": [{"names": [str], "action": str, "errnoRet": int,
                  "args": [{"index": int, "value": int, "valueTwo": int, "op": str}]}],
}  # fmt: skip
_PROCESS = {
    "terminal": bool, "consoleSize": {"height": int, "width": int}, "cwd": str,
    "env": [str], "args": [str],
    "user": {"uid": int, "gid": int, "umask": int, "additionalGids": [int]},
    "capabilities": Each([str]), "rlimits": [{"type": str, "soft": int, "hard": int}],
    "noNewPrivileges": bool, "oomScoreAdj": int, "apparmorProfile": str, "selinuxLabel": str,
    "scheduler": {"policy": str, "nice": int, "priority": int, "flags": [str],
                  "runtime": int, "deadline": int, "period": int},
    "ioPriority": {"class": str, "priority": int},
    "execCPUAffinity": {"initial": str, "final": str},
}  # fmt: skip
_LINUX = {
    "namespaces": [{"type": str, "path": str}], "uidMappings": _IDS, "gidMappings": _IDS,
    "devices": [{"path": str, "type": str, "major": int, "minor": int, "fileMode": int,
                 "uid": int, "gid": int}],
    "cgroupsPath": str, "resources": Each(None), "rootfsPropagation": str, "seccomp": _SECCOMP,
    "maskedPaths": [str], "readonlyPaths": [str], "sysctl": Each(str), "mountLabel": str,
    "personality": {"domain": str, "flags": [str]}, "intelRdt": {}, "timeOffsets": {},
    "memoryPolicy": {}, "netDevices": {},
}  # fmt: skip
CONFIG = {
    "ociVersion": str, "root": {"path": str, "readonly": bool}, "process": _PROCESS,
    "hostname": str, "domainname": str, "annotations": Each(str), "linux": _LINUX,
    "mounts": [{"destination": str, "type": str, "source": str, "options": [str],
                "uidMappings": _IDS, "gidMappings": _IDS}],
    "hooks": Each(_HOOK),
}  # fmt: skip
_CALLED = {str: "a text", int: "a whole number", bool: "true or false"}


def check(config: "Any") -> "dict[str, Any]":
    """Return a configuration without what is null; raises SpecError that names the field."""
    found = _without_nulls(config, 0)
    _check(found, CONFIG, "")
    checked: dict[str, Any] = found
    return checked


def _without_nulls(value: "Any", level: int) -> "Any":
    """Return a value without what is null in objects: what Go's tools write for nothing."""
    if level > _LEVELS:
        raise SpecError(f"config.json: more than {_LEVELS} levels")
    if isinstance(value, dict):
        return {k: _without_nulls(v, level + 1) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(one, level + 1) for one in value]
    return value


def _check(value: "Any", shape: "Any", where: str) -> None:
    if shape is None:
        return
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise SpecError(f"{where}: expected a list")
        for index, one in enumerate(value):
            _check(one, shape[0], f"{where}[{index}]")
    elif isinstance(shape, (dict, Each)):
        if not isinstance(value, dict):
            raise SpecError(f"{where or 'config.json'}: expected an object")
        for name, one in value.items():
            inner = shape.of if isinstance(shape, Each) else shape.get(name)
            _check(one, inner, f"{where}.{name}" if where else name)
    # A bool is an int to Python, and none to JSON.
    elif type(value) is not shape:
        raise SpecError(f"{where}: {value!r:.80} is not {_CALLED[shape]}")
    elif shape is str and "\0" in value:
        raise SpecError(f"{where}: has a NUL byte")
