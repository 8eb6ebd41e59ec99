"""Ports of containers that run: all of them for a firewall that is made anew, and one's moved.

What leads where stands in undo files, written before it is so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from knarr.engine import acts
from knarr.engine.ports import plan
from knarr.runtime import portmap
from knarr.supervisor import undo

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.paths import Paths

Binding = dict[str, Any]
_OPERATION = "ports"


def bindings(settings: Settings) -> list[Binding]:
    """Return what all containers publish, are about to, or have just ceased to. Raises OSError."""
    return [each for run_dir in acts.run_dirs(settings) for each in _of(run_dir)]


def _of(run_dir: str) -> list[Binding]:
    """Return the bindings that were made for a container last."""
    made = acts.of(run_dir, _OPERATION)
    return made[-1]["bindings"] if made else []


def move(paths: Paths, table: str, attachments: Iterable[Mapping[str, Any]]) -> None:
    """Have a running container's ports lead to where its default routes are now.

    They stay the same at the host; without an address there they lead nowhere. The caller
    holds the container's lock. Raises OSError.
    """
    before = _of(paths.run)
    at = plan.addresses(attachments) or plan.Addresses("", "")
    found = [(each, at.ipv6 if ":" in each["host_ip"] else at.ipv4) for each in _taken(paths.run)]
    after = [{**each, "ip": ip} for each, ip in found if ip]
    if before == after:
        return
    record = undo.Undo(paths.run)
    try:
        record.add(_OPERATION, {"table": table, "bindings": after})
        portmap.publish(table, after)
    finally:
        record.close()
    portmap.unpublish(table, [each for each in before if each not in after])


def let_go(paths: Paths, table: str, addresses: Collection[str]) -> None:
    """Have nothing lead to addresses that a container is about to lose. Raises OSError."""
    portmap.unpublish(table, [each for each in _of(paths.run) if each["ip"] in addresses])


def _taken(run_dir: str) -> list[Binding]:
    """Return the bindings with which a container was started: all that are kept for it."""
    records = undo.pending(run_dir)
    return next((value["bindings"] for name, value in records if name == _OPERATION), [])
