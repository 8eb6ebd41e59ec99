"""Digests as the OCI image specification writes them: ``ALGORITHM:HEX``.

Only the two registered algorithms exist here (descriptor.md, "Registered
algorithms"): sha256 and sha512, hex in lower case. Everything that becomes a
file name goes through ``parse`` first, so a digest can never leave its directory.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

ALGORITHMS = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")


def parse(text: str) -> tuple[str, str]:
    """Return (algorithm, hex) of a digest; raises InvalidArgument when it is malformed."""
    if not is_valid(text):
        shown = repr(text)[:200]
        raise InvalidArgument(
            f"digest {shown} is malformed: need sha256: or sha512: and lower-case hex"
        )
    algorithm, _, hexdigest = text.partition(":")
    return algorithm, hexdigest


def is_valid(text: object) -> bool:
    """Return whether text is a well-formed digest (a str) of a known algorithm."""
    return isinstance(text, str) and _DIGEST.match(text) is not None


def hasher(algorithm: str = "sha256") -> Any:
    """Return a new hashlib object of that algorithm; raises InvalidArgument for others."""
    if algorithm not in ALGORITHMS:
        raise InvalidArgument(f"digest algorithm {algorithm!r} is not known: use sha256 or sha512")
    return hashlib.new(algorithm, usedforsecurity=True)


def of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of data."""
    hash_ = hasher(algorithm)
    hash_.update(data)
    return f"{algorithm}:{hash_.hexdigest()}"


def chain_id(parent: str | None, diff_id: str) -> str:
    """Return the chain id of a layer on top of parent (a chain id, or None for the first).

    OCI image spec config.md, "Layer ChainID": the first layer's chain id is its
    diff id; each further one is the digest of both ids joined by a space.
    Raises InvalidArgument for malformed digests.
    """
    algorithm, _ = parse(diff_id)
    if parent is None:
        return diff_id
    parse(parent)
    return of(f"{parent} {diff_id}".encode(), algorithm)


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """Return the chain id of every layer, bottom first, for an image's diff ids."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(chain_id(chain[-1] if chain else None, diff_id))
    return chain
