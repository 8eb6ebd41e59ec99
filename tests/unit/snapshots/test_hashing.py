from __future__ import annotations

import io

from knarr.content import digest
from knarr.snapshots.hashing import HashingReader


def test_hashing_reader() -> None:
    seen: list[int] = []
    reader = HashingReader(io.BytesIO(b"x" * 10), "sha512", seen.append)
    while reader.read(4):
        continue
    assert reader.digest == digest.of(b"x" * 10, "sha512")
    assert (reader.count, seen) == (10, [4, 8, 10])
