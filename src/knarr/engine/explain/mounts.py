"""What is mounted in its tree, from where, and why."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from knarr.engine.explain import mountinfo
from knarr.engine.explain.words import MOUNTS
from knarr.runtime.steps.devices import DEFAULT_DEVICES

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject

# Why something is mounted.
ROOT, DEFAULT, FILE, BIND, TMPFS = "root", "default", "file", "bind", "tmpfs"
DEVICE, CONSOLE, MASKED, READ_ONLY, OTHER = "device", "console", "masked", "read-only", "other"

_WHY = {
    ROOT: "the image's layers with a writable one above",
    FILE: "a file of knarr's for this container",
    BIND: "asked for: a directory or file of the host",
    TMPFS: "asked for: memory, gone when the container ends",
    DEVICE: "the host's device node: in a user namespace nobody can make one",
    CONSOLE: "the container's terminal",
    MASKED: "hidden: it tells about, or acts on, the whole machine",
    READ_ONLY: "read-only: it acts on the whole machine",
    OTHER: "mounted later: by the container itself or with a shared mount",
}
_CGROUPS = "/sys/fs/cgroup"


def explain(subject: Subject) -> list[dict[str, Any]]:
    """Return ``Mounts`` in the order in which they were made; as planned where none runs."""
    reasons = _reasons(subject)
    if not subject.running:
        return _planned(subject, reasons)
    sources = {each["destination"]: each["source"] for each in subject.spec.get("mounts") or ()}
    found, seen = [], set()
    for each in mountinfo.parse(subject.read("mountinfo")):
        above = _above(each.destination, reasons)
        kind = _kind(each, reasons, above, again=each.destination in seen)
        seen.add(each.destination)
        if kind == BIND and above and above in sources:
            sources[each.destination] = sources[above] + each.destination.removeprefix(above)
        found.append(
            {
                "Destination": each.destination,
                "Type": each.type,
                "Source": _source(each, kind, sources),
                "Options": list(each.options),
                "Settings": list(each.settings),
                "Propagation": ",".join(each.propagation) or "private",
                "Kind": kind,
                "Why": f"comes along with {above}"
                if above and kind != OTHER
                else _why(each.destination, kind),
                "Id": each.number,
                "Device": each.device,
            }
        )
    return found


def _above(destination: str, reasons: dict[str, str]) -> str:
    """Return with what of the host a mount has come along, because it is below; or nothing."""
    above = "/" if destination in reasons else posixpath.dirname(destination)
    while above != "/":
        if reasons.get(above) in (BIND, READ_ONLY):
            return above
        above = posixpath.dirname(above)
    return ""


def _kind(each: mountinfo.Mounted, reasons: dict[str, str], above: str, *, again: bool) -> str:
    """Return why a mount is there. again: something was mounted at the same place before."""
    if each.destination in reasons:
        kind = reasons[each.destination]
        return OTHER if again and kind not in (MASKED, READ_ONLY, BIND) else kind
    if each.destination.startswith(f"{_CGROUPS}/") and each.type.startswith("cgroup"):
        return DEFAULT
    return reasons[above] if above else OTHER


def _source(each: mountinfo.Mounted, kind: str, sources: dict[str, str]) -> str:
    """Return where it comes from: a path of the host for a bind mount, else what the kernel says.

    The kernel tells a bind mount's place in its file system, which is no path of the host.
    """
    if kind in (BIND, FILE):
        return sources.get(each.destination, each.root)
    if kind == DEVICE:
        return each.destination
    return each.source


def _why(destination: str, kind: str) -> str:
    if kind == DEFAULT:
        if destination.startswith(f"{_CGROUPS}/"):
            return "its own control groups in this hierarchy"
        return MOUNTS.get(destination, "Docker's default")
    if kind == FILE:
        return MOUNTS.get(destination, _WHY[FILE])
    return _WHY[kind]


def _reasons(subject: Subject) -> dict[str, str]:
    """Return destination -> why, for all that knarr mounts; what comes last counts."""
    linux, config = subject.linux, subject.config
    entries = subject.spec.get("mounts") or ()
    found = {"/": ROOT, "/dev/console": CONSOLE}
    found |= dict.fromkeys((path for path, _, _ in DEFAULT_DEVICES), DEVICE)
    found |= {each["path"]: DEVICE for each in linux.get("devices") or ()}
    found |= {each.target: DEVICE for each in config.devices}
    found |= {each["destination"]: DEFAULT for each in entries}
    found |= dict.fromkeys(subject.paths.files, FILE)
    found |= {posixpath.normpath(each.target): BIND for each in config.binds}
    found |= {posixpath.normpath(each.target): TMPFS for each in config.tmpfs}
    nodes = f"{subject.paths.data}/"
    for each in entries:
        if each["type"] == "bind" and found[each["destination"]] == DEFAULT:
            # A node that was asked for is made outside, in the container's directory.
            if each["source"].startswith(nodes):
                found[each["destination"]] = DEVICE
    found |= dict.fromkeys(linux.get("readonlyPaths") or (), READ_ONLY)
    found |= dict.fromkeys(linux.get("maskedPaths") or (), MASKED)
    return found


def _planned(subject: Subject, reasons: dict[str, str]) -> list[dict[str, Any]]:
    """Return the mounts that a start makes, as far as the spec has them."""
    found = []
    for each in subject.spec.get("mounts") or ():
        kind = reasons[each["destination"]]
        found.append(_of_spec(each["destination"], each["type"], each["source"], kind,
                              list(each["options"])))  # fmt: skip
    for field, kind in (("readonlyPaths", READ_ONLY), ("maskedPaths", MASKED)):
        for path in subject.linux.get(field) or ():
            found.append(_of_spec(path, "", "", kind, ["ro"]))
    return found


def _of_spec(
    destination: str, type_: str, source: str, kind: str, options: list[str]
) -> dict[str, Any]:
    return {
        "Destination": destination,
        "Type": type_,
        "Source": source,
        "Options": options,
        "Settings": [],
        "Propagation": "",
        "Kind": kind,
        "Why": _why(destination, kind),
        "Id": 0,
        "Device": "",
    }
