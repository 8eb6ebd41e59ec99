"""Paths of a configuration that lead into the container's root by the host's name of it. Pure.

runc takes a destination that begins with the root's own path for one below the root, and a source
there for what the root has when the mount's turn comes.
"""

import os

from knarr.runtime.innerbind import InnerBind, MappedInnerBind
from knarr.runtime.steps.mounts import BindMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.runtime.plan import Plan
    from knarr.runtime.steps.base import Step


def inside(rootfs: str, path: str) -> "str | None":
    """Return a path as it is in the root, None for one that is not below ``rootfs``.

    By their texts: both are absolute, and ``rootfs`` is resolved. Where that is the host's own
    root, or none, nothing is below it in this sense.
    """
    path = os.path.normpath(path)
    if rootfs in ("", "/") or not f"{path}/".startswith(f"{rootfs}/"):
        return None
    return path[len(rootfs) :] or "/"


def without_root(config: "dict[str, Any]", rootfs: str) -> "dict[str, Any]":
    """Return a configuration whose destinations begin at the root."""
    mounts = config.get("mounts") or []
    found = [inside(rootfs, entry.get("destination") or "/") for entry in mounts]
    if not any(found):
        return config
    pairs = zip(mounts, found, strict=True)
    return {**config, "mounts": [
        entry if path is None else {**entry, "destination": path} for entry, path in pairs
    ]}  # fmt: skip


def take_from_root(plan: "Plan", rootfs: str, bundle: str) -> None:
    """Have bind mounts of what is in the root take it from there. bundle: of relative sources."""
    plan.steps = tuple([_step(plan, step, rootfs, bundle) for step in plan.steps])


def _step(plan: "Plan", step: "Step", rootfs: str, bundle: str) -> "Step":
    if not isinstance(step, BindMount) or step.index < 0:
        return step
    path = inside(rootfs, os.path.join(bundle, step.source))
    if path is None:
        return step
    mapped = step.options.idmap or step.index in plan.mount_maps
    kind = MappedInnerBind if mapped else InnerBind
    return kind(step.index, step.destination, path, step.options)
