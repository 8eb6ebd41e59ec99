"""Its capabilities: the five sets by name, and how they differ from Docker's default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.engine.explain.words import CAPABILITIES
from knarr.spec import capabilities

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject

# Names of the spec -> lines of proc_pid_status(5).
_SETS = {
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``Capabilities``. Added, Dropped: how the bounding set differs from the default.

    The effective set of a process that is not root's is empty, whatever the bounding one is.
    """
    masks = {name: _mask(subject, name, line) for name, line in _SETS.items()}
    default = capabilities.mask(capabilities.DEFAULT)
    bounding = masks["bounding"]
    sets = {name.capitalize(): _named(mask) for name, mask in masks.items()}
    return {
        **sets,
        "Masks": {name.capitalize(): f"{mask:#018x}" for name, mask in masks.items()},
        "Default": _named(default),
        "Added": _named(bounding & ~default),
        "Dropped": _named(default & ~bounding),
        "Meaning": {name: CAPABILITIES.get(name, "") for name in sets["Bounding"]},
    }


def _mask(subject: Subject, name: str, line: str) -> int:
    if subject.running:
        return int(subject.status[line], 16)
    return capabilities.mask((subject.settings.get("capabilities") or {}).get(name) or ())


def _named(mask: int) -> list[str]:
    """Return names, and numbers for those that are newer than our table."""
    newer = range(capabilities.LAST + 1, mask.bit_length())
    return capabilities.from_mask(mask) + [f"CAP_{n}" for n in newer if mask >> n & 1]
