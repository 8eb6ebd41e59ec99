"""What its ids are on the host: the maps of its user namespace (user_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject

WHOLE = 0xFFFFFFFF


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``IdMap``: how ids inside become ids of the host."""
    if subject.running:
        uid, gid = _read(subject, "uid_map"), _read(subject, "gid_map")
        groups = subject.read("setgroups").strip()
    else:
        uid, gid = _of_spec(subject, "uidMappings"), _of_spec(subject, "gidMappings")
        groups = "allow"
    return {
        "Uid": uid,
        "Gid": gid,
        "SetGroups": groups,
        "Identity": all(
            each["Inside"] == each["Host"] and each["Size"] == WHOLE for each in (*uid, *gid)
        ),
    }


def _read(subject: Subject, name: str) -> list[dict[str, int]]:
    lines = (line.split() for line in subject.read(name).splitlines())
    return [_entry(int(inside), int(host), int(size)) for inside, host, size in lines]


def _of_spec(subject: Subject, field: str) -> list[dict[str, int]]:
    maps = subject.linux.get(field) or ({"containerID": 0, "hostID": 0, "size": WHOLE},)
    return [_entry(each["containerID"], each["hostID"], each["size"]) for each in maps]


def _entry(inside: int, host: int, size: int) -> dict[str, int]:
    return {"Inside": inside, "Host": host, "Size": size}
