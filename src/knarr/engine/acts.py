"""What was done for running containers, by the undo records of those who did it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from knarr.supervisor import undo

if TYPE_CHECKING:
    from knarr.config import Settings


def run_dirs(settings: Settings) -> list[str]:
    """Return those of all containers that run, are about to, or have just ended. OSError."""
    folder = f"{settings.run_root}/containers"
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except FileNotFoundError:
        return []


def of(run_dir: str, operation: str) -> list[Any]:
    """Return the values of an operation's records, the first one first; OSError."""
    try:
        records = undo.pending(run_dir)
    except (NotADirectoryError, ValueError):
        return []
    return [value for name, value in records if name == operation]
