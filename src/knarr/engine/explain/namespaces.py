"""Its namespaces, one by one, beside the host's and those of other containers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from knarr.engine import sharing
from knarr.engine.explain.words import NAMESPACES as WORDS
from knarr.engine.paths import Paths
from knarr.engine.state import merged
from knarr.errors import NotFound
from knarr.kernel.namespaces import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from knarr.engine.explain.subject import Subject

OWN, HOST, CONTAINER = "own", "host", "container"


def explain(subject: Subject) -> list[dict[str, Any]]:
    """Return ``Namespaces``: of each kind that this kernel has, whose it is.

    Of: ``own``, ``host``, or ``container`` with whose. Inode: 0 when it does not run.
    SharedWith: other containers that are in it, as long as they run.
    """
    declared = {each["type"] for each in subject.linux.get("namespaces") or ()}
    joined = {kind: _name(subject, other) for kind, other in _joined(subject).items()}
    kinds = {kind: file for kind, (_, file) in NAMESPACES.items()
             if os.path.exists(f"/proc/self/ns/{file}")}  # fmt: skip
    others = list(_others(subject, kinds.values())) if subject.running else []
    found = []
    for kind, file in kinds.items():
        ours = subject.inode(file, "thread-self")
        inode = subject.inode(file) if subject.running else 0
        is_host = inode == ours if subject.running else kind not in declared
        whose = HOST if is_host else CONTAINER if kind in joined else OWN
        found.append(
            {
                "Type": kind,
                "Inode": inode,
                "HostInode": ours,
                "Of": whose,
                "Container": joined[kind] if whose == CONTAINER else "",
                "SharedWith": [] if is_host else [
                    name for name, inodes in others if inodes.get(file) == inode
                ],
                "Path": subject.proc(f"ns/{file}") if subject.running else "",
                "Meaning": WORDS[kind],
            }
        )  # fmt: skip
    return found


def _joined(subject: Subject) -> dict[str, str]:
    """Return kind -> the container (id) whose namespace is joined."""
    found = sharing.others(subject.config)
    owner = sharing.user_owner(subject.config)
    return found if owner is None else {**found, "user": owner}


def _name(subject: Subject, container: str) -> str:
    try:
        return subject.engine.table.find(container).name
    except NotFound:
        return container  # it has been removed


def _others(subject: Subject, files: Iterable[str]) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the name of each other container that runs, and its namespaces' inodes."""
    for row in subject.engine.table.all():
        if row.id == subject.record.id:
            continue
        state = merged(row, Paths(subject.engine.settings, row.id))
        if not state.running:
            continue
        try:
            yield row.name, {file: subject.inode(file, state.pid) for file in files}
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
