"""Its control groups: where they are, what is limited, and what is used of it now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.cgroups import files, manager
from knarr.engine.pause import running_group
from knarr.engine.state import read_state_file

if TYPE_CHECKING:
    from knarr.cgroups.protocol import Group
    from knarr.engine.explain.subject import Subject

_NO_LIMIT = 2**62  # v1 shows the greatest number of whole pages


class _Row(NamedTuple):
    """One thing that can be limited: its names, and its files on v1 and v2.

    v1, v2: controller, file with the limit, file with the use ("": none), its word ("": the
    file is one number). factor: of the use on v2, to have it in the same unit as on v1.
    """

    name: str
    unit: str
    field: tuple[str, str]
    v1: tuple[str, str, str, str]
    v2: tuple[str, str, str]
    factor: int = 1


_MEMORY, _CPU = "memory.limit_in_bytes", "cpu.cfs_quota_us"
_ROWS = (
    _Row("memory", "bytes", ("memory", "limit"),
         ("memory", _MEMORY, "memory.usage_in_bytes", ""),
         ("memory.max", "memory.current", "")),
    _Row("memory and swap", "bytes", ("memory", "swap"),
         ("memory", "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes", ""),
         ("", "", "")),
    _Row("swap", "bytes", ("memory", "swap"), ("", "", "", ""),
         ("memory.swap.max", "memory.swap.current", "")),
    _Row("memory kept when it gets scarce", "bytes", ("memory", "reservation"),
         ("memory", "memory.soft_limit_in_bytes", "", ""), ("memory.low", "", "")),
    _Row("processor time", "ns", ("cpu", "quota"),
         ("cpu", _CPU, "cpuacct.usage", ""), ("cpu.max", "cpu.stat", "usage_usec"), 1000),
    _Row("processor weight", "weight", ("cpu", "shares"),
         ("cpu", "cpu.shares", "", ""), ("cpu.weight", "", "")),
    _Row("processors", "list", ("cpu", "cpus"),
         ("cpuset", "cpuset.cpus", "", ""), ("cpuset.cpus.effective", "", "")),
    _Row("memory nodes", "list", ("cpu", "mems"),
         ("cpuset", "cpuset.mems", "", ""), ("cpuset.mems.effective", "", "")),
    _Row("processes and threads", "count", ("pids", "limit"),
         ("pids", "pids.max", "pids.current", ""), ("pids.max", "pids.current", "")),
    _Row("block I/O weight", "weight", ("blockIO", "weight"),
         ("blkio", "blkio.bfq.weight", "", ""), ("io.bfq.weight", "", "")),
    *(
        _Row(f"block I/O: {words}", "list", ("blockIO", f"throttle{field}Device"),
             ("blkio", f"blkio.throttle.{file}_device", "", ""), ("", "", ""))
        for words, field, file in (
            ("bytes read a second", "ReadBps", "read_bps"),
            ("bytes written a second", "WriteBps", "write_bps"),
            ("reads a second", "ReadIOPS", "read_iops"),
            ("writes a second", "WriteIOPS", "write_iops"),
        )
    ),
    _Row("block I/O: rates", "list", ("blockIO", "throttleReadBpsDevice"), ("", "", "", ""),
         ("io.max", "", "")),
)  # fmt: skip


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``ControlGroups``: of one that does not run what will be set."""
    live = read_state_file(subject.paths.state) if subject.running else None
    where = (live or {}).get("cgroup") or {
        "manager": subject.engine.settings.cgroup_manager,
        "path": subject.linux.get("cgroupsPath", ""),
    }
    machine = manager.detect(where["manager"])
    found: dict[str, Any] = {
        "Version": machine.version,
        "Manager": machine.name,
        "Path": where["path"],
        "Directories": {},
        "Limits": [],
        "Devices": _devices(subject),
        "Processes": [],
        "Frozen": False,
    }
    asked = subject.linux.get("resources") or {}
    if not subject.running:
        return {**found, "Limits": _planned(asked)}
    group = running_group(subject.paths)
    return {
        **found,
        "Directories": dict(sorted(group.paths.items())),
        "Limits": limits(group, asked),
        "Processes": group.procs(),
        "Frozen": subject.state.paused,
    }


