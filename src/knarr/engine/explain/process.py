"""The process itself: numbers, command, user, and what prctl(2) and setrlimit(2) say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.engine import when
from knarr.engine.inspect import arguments
from knarr.engine.state import read_state_file

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject

_NO_LABEL = ""


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``Process``: of one that does not run only what was asked for."""
    state, settings = subject.state, subject.settings
    found: dict[str, Any] = {
        "Pid": state.pid,
        "PidsInside": [],
        "Command": arguments(subject.spec),
        "Init": subject.config.init or subject.config.sandbox,
        "Executable": "",
        "WorkingDirectory": settings.get("cwd", ""),
        "Terminal": bool(settings.get("terminal")),
        "User": _user(subject),
        "OomScoreAdj": settings.get("oomScoreAdj"),
        "StartedAt": when.rfc3339(state.started_at),
        "FinishedAt": when.rfc3339(0 if subject.running else state.finished_at),
        "StartTicks": 0,
        "ExitCode": None if subject.running or not state.finished_at else state.exit_code,
        "Supervisor": _supervisor(subject),
    }
    if subject.running:
        found |= {
            "PidsInside": [int(pid) for pid in subject.status["NSpid"].split()[1:]],
            "Executable": subject.link("exe"),
            "WorkingDirectory": subject.link("cwd"),
            "OomScoreAdj": int(subject.read("oom_score_adj")),
            "StartTicks": state.start_time,
        }
    return found


def _user(subject: Subject) -> dict[str, Any]:
    """Return who it is: ids inside and on the host; without a process only who was asked for."""
    image = subject.engine.image_defaults(subject.record.image_id)
    asked = subject.config.user if subject.config.user is not None else image.get("User") or ""
    found: dict[str, Any] = {"Asked": asked, "Uid": None, "Gid": None, "Groups": []}
    if not subject.running:
        return {**found, "HostUid": None, "HostGid": None}
    status = subject.status
    uid, gid = int(status["Uid"].split()[1]), int(status["Gid"].split()[1])
    groups = [int(each) for each in status["Groups"].split()]
    uids, gids = (_map(subject, name) for name in ("uid_map", "gid_map"))
    return {
        "Asked": asked,
        "Uid": inside(uid, uids),
        "Gid": inside(gid, gids),
        "Groups": [inside(each, gids) for each in groups],
        "HostUid": uid,
        "HostGid": gid,
    }


def _map(subject: Subject, name: str) -> list[tuple[int, int, int]]:
    lines = (line.split() for line in subject.read(name).splitlines())
    return [(int(first), int(host), int(size)) for first, host, size in lines]


def inside(host: int, maps: list[tuple[int, int, int]]) -> int | None:
    """Return which id of a container one of the host is, None when it is none there."""
    for first, outside, size in maps:
        if outside <= host < outside + size:
            return first + host - outside
    return None


def _supervisor(subject: Subject) -> dict[str, Any]:
    """Return the process that watches it: number, name, whether it holds its lock."""
    live = read_state_file(subject.paths.state) or {}
    pid = int(live.get("supervisor_pid") or 0) if subject.running else 0
    name = ""
    if pid:
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
        except (FileNotFoundError, ProcessLookupError):
            pid = 0  # killed: whoever looks at the container's state gives it another
    return {
        "Pid": pid,
        "Name": name,
        "Watches": bool(pid) and subject.paths.supervisor_lives(),
        "Log": subject.paths.log if live.get("log") else "",
        "RunDirectory": subject.paths.run,
    }


def no_new_privileges(subject: Subject) -> bool:
    """Return whether execve(2) gives it nothing more (PR_SET_NO_NEW_PRIVS)."""
    if subject.running:
        return subject.status.get("NoNewPrivs") == "1"
    return bool(subject.settings.get("noNewPrivileges"))


def security_module(subject: Subject) -> dict[str, Any]:
    """Return the security modules of the kernel and the label that they gave it."""
    label = str(subject.settings.get("apparmorProfile") or _NO_LABEL)
    if subject.running:
        try:
            label = subject.read("attr/current").rstrip("\0\n")
        except OSError:
            label = _NO_LABEL  # no module has labels for processes
    try:
        with open("/sys/kernel/security/lsm", encoding="ascii") as file:
            active = file.read().split(",")
    except OSError:
        active = []  # securityfs is not mounted: nobody says
    return {"Label": label, "Active": active}


def resource_limits(subject: Subject) -> list[dict[str, Any]]:
    """Return the limits of getrlimit(2): soft, hard (None: unlimited), and what was asked for."""
    asked = {each["type"]: each for each in subject.settings.get("rlimits") or ()}
    if not subject.running:
        return [
            _limit(name, str(each["soft"]), str(each["hard"]), "", asked=True)
            for name, each in asked.items()
        ]
    found = []
    for line in subject.read("limits").splitlines()[1:]:
        words, soft, hard = line[:25].strip(), line[26:46].strip(), line[47:67].strip()
        name = _NAMES.get(words, words)
        found.append(_limit(name, soft, hard, line[68:].strip(), asked=name in asked))
    return found


def _limit(name: str, soft: str, hard: str, unit: str, *, asked: bool) -> dict[str, Any]:
    values = {word: None if text == "unlimited" else int(text) for word, text in
              (("Soft", soft), ("Hard", hard))}  # fmt: skip
    return {"Name": name, **values, "Unit": unit, "Asked": asked}


# Words of proc_pid_limits(5) -> constants of getrlimit(2).
_NAMES = {
    "Max cpu time": "RLIMIT_CPU",
    "Max file size": "RLIMIT_FSIZE",
    "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK",
    "Max core file size": "RLIMIT_CORE",
    "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC",
    "Max open files": "RLIMIT_NOFILE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS",
    "Max file locks": "RLIMIT_LOCKS",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
}
