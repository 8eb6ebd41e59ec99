"""The fields of tar headers: numbers, checksum, PAX records and sparse maps.

Formats: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended
Header"; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
Everything is bytes: names in layers need not be UTF-8. All functions raise
InvalidArchive for what the formats do not allow.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from knarr.errors import InvalidArchive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Sparse = list[tuple[int, int]]
    """(offset, length) in bytes of each stretch of data of a sparse file, ascending."""

BLOCK = 512
MAX_SPARSE = 262144  # stretches of data in one file
_MAX_SIZE = 1 << 62
_MAX_SECONDS = 1 << 55
_MAX_RECORD_DIGITS = 20
_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_TEXT_KEYS = frozenset({b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"})


def number(field: bytes, what: str) -> int:
    """Return the value of a numeric header field: octal, or GNU's base-256 when bit 7 is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        # Bit 7 of the first byte is the mark, bit 6 the sign of the 2's complement number.
        value &= (1 << (bits - 1)) - 1
        return value - (1 << (bits - 1)) if value >> (bits - 2) else value
    text = field.strip(b" \0").partition(b"\0")[0]
    if not text:
        return 0
    if not text.isdigit():
        raise InvalidArchive(f"tar header: {what} {text!r} is not an octal number")
    try:
        return int(text, 8)
    except ValueError:
        raise InvalidArchive(f"tar header: {what} {text!r} is not an octal number") from None


def checked_size(value: int, what: str = "size") -> int:
    """Return value when it can be a size in bytes."""
    if not 0 <= value < _MAX_SIZE:
        raise InvalidArchive(f"tar header: {what} {value} is out of range")
    return value


def checked_id(value: int, what: str) -> int:
    """Return value when it can be a user or group id (32 bits, and -1 means none)."""
    if not 0 <= value < 0xFFFFFFFF:
        raise InvalidArchive(f"tar header: {what} {value} is out of range")
    return value


def checked_seconds(value: int) -> int:
    """Return value when it can be a time in seconds since 1970."""
    if not -_MAX_SECONDS < value < _MAX_SECONDS:
        raise InvalidArchive(f"tar header: mtime {value} is out of range")
    return value


def verify_checksum(block: bytes) -> None:
    """Check the header's checksum; sums of signed bytes, as some old tars wrote, are accepted."""
    stored = number(block[148:156], "checksum")
    rest = block[:148] + block[156:]
    unsigned = sum(rest) + 8 * 32
    if stored == unsigned:
        return
    if stored != unsigned - 256 * sum(byte >> 7 for byte in rest):
        raise InvalidArchive("tar header: wrong checksum, this is not a tar or it is damaged")


def text(field: bytes) -> bytes:
    """Return a string field up to its first NUL."""
    return field.partition(b"\0")[0]


def decimal(value: bytes, what: str) -> int:
    """Return a PAX decimal number."""
    digits = value.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > _MAX_RECORD_DIGITS:
        raise InvalidArchive(f"tar extended header: {what} {value[:40]!r} is not a number")
    return int(value)


def pax_time(value: bytes) -> int:
    """Return nanoseconds since 1970 of a PAX time (decimal seconds with a fraction)."""
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    seconds = checked_seconds(decimal(whole, "mtime")) if whole not in {b"", b"-"} else 0
    if fraction and not fraction.isdigit():
        raise InvalidArchive(f"tar extended header: mtime {value[:40]!r} is not a number")
    nanoseconds = int(fraction[:9].ljust(9, b"0")) if fraction else 0
    return seconds * 10**9 + (-nanoseconds if negative else nanoseconds)


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the (keyword, value) records of an extended header in their order."""
    records: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(data):
        if data[position] == 0:
            break  # some writers pad with NULs
        space = data.find(b" ", position, position + _MAX_RECORD_DIGITS)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise InvalidArchive("tar extended header: a record has no length")
        end = position + int(digits)
        if end > len(data) or end <= space + 1 or data[end - 1] != 0x0A:
            raise InvalidArchive("tar extended header: a record has the wrong length")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise InvalidArchive("tar extended header: a record has no keyword")
        if key in _TEXT_KEYS and b"\0" in value:
            raise InvalidArchive(f"tar extended header: NUL in {key.decode()}")
        records.append((key, value))
        position = end
    return records


def pax_xattrs(pax: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the extended attributes named in PAX records (star's and libarchive's spelling)."""
    found: dict[bytes, bytes] = {}
    for key, value in pax.items():
        if key.startswith(_SCHILY):
            found[key[len(_SCHILY) :]] = value
        elif key.startswith(_LIBARCHIVE):
            name = unquote_to_bytes(key[len(_LIBARCHIVE) :])
            try:
                decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error:
                raise InvalidArchive(
                    f"tar extended header: attribute {name[:80]!r} is not base64"
                ) from None
            found.setdefault(name, decoded)
    if any(not name or b"\0" in name for name in found):
        raise InvalidArchive("tar extended header: an extended attribute has no proper name")
    return found


def checked_sparse(pairs: Sequence[tuple[int, int]], real_size: int, stored: int) -> Sparse:
    """Return the sparse map without empty stretches, checked against both sizes in bytes."""
    checked_size(real_size, "real size")
    end = total = 0
    kept: Sparse = []
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > real_size:
            raise InvalidArchive("tar sparse map: stretches overlap or leave the file")
        end = offset + length
        total += length
        if length:
            kept.append((offset, length))
    if total != stored:
        raise InvalidArchive("tar sparse map: does not fit the size of the stored data")
    return kept


def sparse_pairs(numbers: Sequence[int]) -> Sparse:
    """Return offsets and lengths that stand one after the other as pairs."""
    if len(numbers) % 2:
        raise InvalidArchive("tar sparse map: a stretch has no length")
    if len(numbers) // 2 > MAX_SPARSE:
        raise InvalidArchive(f"tar sparse map: more than {MAX_SPARSE} stretches")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def old_sparse(block: bytes, start: int, count: int) -> Sparse:
    """Return the map entries of an old-GNU header or extension block; unused ones are zero."""
    pairs: Sparse = []
    for position in range(start, start + 24 * count, 24):
        entry = block[position : position + 24]
        if not entry.strip(b"\0 "):
            break
        pairs.append((number(entry[:12], "sparse offset"), number(entry[12:], "sparse length")))
    return pairs
