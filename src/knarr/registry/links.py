"""``Link: </v2/…>; rel="next"`` (RFC 8288): where a list goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LINK = re.compile(r"<([^<>]{1,8192})>((?:\s*;[^,<]*)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"[^\"]*\bnext\b[^\"]*\"|next\b)", re.IGNORECASE)


def next_page(headers: Iterable[str]) -> str | None:
    """Return the target of the link called ``next``, None without one."""
    for header in headers:
        for target, parameters in _LINK.findall(header):
            if _NEXT.search(parameters):
                return str(target)
    return None
