"""Callers that are not the machine's root: what they are, and what is theirs.

Two kinds: an ordinary user, and root of a user namespace, which is how podman without root calls
a runtime. Source of what callers rely on: runc's --rootless and its choice of --root.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Who has called a command that has made itself root of a user namespace (``ownuser``): uid, gid.
caller: "tuple[int, int] | None" = None
_ALL = ["0", "0", "4294967295"]  # the machine's own user namespace maps every id to itself
_YES = ("1", "t", "T", "true", "TRUE", "True")
_NO = ("0", "f", "F", "false", "FALSE", "False")
_AUTO = ("", "auto")
CHOICES = (*_AUTO, *_YES, *_NO)
_USUAL = "/run/knarr-oci"


def is_nested() -> bool:
    """Return whether this process is in a user namespace other than the machine's own."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != _ALL


def is_unprivileged() -> bool:
    """Return whether the caller is an ordinary user, or root of a user namespace."""
    return os.geteuid() != 0 or is_nested()


def has_systemd() -> bool:
    """Return whether systemd is that of the user: an ordinary one, or root of a user namespace.

    In a machine that is itself in a user namespace root has the machine's; then no user's is there.
    """
    if os.geteuid():
        return True
    own = os.environ.get("XDG_RUNTIME_DIR")
    return is_nested() and bool(own) and os.path.exists(f"{own}/systemd/private")


def has_groups() -> bool:
    """Return whether processes here may have supplementary groups (user_namespaces(7))."""
    try:
        with open("/proc/self/setgroups") as file:
            return file.read().strip() != "deny"
    except FileNotFoundError:
        return True  # a kernel without user namespaces


def is_lenient(said: str) -> bool:
    """Return whether a control group that cannot be had is left out. said: one of ``CHOICES``.

    By itself that is so for everybody but the machine's root.
    """
    if said in _AUTO:
        return is_unprivileged()
    return said in _YES


def default_root(env: "Mapping[str, str]") -> str:
    """Return where states are when nobody says: as runc, by XDG_RUNTIME_DIR without root."""
    own = env.get("XDG_RUNTIME_DIR")
    if not own or (os.geteuid() == 0 and (env.get("USER") == "root" or not is_nested())):
        return _USUAL
    return f"{own}/knarr-oci"


def mapped(linux: "dict[str, Any]") -> "dict[str, Any]":
    """Return ``linux`` with id maps as they are from where this process is.

    That is another place than the caller's only where this process has become root: of its own
    namespace, in which 0 is the caller and every other id is itself. A user namespace by path that
    is this process's own is left out: nobody enters where he is.
    """
    spaces = linux.get("namespaces") or ()
    if any(map(_is_own_user, spaces)):
        others = [entry for entry in spaces if not _is_own_user(entry)]
        linux = {**linux, "namespaces": others, "uidMappings": [], "gidMappings": []}
    if caller is None:
        return linux
    made = dict(linux)
    for field, own in zip(("uidMappings", "gidMappings"), caller, strict=True):
        parts = []
        for entry in linux.get(field) or ():
            inside, first, size = entry["containerID"], entry["hostID"], entry["size"]
            for start, count in split(first, size, own):
                host = 0 if start == own else start
                parts.append({"containerID": inside + start - first, "hostID": host, "size": count})
        made[field] = parts
    return made


def _is_own_user(entry: "dict[str, Any]") -> bool:
    if entry.get("type") != "user" or not entry.get("path"):
        return False
    try:
        return os.path.samefile(entry["path"], "/proc/self/ns/user")
    except OSError:
        return False  # whoever enters it says why that cannot be


def split(first: int, size: int, own: int) -> "list[tuple[int, int]]":
    """Return a range of ids as parts of which ``own`` is one by itself: first, and how many."""
    if not first <= own < first + size:
        return [(first, size)]
    parts = [(first, own - first), (own, 1), (own + 1, first + size - own - 1)]
    return [part for part in parts if part[1]]
