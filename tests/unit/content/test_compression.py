from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.content import compression
from knarr.content.compression import open_decompressed, sniff
from knarr.errors import InvalidArchive

zstd = compression.zstd_module()
DATA = os.urandom(200_000) + b"easy" * 400_000
SKIP = b"\x5e\x2a\x4d\x18\x05\x00\x00\x00abcde"


def _zstd_streaming(data: bytes) -> bytes:
    """A frame without its content size, as tools that stream write it."""
    compressor = zstd.ZstdCompressor()
    return bytes(compressor.compress(data) + compressor.flush())


COMPRESS = {
    "gzip": gzip.compress, "zstd": zstd.compress, "xz": lzma.compress, "bzip2": bz2.compress,
}  # fmt: skip
_STARTS = range(0, len(DATA), 70_000)
STREAMS = {
    "plain": DATA,
    "gzip": gzip.compress(DATA),
    "gzip members": b"".join(gzip.compress(DATA[i : i + 70_000]) for i in _STARTS),
    "gzip empty members": gzip.compress(b"") + gzip.compress(DATA) + gzip.compress(b""),
    "gzip padded": gzip.compress(DATA) + bytes(1000),
    "zstd": zstd.compress(DATA),
    "zstd frames": zstd.compress(DATA[:9]) + SKIP + _zstd_streaming(DATA[9:]) + SKIP,
    "zstd skippable first": SKIP + zstd.compress(DATA),
    "xz": lzma.compress(DATA),
    "xz streams": lzma.compress(DATA[:5]) + lzma.compress(DATA[5:]),
    "bzip2": bz2.compress(DATA),
    "bzip2 streams": bz2.compress(DATA[:5]) + bz2.compress(b"") + bz2.compress(DATA[5:]),
}  # fmt: skip


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("step", [None, 777, 1 << 22])
def test_reads_back(kind: str, step: int | None) -> None:
    stream = open_decompressed(io.BytesIO(STREAMS[kind]))
    if step is None:
        assert stream.read() == DATA
        return
    parts = []
    while piece := stream.read(step):
        parts.append(piece)
    assert b"".join(parts) == DATA


class Trickle(io.RawIOBase):
    """One byte at a time, as a socket may give them."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(1)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"hi") * 2, zstd.compress(b"hihi"), b"hihi"],
    ids=["gzip", "zstd", "plain"],
)
def test_source_that_trickles(data: bytes) -> None:
    stream = open_decompressed(Trickle(data))  # type: ignore[arg-type]
    assert stream.read() == b"hihi"


def test_empty_is_plain() -> None:
    assert open_decompressed(io.BytesIO(b"")).read() == b""


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_truncated(kind: str, cut: float) -> None:
    data = STREAMS[kind]
    with pytest.raises(InvalidArchive, match="truncated"):
        open_decompressed(io.BytesIO(data[: int(len(data) * cut)])).read()


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
def test_corrupt(kind: str) -> None:
    data = bytearray(STREAMS[kind])
    if kind == "zstd":  # whose checksum is optional
        data = bytearray(zstd.compress(DATA, options={zstd.CompressionParameter.checksum_flag: 1}))
    for position in range(50, len(data), 997):
        data[position] ^= 0xFF
    with pytest.raises(InvalidArchive):
        open_decompressed(io.BytesIO(bytes(data)), "application/x").read()


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
def test_garbage_behind(kind: str) -> None:
    with pytest.raises(InvalidArchive, match="garbage"):
        open_decompressed(io.BytesIO(STREAMS[kind] + b"garbage")).read()
    with pytest.raises(InvalidArchive, match="garbage"):
        open_decompressed(io.BytesIO(STREAMS[kind] + bytes(600_000) + b"garbage")).read()


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd", "xz", "bzip2"])
def test_limit(kind: str) -> None:
    exact = open_decompressed(io.BytesIO(STREAMS[kind]), limit=len(DATA))
    assert exact.read() == DATA
    with pytest.raises(InvalidArchive, match="more than"):
        open_decompressed(io.BytesIO(STREAMS[kind]), limit=len(DATA) - 1).read()


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
def test_a_bomb_costs_no_memory(kind: str) -> None:
    zeros = bytes(64 << 20)
    bomb = COMPRESS[kind](zeros)
    del zeros
    tracemalloc.start()
    try:
        stream = open_decompressed(io.BytesIO(bomb), limit=48 << 20)
        with pytest.raises(InvalidArchive, match="more than"):
            while stream.read(1 << 20):
                continue
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_closing() -> None:
    source = io.BytesIO(STREAMS["gzip"])
    with open_decompressed(source) as stream:
        stream.read(10)
    assert source.closed
    source = io.BytesIO(STREAMS["gzip"])
    open_decompressed(source, close_source=False).close()
    assert not source.closed


def test_media_type_does_not_decide() -> None:
    stream = open_decompressed(io.BytesIO(STREAMS["zstd"]), "application/x.tar+gzip")
    assert stream.read() == DATA


def test_sniff() -> None:
    assert sniff(b"") == "plain"
    assert sniff(b"\x1f\x8b\x08") == "gzip"
    assert sniff(SKIP) == "zstd"
    assert sniff(zlib.compress(b"x")) == "plain"
    assert sniff(bz2.compress(b"")) == sniff(bz2.compress(b"x")) == "bzip2"
    assert sniff(b"BZh9 is a name") == sniff(b"BZhh1AY&SY") == sniff(b"BZh") == "plain"


def test_zlib_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_inflater", lambda: zlib.decompressobj(wbits=31))
    assert open_decompressed(io.BytesIO(STREAMS["gzip members"])).read() == DATA


@given(st.data())
def test_any_damage_is_an_invalid_archive_or_harmless(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["gzip", "zstd", "xz", "bzip2"]))
    small = COMPRESS[kind](b"hello" * 50)
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    changed += data.draw(st.binary(max_size=20))
    try:
        open_decompressed(io.BytesIO(bytes(changed)), limit=1 << 20).read()
    except InvalidArchive:
        pass
