"""What an attacker inside this very container lacks, and what not: sentences out of the facts."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from knarr.engine.explain.words import CAPABILITIES, DANGEROUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.engine.explain.subject import Subject

    Said = Iterator[tuple[bool, str]]

# System calls that exploits and escapes use.
_TELLING = ("mount", "umount2", "pivot_root", "unshare", "setns", "bpf", "ptrace", "keyctl",
            "kexec_load", "init_module", "reboot", "open_by_handle_at", "userfaultfd",
            "perf_event_open")  # fmt: skip


def explain(subject: Subject, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``Hardening``: sentences, each with whether it says that something is kept away.

    facts: what the other parts have found.
    """
    parts = (_users(facts), _views(facts), _capabilities(facts), _calls(facts),
             _files(subject, facts), _limits(facts))  # fmt: skip
    return [{"Holds": holds, "Text": text} for part in parts for holds, text in part]


def _own(facts: dict[str, Any]) -> dict[str, bool]:
    """Return kind of namespace -> whether it is not the host's."""
    return {each["Type"]: each["Of"] != "host" for each in facts["Namespaces"]}


def _users(facts: dict[str, Any]) -> Said:
    if not _own(facts)["user"]:
        yield False, ("root inside is root of this host: who breaks out is root, with the"
                      " capabilities listed")  # fmt: skip
        return
    first = facts["IdMap"]["Uid"][0]
    yield (
        True,
        (
            f"root inside is user {first['Host']} of this host, who owns no file and no process"
            " outside: who breaks out is nobody"
        ),
    )
    yield True, "its capabilities hold over its own namespaces only, for nothing of the host"


def _views(facts: dict[str, Any]) -> Said:
    own = _own(facts)
    told = {
        "pid": ("it sees and signals no process but its own",
                "it sees the host's processes and can signal those of its user"),
        "network": ("it has interfaces and ports of its own and cannot touch the host's",
                    "it uses the host's interfaces: it can listen on them and reach what they do"),
        "ipc": ("it reaches no shared memory or queues of the host",
                "it reaches the host's shared memory and queues"),
        "uts": ("a host name that it sets is its own", "its host name is the host's"),
        "cgroup": ("it does not see where its control groups are on the host",
                   "it sees the paths of the host's control groups"),
    }  # fmt: skip
    for kind, (apart, shared) in told.items():
        if kind in own:
            yield own[kind], apart if own[kind] else shared
    for each in facts["Namespaces"]:
        if each["Of"] == "container":
            yield (
                False,
                f"it shares the {each['Type']} namespace with container {each['Container']}",
            )


def _capabilities(facts: dict[str, Any]) -> Said:
    bounding = facts["Capabilities"]["Bounding"]
    missing = [name for name in DANGEROUS if name not in bounding]
    present = [name for name in DANGEROUS if name in bounding]
    if missing:
        words = "; ".join(f"{CAPABILITIES[name]} ({name})" for name in missing)
        yield True, f"whatever it executes, it cannot: {words}"
    if present:
        words = "; ".join(f"{CAPABILITIES[name]} ({name})" for name in present)
        where = " within its user namespace" if _own(facts)["user"] else ""
        yield False, f"it can{where}: {words}"
    if facts["NoNewPrivileges"]:
        yield True, "set-user-ID programs and file capabilities give it nothing (no_new_privs)"
    else:
        yield False, ("set-user-ID programs of its image work: they give at most the bounding set"
                      " above")  # fmt: skip


