"""The system call filter of a configuration, compiled once for all who ask for the same.

And the agent that a filter asks, where it has the action SCMP_ACT_NOTIFY.
"""

import os

from knarr.errors import InvalidArgument
from knarr.kernel import plainjson
from knarr.oci.sockets import connect
from knarr.oci.state import SECCOMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.kernel.seccomp import FilterProgram
    from knarr.runtime.seccomp.listener import Listener

_NOTIFY = "SCMP_ACT_NOTIFY"


def filter_of(config: "dict[str, Any]", root: str) -> "FilterProgram | None":
    """Return the filter of linux.seccomp, None without one. Raises InvalidArgument.

    root: where states are; compiled filters are kept there.
    """
    profile = (config.get("linux") or {}).get("seccomp")
    if not profile:
        return None
    from knarr.kernel.libc import MACHINE
    from knarr.kernel.seccomp import FilterProgram
    from knarr.runtime.seccomp.cache import Cache

    try:
        cache = Cache(os.path.join(root, SECCOMP))
        return FilterProgram(cache.program(profile, MACHINE))
    except ValueError as error:
        raise InvalidArgument(f"linux.seccomp: {error}") from error


def notifies(config: "dict[str, Any]") -> bool:
    """Return whether the filter asks an agent. Raises InvalidArgument when there is none."""
    profile = (config.get("linux") or {}).get("seccomp") or {}
    if profile.get("listenerMetadata") and not profile.get("listenerPath"):
        raise InvalidArgument("linux.seccomp.listenerMetadata: needs listenerPath")
    if not any(entry.get("action") == _NOTIFY for entry in profile.get("syscalls") or ()):
        return False
    if not profile.get("listenerPath"):
        raise InvalidArgument(f"linux.seccomp.listenerPath: is missing, {_NOTIFY} needs it")
    return True


def listener_of(config: "dict[str, Any]", state: "dict[str, Any]", *, first: bool) -> "Listener":
    """Return the connection to the agent, with what it is told. Raises InvalidArgument.

    state: of the container. first: it is the container's first process that loads the filter.
    Source: config-linux.md, "The Container Process State".
    """
    from knarr.runtime.seccomp.listener import Listener

    profile = config["linux"]["seccomp"]
    mark = os.urandom(8).hex()  # where a pid comes to stand
    told = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": mark}
    if profile.get("listenerMetadata"):
        told["metadata"] = profile["listenerMetadata"]
    told["state"] = {**state, "pid": mark} if first else state
    parts = plainjson.dumps(told).encode().split(b'"%b"' % mark.encode())
    sock = connect(profile["listenerPath"], "linux.seccomp.listenerPath:")
    return Listener(sock.detach(), tuple(parts))
