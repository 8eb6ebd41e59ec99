"""``explain``: what makes one process a container, as a JSON object of plain facts.

Each module looks at one thing and returns one member. What a running process has is read from
the kernel (/proc, the control groups, rtnetlink), never concluded from what was asked for; only
of a container that does not run its records are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.config import RUNTIME
from knarr.engine import host
from knarr.engine.explain import (
    capabilities,
    cgroup,
    filters,
    hardening,
    ids,
    mounts,
    namespaces,
    network,
    process,
    rootfs,
    steps,
)
from knarr.engine.explain.subject import Subject
from knarr.engine.inspect import read_spec
from knarr.engine.state import merged
from knarr.engine.translate import translated

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState

# In the order in which they are told; each takes the subject and returns its member.
_PARTS = (
    ("Process", process.explain),
    ("Namespaces", namespaces.explain),
    ("IdMap", ids.explain),
    ("Root", rootfs.explain),
    ("Mounts", mounts.explain),
    ("ControlGroups", cgroup.explain),
    ("Capabilities", capabilities.explain),
    ("Seccomp", filters.explain),
    ("NoNewPrivileges", process.no_new_privileges),
    ("SecurityModule", process.security_module),
    ("ResourceLimits", process.resource_limits),
    ("Network", network.explain),
)


def explain(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    state: ContainerState,
    *,
    calls: bool = False,
) -> dict[str, Any]:
    """Return everything that makes this container's first process one. Raises what engines do.

    calls: with each system call of its start. One that ends while it is looked at is explained
    as one that does not run.
    """
    with translated(f"container {record.name}: explain"):
        if state.running:
            try:
                found = _explained(Subject(engine, record, paths, state, read_spec(paths)), calls)
            except (FileNotFoundError, ProcessLookupError):
                if host.is_alive(state.pid, state.start_time):
                    raise
            else:
                if host.is_alive(state.pid, state.start_time):
                    return found
            state = merged(record, paths)
        return _explained(Subject(engine, record, paths, state, read_spec(paths)), calls)


def _explained(subject: Subject, calls: bool) -> dict[str, Any]:
    record, state = subject.record, subject.state
    found: dict[str, Any] = {
        "Id": record.id,
        "Name": record.name,
        "Image": record.config.image,
        "ImageId": record.image_id,
        "Runtime": record.config.runtime or RUNTIME,
        "Status": state.status,
        "Running": subject.running,
    }
    for name, part in _PARTS:
        found[name] = part(subject)
    found["Hardening"] = hardening.explain(subject, found)
    found["Start"] = steps.explain(subject, calls=calls)
    return found
