"""Chain ids: the name of a stack of layers (OCI image spec, ``config.md``, "Layer ChainID")."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """Return the chain id after each layer, bottom first.

    The first is the diff id itself; each next one is the sha256 of the
    chain id below, a blank and the diff id.
    """
    chain: list[str] = []
    for diff_id in diff_ids:
        if chain:
            joined = f"{chain[-1]} {diff_id}".encode()
            chain.append(f"sha256:{hashlib.sha256(joined).hexdigest()}")
        else:
            chain.append(diff_id)
    return chain


def chain_id(diff_ids: Iterable[str]) -> str:
    """Return the chain id of the whole stack, or an empty string when there is no layer."""
    chain = chain_ids(diff_ids)
    return chain[-1] if chain else ""
