"""Compression of a whole archive: deterministic, without names or times inside."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from knarr.content.compression import zstd_module

COMPRESSIONS = ("gzip", "zstd")
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


def packed(pieces: Iterable[bytes], kind: str | None) -> Iterator[bytes]:
    """Yield the stream compressed with ``gzip`` or ``zstd``, or as it is for None.

    Raises Unsupported when the zstd package is missing.
    """
    if kind is None:
        yield from pieces
        return
    # wbits 31: zlib's own gzip header, whose time is zero and which has no file name.
    compressor: Any = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    if kind == "zstd":
        compressor = zstd_module().ZstdCompressor(level=_ZSTD_LEVEL)
    for piece in pieces:
        if out := compressor.compress(piece):
            yield out
    yield compressor.flush()
