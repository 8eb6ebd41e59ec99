"""Debian packages as files: one file out of a ``.deb``, without dpkg.

Source: deb(5): an ar(5) archive of ``debian-binary``, ``control.tar*`` and ``data.tar*``.
"""

from __future__ import annotations

import io
from typing import BinaryIO, NamedTuple

from knarr.content.compression import open_decompressed
from knarr.errors import InvalidArchive
from knarr.snapshots.tarentry import FILE
from knarr.snapshots.tarstream import TarReader

_MAGIC = b"!<arch>\n"
_HEADER = 60
_UNPACKED_LIMIT = 512 * 1024 * 1024


class Extracted(NamedTuple):
    """A file of a package: its contents and its time (seconds since 1970)."""

    data: bytes
    mtime: int


def extract(deb: BinaryIO, names: tuple[str, ...]) -> Extracted:
    """Return the first of the files ``names`` (such as ``bin/busybox``) that the package has.

    ``deb`` is seekable. Raises InvalidArchive when it is no package or has none of them.
    """
    with open_decompressed(_data_member(deb), limit=_UNPACKED_LIMIT) as plain:
        reader = TarReader(plain)
        for entry in reader:
            name = entry.name.removeprefix(b"./").decode("utf-8", "replace")
            if name in names and entry.kind == FILE:
                return Extracted(reader.read(_UNPACKED_LIMIT), entry.mtime_ns // 10**9)
    raise InvalidArchive(f"the package has no file {names[0]}")


def _data_member(deb: BinaryIO) -> BinaryIO:
    if deb.read(len(_MAGIC)) != _MAGIC:
        raise InvalidArchive("this is no Debian package: it does not begin as an ar archive")
    while len(header := deb.read(_HEADER)) == _HEADER:
        name = header[:16].rstrip().rstrip(b"/")
        text = header[48:58].strip()
        if header[58:60] != b"`\n" or not text.isdigit():
            raise InvalidArchive("this is no Debian package: an ar header is malformed")
        size = int(text)
        if name.startswith(b"data.tar"):
            if size > _UNPACKED_LIMIT:
                raise InvalidArchive(f"the package holds {size} bytes, which is too much")
            return io.BytesIO(deb.read(size))
        deb.seek(size + size % 2, io.SEEK_CUR)
    raise InvalidArchive("the package has no data.tar")
