"""What the tables of eStargz and zstd:chunked layers have in common."""

from __future__ import annotations

import tarfile
from base64 import b64encode

TYPES = {
    tarfile.DIRTYPE: "dir",
    tarfile.REGTYPE: "reg",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_XATTR = "SCHILY.xattr."


def xattrs(member: tarfile.TarInfo) -> dict[str, str]:
    """Return extended attributes as a table has them."""
    return {
        name.removeprefix(_XATTR): b64encode(value.encode("utf-8", "surrogateescape")).decode()
        for name, value in member.pax_headers.items()
        if name.startswith(_XATTR)
    }