def _calls(facts: dict[str, Any]) -> Said:
    seccomp = facts["Seccomp"]
    if seccomp["Mode"] != "filter":
        yield False, "every system call of the kernel can be tried: there is no filter"
    elif not seccomp["Instructions"]:
        yield True, f"the filter of OCI runtime {facts['Runtime']} refuses some system calls"
    elif not seccomp["Denied"] and not seccomp["Conditional"]:
        yield False, "the filter lets every system call of this machine pass"
    else:
        denied = [name for name in _TELLING if name in seccomp["Denied"]]
        examples = f", among them {', '.join(denied)}" if denied else ""
        total = sum(len(seccomp[kind]) for kind in ("Allowed", "Conditional", "Denied"))
        yield True, f"{len(seccomp['Denied'])} of {total} system calls are refused{examples}"
    if seccomp["Mode"] != "filter" or (seccomp["Instructions"] and not _forbids_nesting(seccomp)):
        yield (
            False,
            (
                "it may make user namespaces, where it has all capabilities over what it makes"
                " there: more of the kernel can be tried"
            ),
        )
    label = facts["SecurityModule"]["Label"]
    if label and not label.startswith("unconfined"):
        yield True, f"the security module confines it as {label}"


def _forbids_nesting(seccomp: dict[str, Any]) -> bool:
    """Return whether a filter lets no user namespace be made: unshare(2), clone(2), clone3(2)."""
    free = seccomp["Allowed"]
    return not {"unshare", "clone", "clone3"} & {*free}


def _files(subject: Subject, facts: dict[str, Any]) -> Said:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in facts["Mounts"]:
        kinds.setdefault(each["Kind"], []).append(each)
    masked = kinds.get("masked", ())
    if masked:
        yield True, f"{len(masked)} paths that tell about the machine are hidden"
    else:
        yield False, "no path of /proc and /sys is hidden"
    if any(each["Destination"] == "/proc/sys" for each in kinds.get("read-only", ())):
        yield True, "kernel parameters below /proc/sys cannot be written"
    if "CAP_SYS_ADMIN" in facts["Capabilities"]["Bounding"] and (masked or "read-only" in kinds):
        yield False, "having CAP_SYS_ADMIN, it can undo what is hidden or read-only in its mounts"
    asked = {each["destination"] for each in subject.spec.get("mounts") or ()}
    for each in kinds.get("bind", ()):
        if each["Destination"] in asked:  # else it comes along with one that was
            yield from _bind(each)
    if facts["Root"]["ReadOnly"]:
        yield True, "its root file system is read-only: nothing can be left in it"
    if subject.config.privileged:
        yield False, "it has the host's devices, disks among them"
    devices = facts["ControlGroups"]["Devices"]
    disks = [each for each in devices if each.startswith("b ") and {*each.split()[2]} & {*"rw"}]
    if not facts["ControlGroups"]["Version"]:
        return
    if devices == ["a *:* rwm"]:
        yield False, "its control group allows every device"
    elif disks:
        yield False, f"its control group allows block devices: {', '.join(disks)}"
    else:
        yield True, "its control group lets it open no block device, and few others"


def _bind(mount: dict[str, Any]) -> Said:
    """Say what one directory or file of the host lets it do."""
    source, place = mount["Source"], mount["Destination"]
    if _is_socket(source):
        yield (
            False,
            (
                f"at {place} it can talk to whoever listens at the host's {source}: a container"
                " engine there would make it root of this host"
            ),
        )
        return
    read_only = "ro" in mount["Options"] or "rro" in mount["Options"]
    words = "can read" if read_only else "can change"
    mapped = {"idmapped", "idmap"} & {*mount["Options"]}
    root = ", where its root is as the host's root" if mapped else ""
    yield read_only, f"it {words} the host's {source}, at {place}{root}"
    if "shared:" in mount["Propagation"]:
        yield False, f"what is mounted below {place} appears on the host, too"


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False  # it was removed since


def _limits(facts: dict[str, Any]) -> Said:
    rows = {each["Name"]: each for each in facts["ControlGroups"]["Limits"]}
    told = {
        "memory": "memory: it can use up the machine's",
        "processor time": "processor time: it can keep all processors busy",
        "processes and threads": "processes: it can fill the kernel's table",
    }
    held = [name for name in told if (rows.get(name) or {}).get("Limit") is not None]
    if held:
        yield True, f"limited: {', '.join(held)}"
    for name, words in told.items():
        if name not in held:
            yield False, f"nothing limits its {words}"
