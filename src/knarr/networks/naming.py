"""What things of ours are called on the host, so that two data roots never meet."""

from __future__ import annotations

import hashlib
import os

from knarr.config import DATA_ROOT


def table(data_root: str) -> str:
    """Return the name of the table of rules of a data root."""
    return "knarr" if data_root == DATA_ROOT else f"knarr-{_short(data_root)}"


def default_bridge(data_root: str) -> str:
    """Return the name of the bridge of the default network."""
    return "knarr0" if data_root == DATA_ROOT else f"knarr-{_short(data_root)}"


def host_interface(container: str, network: str) -> str:
    """Return the name of the end on the host of a container's interface in a network."""
    return f"kn{hashlib.sha256(f'{container}/{network}'.encode()).hexdigest()[:11]}"


def _short(data_root: str) -> str:
    return hashlib.sha256(os.fsencode(os.path.abspath(data_root))).hexdigest()[:8]
