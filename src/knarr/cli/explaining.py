"""An explanation (``Container.explain``) as text: a section for each thing, in plain words."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from knarr.cli import explainparts, human
from knarr.cli.explainsteps import steps
from knarr.config import RUNTIME

Facts = dict[str, Any]
_WIDTH = 110
_WHOSE = {"own": "its own", "host": "the host's"}


def text(facts: Facts, *, colour: bool = False) -> str:
    """Return the whole explanation, ended by a newline. colour: headings stand out (a terminal)."""
    lines = list(_head(facts))
    # It is in most paths, and as long as a line of text may be.
    facts = json.loads(json.dumps(facts).replace(facts["Id"], "ID"))
    parts = (
        ("Process", _process(facts)),
        ("Namespaces: what it can see", _namespaces(facts)),
        ("Id map: who its users are on this host", _ids(facts["IdMap"])),
        ("Root file system: what its / is made of", _root(facts["Root"])),
        ("Mounts: what is in the tree, and why", explainparts.mounts(facts["Mounts"])),
        ("Control groups: what it may use", explainparts.groups(facts["ControlGroups"])),
        ("Capabilities: which parts of root's power it has", _capabilities(facts)),
        ("Seccomp: which system calls it can make", _seccomp(facts["Seccomp"])),
        ("Other confinement", _confinement(facts)),
        ("Network: what it can reach", explainparts.network(facts["Network"])),
        ("What an attacker inside lacks, and what not", _hardening(facts["Hardening"])),
        ("Steps of its start", steps(facts["Start"])),
    )
    for title, body in parts:
        lines += ["", f"\033[1m{title}\033[0m" if colour else title]
        # Whatever stands in names and paths moves no cursor.
        lines += [f"  {human.visible(line)}" for line in body]
    return "".join(f"{line}\n" for line in lines)


def _head(facts: Facts) -> Iterator[str]:
    name, image = facts["Name"], human.visible(facts["Image"])
    if facts["Running"]:
        by = "" if facts["Runtime"] == RUNTIME else f", made by {human.visible(facts['Runtime'])}"
        yield (f"Container {name} of image {image}{by} is process {facts['Process']['Pid']} of this"
               " host. This makes it a container:")  # fmt: skip
    else:
        yield (f"Container {name} of image {image} is not running ({facts['Status']})."
               " Its records say:")  # fmt: skip
    yield f"(In paths, ID stands for {facts['Id']}.)"


def pairs(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield ``words   value`` for each row, the values below each other and wrapped."""
    width = max((len(words) for words, _ in rows), default=0) + 2
    for words, value in rows:
        lines = textwrap.wrap(
            value, _WIDTH - width, break_long_words=False, break_on_hyphens=False
        ) or [""]
        yield f"{words:<{width}}{lines[0]}".rstrip()
        for line in lines[1:]:
            yield " " * width + line


def _process(facts: Facts) -> Iterator[str]:
    process = facts["Process"]
    command = shlex.join(process["Command"])
    rows = [("command", command + (" (below knarr's init)" if process["Init"] else ""))]
    if facts["Running"]:
        inside = " in ".join(str(pid) for pid in process["PidsInside"])
        numbers = f"{process['Pid']} on this host, " + (
            f"{inside} in its own PID namespace" if inside else "and the same inside: it shares the"
            " host's numbers"
        )  # fmt: skip
        rows.insert(0, ("pid", numbers))
        rows.append(("executable", process["Executable"]))
    rows.append(("user", _user(process["User"])))
    rows.append(("directory", process["WorkingDirectory"]))
    if facts["Running"] or process["ExitCode"] is not None:
        rows.append(("started", process["StartedAt"]))
    if process["ExitCode"] is not None:
        rows.append(("ended", f"{process['FinishedAt']}, exit code {process['ExitCode']}"))
    supervisor = process["Supervisor"]
    if supervisor["Pid"]:
        rows.append(("supervisor", (f"{supervisor['Pid']} ({supervisor['Name']}): holds its output,"
                     " writes its log, waits for its end")))  # fmt: skip
    elif facts["Running"]:
        rows.append(("supervisor", "none: it was killed, `knarr recover` gives it another"))
    rows.append(("out of memory", f"score adjusted by {process['OomScoreAdj'] or 0}"))
    yield from pairs(rows)


def _user(user: Facts) -> str:
    asked = f" (asked for: {user['Asked']})" if user["Asked"] else ""
    if user["Uid"] is None and user["HostUid"] is None:
        return (user["Asked"] or "root") + ", looked up when it starts"
    ids = f"{user['Uid']}:{user['Gid']} inside, {user['HostUid']}:{user['HostGid']} on this host"
    groups = ", groups " + " ".join(str(each) for each in user["Groups"]) if user["Groups"] else ""
    return ids + groups + asked


def _namespaces(facts: Facts) -> list[str]:
    rows = [("KIND", "INODE", "HOST'S", "WHOSE", "WHAT IT DECIDES")]
    for each in facts["Namespaces"]:
        whose = _WHOSE.get(each["Of"], f"container {each['Container']}'s")
        shared = [name for name in each["SharedWith"] if name != each["Container"]]
        if shared:
            whose += f", with {', '.join(shared)}"
        inode = str(each["Inode"] or "-")
        rows.append((each["Type"], inode, str(each["HostInode"]), whose, each["Meaning"]))
    return explainparts.table(rows)


