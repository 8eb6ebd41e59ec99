"""The Range header of RFC 9110, section 14: one range of bytes, as a download is resumed with."""

from __future__ import annotations

import re

# More digits than any file has bytes are no number, however many follow.
_ONE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*\Z", re.IGNORECASE)


class NotSatisfiable(Exception):
    """No byte of the range exists: 416."""


def parse(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (offset, count) of what a Range header asks of ``size`` bytes.

    None when everything is to be sent: no header, another unit, several ranges, no syntax
    (14.2: a server may ignore the header). Raises NotSatisfiable.
    """
    if header is None:
        return None
    found = _ONE.match(header)
    if found is None or found.group(1) == found.group(2) == "":
        return None
    first, last = found.groups()
    if first == "":
        count = min(int(last), size)
        if count == 0:
            raise NotSatisfiable
        return size - count, count
    offset = int(first)
    end = size if last == "" else min(int(last) + 1, size)
    if offset >= end:
        raise NotSatisfiable  # also last before first, which clients take for a refusal
    return offset, end - offset