def limits(group: Group, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the limits that this kernel has, with use and files; asked: ``linux.resources``."""
    found = []
    for row in _ROWS:
        directory = group.paths.get(row.v1[0])
        if directory is not None:
            limit, use, word, factor = row.v1[1], row.v1[2], row.v1[3], 1
        else:
            directory = group.paths.get("unified")
            (limit, use, word), factor = row.v2, row.factor
        if directory is None or not limit:
            continue
        entry = _entry(row, asked)
        text = _text(f"{directory}/{limit}")
        if text is None:
            continue
        entry |= _limit(directory, limit, text)
        if use:
            # Processor time is counted by a controller of its own on v1.
            base = group.paths.get("cpuacct", directory) if use == "cpuacct.usage" else directory
            entry["UseFile"] = f"{base}/{use}"
            used = _used(f"{base}/{use}", word)
            entry["Use"] = None if used is None else used * factor
        found.append(entry)
    return found


def _entry(row: _Row, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a limit without its values. Asked: whether the configuration says anything of it."""
    section, field = row.field
    said = (asked.get(section) or {}).get(field)
    return {
        "Name": row.name,
        "Unit": row.unit,
        "Limit": None,
        "Period": None,
        "Use": None,
        "Asked": said is not None and said not in ("", 0, -1),
        "LimitFile": "",
        "UseFile": "",
    }


def _limit(directory: str, name: str, text: str) -> dict[str, Any]:
    """Return limit and file; of processor time the period (us), too. None is unlimited."""
    found: dict[str, Any] = {"LimitFile": f"{directory}/{name}"}
    if name in ("cpu.max", _CPU):
        words = text.split()
        if name == _CPU:
            words = [*words, _text(f"{directory}/cpu.cfs_period_us") or "0"]
        unlimited = words[0] in ("max", "-1")
        return {
            **found,
            "Limit": None if unlimited else int(words[0]),
            "Period": int(words[1]),
        }
    word = text.rsplit(maxsplit=1)[-1] if text.split() else ""  # io.bfq.weight: "default 100"
    if word.lstrip("-").isdigit() and not name.startswith("cpuset."):
        value = int(word)
        return {**found, "Limit": None if value >= _NO_LIMIT or value < 0 else value}
    return {**found, "Limit": None if word in ("", "max") else text}


def _text(path: str) -> str | None:
    """Return a control file's text, None when there is none."""
    try:
        return files.read(path).strip()
    except OSError as error:
        if error.errno in files.MISSING:
            return None
        raise


def _used(path: str, word: str) -> int | None:
    return files.read_keyed(path).get(word) if word else files.read_int(path)


def _planned(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the limits that a start sets, without files."""
    found = []
    for row in _ROWS:
        entry = _entry(row, asked)
        if entry["Asked"] and row.v1[0]:
            section, field = row.field
            entry["Limit"] = asked[section][field]
            if field == "quota":
                entry["Period"] = asked[section].get("period")
            found.append(entry)
    return found


def _devices(subject: Subject) -> list[str]:
    """Return what of devices is allowed, as ``c 1:3 rwm``; ``a`` for all."""
    found = []
    for rule in (subject.linux.get("resources") or {}).get("devices") or ():
        if not rule.get("allow"):
            continue
        kind = rule.get("type") or "a"
        if kind == "a" and rule.get("major") is None:
            return ["a *:* rwm"]
        numbers = ("*" if rule.get(part) in (None, -1) else str(rule[part])
                   for part in ("major", "minor"))  # fmt: skip
        found.append(f"{kind} {':'.join(numbers)} {rule.get('access') or 'rwm'}")
    return found
