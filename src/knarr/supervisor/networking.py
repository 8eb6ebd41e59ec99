"""What a container's maker does for its networks: interfaces, names, published ports.

Each act has its undo record before it, so that a maker that dies leaves nothing for long.
"""

from knarr.runtime import network, portmap, resolving
from knarr.supervisor import journal
from knarr.supervisor import state as states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.supervisor.undo import Undo


def join(pid: int, request: "dict[str, Any]", undo: "Undo") -> "resolving.Offer | None":
    """Join a container to its networks while its process is at its mounts.

    pid: of its first process. Returns what is to be confirmed before that goes on.
    Raises RuntimeFailure, OSError; what was made is taken back by the records in ``undo``.
    """
    offer = None
    wanted = request.get("network")
    if wanted:
        if "egress" in wanted:
            _limit(wanted["egress"], undo)
        network.attach(pid, wanted["attachments"], undo.add)
        for each in wanted["attachments"]:
            if "joined" in each:
                path, body = each["joined"]
                journal.append(path, body.encode())
        if wanted.get("resolver"):
            offer = _name(pid, request["id"], wanted, undo)
        elif "watched" in wanted:
            _tell(wanted["watched"], pid, request["id"], wanted, undo)
    ports = request.get("ports")
    if ports:
        undo.add("ports", ports)
        portmap.publish(ports["table"], ports["bindings"])
    return offer


def _limit(plan: "dict[str, Any]", undo: "Undo") -> None:
    """See to it that the container will reach what it may, and nothing else."""
    from knarr.runtime import egress

    undo.add("egress", plan)
    egress.allow(plan)


def _name(pid: int, container: str, wanted: "dict[str, Any]", undo: "Undo") -> "resolving.Offer":
    """Have the container found by its names, and its own questions answered."""
    resolver = wanted["resolver"]
    run_root = resolver["run_root"]
    _tell(run_root, pid, container, wanted, undo)
    undo.add("file", resolving.sockets_file(run_root, container))
    packet = {
        **resolver["packet"],
        "container": container,
        "pid": pid,
        "pid_start": states.start_time(pid),
        "networks": [each["network"] for each in wanted["attachments"]],
    }
    with network.Inside(pid) as inside:
        return resolving.offer(run_root, inside.fileno(), packet)


def _tell(run_root: str, pid: int, container: str, wanted: "dict[str, Any]", undo: "Undo") -> None:
    """Tell the resolver, which may not be there yet, what the container's endpoints are."""
    for each in wanted["attachments"]:
        path = resolving.endpoint_file(run_root, each["network"], container)
        undo.add("file", path)
        resolving.write(path, {**each["endpoint"], "pid": pid})
