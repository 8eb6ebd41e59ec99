"""Streams out of compressed blobs: gzip, zstd, xz, bzip2 and plain, chosen by magic bytes.

Layers come as one gzip member or many (pigz, eStargz), as one zstd frame or
many with skippable frames between (zstd:chunked). The decoders work in bounded
steps: a few hundred kilobytes of input and at most one megabyte of output at a
time, so that a bomb costs time but no memory, and ``limit`` ends it.
"""

from __future__ import annotations

import bz2
import functools
import importlib
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from knarr.errors import InvalidArchive, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

_INPUT = 256 * 1024
_OUTPUT = 1024 * 1024
_MAGIC_LENGTH = 6
# One zstd frame may ask for a window of this many bytes (as a power of two):
# 128 MiB is what `zstd --ultra -22` writes and what zstd itself accepts unasked.
_ZSTD_WINDOW_LOG_MAX = 27
_XZ_MEMORY = 256 * 1024 * 1024


class _Decoder(Protocol):
    """One member or frame: the interface that lzma, bz2 and zstd decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's (or isal's) decompressobj behind the ``_Decoder`` interface."""

    __slots__ = ("_inner", "_tail")

    def __init__(self) -> None:
        self._inner = _inflater()
        self._tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return not self._tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out: bytes = self._inner.decompress(self._tail + data if self._tail else data, max_length)
        self._tail = self._inner.unconsumed_tail
        return out


def _inflater() -> Any:
    """Return a raw decoder of one gzip member; isal's is about twice as fast as zlib's."""
    try:
        fast = importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib.decompressobj(wbits=31)
    return fast.decompressobj(wbits=31)