def _ids(maps: Facts) -> Iterator[str]:
    if maps["Identity"]:
        yield "none: ids inside are the same on this host, and 0 is root of both"
        return
    for kind in ("Uid", "Gid"):
        for each in maps[kind]:
            last = each["Size"] - 1
            yield (f"{kind.lower()}  {each['Inside']}-{each['Inside'] + last} inside are"
                   f" {each['Host']}-{each['Host'] + last} on this host")  # fmt: skip
    if maps["SetGroups"] == "deny":
        yield "setgroups(2) is denied"


def _root(root: Facts) -> Iterator[str]:
    rows = [("driver", f"{root['Driver']}, {_count(len(root['Layers']), 'layer')} of the image"
             + (", read-only" if root["ReadOnly"] else ", writable"))]  # fmt: skip
    rows.append(("written to", root["Upper"]))
    if root["Work"]:
        rows.append(("work directory", root["Work"]))
    for number, layer in reversed(list(enumerate(reversed(root["Layers"]), 1))):
        size = "" if layer["Size"] is None else f" {human.size(layer['Size'])}"
        origin = f", made by: {layer['CreatedBy']}" if layer["CreatedBy"] else ""
        mounted = f", mounted at {layer['MountedAt']}" if layer["MountedAt"] else ""
        rows.append((f"layer {number}", (f"{layer['Digest'] or 'digest not known'}{size}, "
                     f"{layer['Kind']} {layer['Path']}{mounted}{origin}")))  # fmt: skip
    if root["Options"]:
        rows.append(("mounted", f"{','.join(root['Options'])}; device {root['Device']}"))
        rows.append(("options", ", ".join(root["Settings"])))
    yield from pairs(rows)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _capabilities(facts: Facts) -> Iterator[str]:
    sets = facts["Capabilities"]
    kinds: dict[tuple[str, ...], list[str]] = {}
    for kind in ("Effective", "Permitted", "Bounding", "Inheritable", "Ambient"):
        kinds.setdefault(tuple(sets[kind]), []).append(kind.lower())
    rows = [(", ".join(names), _names(found)) for found, names in kinds.items()]
    default = "just that"
    if sets["Added"] or sets["Dropped"]:
        changes = (("more", sets["Added"]), ("less", sets["Dropped"]))
        default = "; ".join(f"{word}: {_names(found)}" for word, found in changes if found)
    rows.append(("beside Docker's default", default))
    yield from pairs(rows)


def _names(found: Sequence[str]) -> str:
    return " ".join(name.removeprefix("CAP_").lower() for name in found) or "none"


def _seccomp(seccomp: Facts) -> Iterator[str]:
    if seccomp["Mode"] != "filter":
        yield f"{seccomp['Mode']}: any (profile: {seccomp['Profile']})"
        return
    if not seccomp["Instructions"]:
        yield f"profile: {seccomp['Profile']}, of which another OCI runtime made the filter"
        return
    size = f"{seccomp['Instructions']} instructions, {seccomp['Digest']}"
    rows = [("profile", f"{seccomp['Profile']}, compiled to {size}")]
    if seccomp["File"]:
        rows.append(("file", seccomp["File"]))
    counts = [f"{len(seccomp['Allowed'])} pass",
              f"{len(seccomp['Conditional'])} with some arguments only"]  # fmt: skip
    counts += [f"{count} get {answer}" for answer, count in seccomp["Answers"].items()]
    rows.append(("calls", ", ".join(counts)))
    if seccomp["Conditional"]:
        rows.append(("conditional", " ".join(seccomp["Conditional"])))
    rows.append(("denied", " ".join(seccomp["Denied"])))
    yield from pairs(rows)


def _confinement(facts: Facts) -> Iterator[str]:
    module = facts["SecurityModule"]
    active = ", ".join(module["Active"])
    rows = [
        ("no_new_privs", "set: execve gives nothing more" if facts["NoNewPrivileges"]
         else "not set: set-user-ID programs work"),
        ("security module", (module["Label"] or "no label")
         + (f" (the kernel has {active})" if active else "")),
    ]  # fmt: skip
    for each in facts["ResourceLimits"]:
        if each["Asked"] or each["Name"] in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE"):
            soft, hard = ("unlimited" if each[kind] is None else str(each[kind])
                          for kind in ("Soft", "Hard"))  # fmt: skip
            rows.append((each["Name"], f"{soft}, at most {hard} {each['Unit']}".rstrip()))
    yield from pairs(rows)


def _hardening(found: Sequence[Facts]) -> Iterator[str]:
    for each in found:
        lines = textwrap.wrap(each["Text"], _WIDTH - 2, break_on_hyphens=False)
        yield f"{'-' if each['Holds'] else '!'} {lines[0]}"
        for line in lines[1:]:
            yield f"  {line}"
    yield "(- is kept away, ! is not)"