@functools.cache  # to look for one that is not there takes as long as to unpack a small chunk
def zstd_module() -> Any:
    """Return the zstd module: the standard library's from Python 3.14, else the backport."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Unsupported("zstd blobs need the package backports.zstd: pip install backports.zstd")


def _zstd_decoder() -> _Decoder:
    module = zstd_module()
    options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    decoder: _Decoder = module.ZstdDecompressor(options=options)
    return decoder


def zstd_start(data: bytes | memoryview, length: int) -> bytes:
    """Return up to ``length`` bytes that the zstd frames in ``data`` begin with.

    For small pieces in memory, where a stream would cost more than the work. Raises
    InvalidArchive for what is none, Unsupported when the zstd package is missing.
    """
    error, found, left = zstd_module().ZstdError, b"", memoryview(data)
    while left and len(found) < length:
        decoder: Any = _zstd_decoder()  # which takes any buffer
        try:
            found += decoder.decompress(left, length - len(found))
        except error as reason:
            raise InvalidArchive(f"the zstd frame is corrupt: {reason}") from None
        if not decoder.eof:
            break
        left = memoryview(decoder.unused_data)
    return found


def _xz_decoder() -> _Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _bzip2_decoder() -> _Decoder:
    return bz2.BZ2Decompressor()


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "zstd": _zstd_decoder,
    "xz": _xz_decoder,
    "bzip2": _bzip2_decoder,
}


def sniff(head: bytes) -> str:
    """Return ``gzip``, ``zstd``, ``xz``, ``bzip2`` or ``plain`` for the first bytes of a stream.

    Six bytes are enough. Magic numbers: RFC 1952 section 2.3.1, RFC 8878
    sections 3.1.1 and 3.1.2 (skippable frames), xz file format section 2.1.1.1; bzip2 has no
    specification but its source: level, then a block (pi in BCD) or the end (its square root).
    """
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd"
    if head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    if head[:6] == b"\xfd7zXZ\x00":
        return "xz"
    if head[:3] == b"BZh" and head[3:4] in b"123456789" and head[4:6] in (b"1A", b"\x17r"):
        return "bzip2"
    return "plain"


class _Over(io.RawIOBase):
    """A readable stream over another, which it closes with itself when it owns it."""

    def __init__(self, source: BinaryIO, close_source: bool) -> None:
        super().__init__()
        self._source = source
        self._close_source = close_source

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed and self._close_source:
            self._source.close()
        super().close()


class _Decompressed(_Over):
    """The concatenated output of all members or frames of a compressed stream."""

    def __init__(
        self, source: BinaryIO, kind: str, label: str, head: bytes, close_source: bool
    ) -> None:
        super().__init__(source, close_source)
        self._kind = kind
        self._label = label
        self._make = _DECODERS[kind]
        self._decoder: _Decoder | None = self._make()
        self._input = head
        self._errors = _decode_errors(kind)

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        while True:
            if self._decoder is None:
                if not self._next_member():
                    return 0
                continue
            out = self._step(min(len(view), _OUTPUT))
            if out:
                view[: len(out)] = out
                return len(out)

    def _step(self, room: int) -> bytes:
        """Return up to room bytes of output; b"" only when more input or a new member is due."""
        decoder = self._decoder
        assert decoder is not None
        data = b""
        if decoder.needs_input:
            data = self._input or self._source.read(_INPUT) or b""
            self._input = b""
            if not data:
                raise InvalidArchive(f"the {self._label} is truncated")
        try:
            out = decoder.decompress(data, room)
        except self._errors as error:
            raise InvalidArchive(f"the {self._label} is corrupt: {error}") from None
        if decoder.eof:
            self._input = decoder.unused_data
            self._decoder = None
        return out

    def _next_member(self) -> bool:
        """Start on the next member; False at the end, where only zero padding may stand."""
        data = self._input
        while len(data) < _MAGIC_LENGTH and (more := self._source.read(_INPUT)):
            data += more
        self._input = data
        if not data:
            return False
        if sniff(data[:_MAGIC_LENGTH]) == self._kind:
            self._decoder = self._make()
            return True
        while data:
            if data.strip(b"\0"):
                raise InvalidArchive(f"garbage stands after the end of the {self._label}")
            data = self._source.read(_INPUT) or b""
        self._input = b""
        return False


def _decode_errors(kind: str) -> tuple[type[Exception], ...]:
    if kind == "gzip":
        errors: list[type[Exception]] = [zlib.error]
        try:
            errors.append(importlib.import_module("isal.isal_zlib").error)
        except ImportError:
            pass  # zlib alone is in use, see _inflater
        return tuple(errors)
    if kind == "zstd":
        return (zstd_module().ZstdError,)
    return (OSError, ValueError) if kind == "bzip2" else (lzma.LZMAError,)


class _Pushback(_Over):
    """A plain stream whose first bytes were already read to look at them."""

    def __init__(self, source: BinaryIO, head: bytes, close_source: bool) -> None:
        super().__init__(source, close_source)
        self._head = head

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._head or self._source.read(len(view)) or b""
        count = min(len(data), len(view))
        view[:count] = data[:count]
        self._head = data[count:]
        return count


class _Limited(io.RawIOBase):
    """A stream that raises once more than ``limit`` bytes have come out of it."""

    def __init__(self, source: io.RawIOBase, label: str, limit: int) -> None:
        super().__init__()
        self._source = source
        self._label = label
        self._limit = limit
        self._left = limit

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._source.readinto(buffer) or 0
        self._left -= count
        if self._left < 0:
            raise InvalidArchive(f"the {self._label} unpacks to more than {self._limit} bytes")
        return count


def open_decompressed(
    fileobj: BinaryIO,
    media_type: str | None = None,
    *,
    limit: int | None = None,
    close_source: bool = True,
) -> BinaryIO:
    """Return a buffered stream of the uncompressed bytes of fileobj.

    The magic bytes decide, as in Docker and podman: media types in the wild are
    wrong now and then, and the digests tell whether the bytes are the right
    ones. media_type only names the blob in errors. limit: at most so many bytes come out.
    Reading raises InvalidArchive for corrupt or truncated input and beyond the
    limit. Closing the result closes fileobj unless close_source is false.
    Raises Unsupported when the zstd package is missing.
    """
    head = b""
    while len(head) < _MAGIC_LENGTH and (more := fileobj.read(_INPUT)):
        head += more
    kind = sniff(head[:_MAGIC_LENGTH])
    label = f"{kind} stream of type {media_type}" if media_type else f"{kind} stream"
    raw: io.RawIOBase
    if kind == "plain":
        raw = _Pushback(fileobj, head, close_source)
    else:
        raw = _Decompressed(fileobj, kind, label, head, close_source)
    if limit is not None:
        raw = _Limited(raw, label, limit)
    return io.BufferedReader(raw, _OUTPUT)
