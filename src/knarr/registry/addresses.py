"""Addresses that servers and images name: where they may send us, and what goes there."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from knarr.errors import InvalidArchive
from knarr.registry import names

LIMIT = 8192
_VISIBLE = re.compile(r"[!-~]+")


def check(address: str, what: str, *, is_open: bool) -> str:
    """Return an address that may be gone to: http or https, a host that can be one.

    what: begins the error. is_open: whether its owner takes plain HTTP; without it only HTTPS
    will do, also since what answers by HTTP is as often this machine's or this network's own.
    Raises InvalidArchive.
    """
    scheme, server = _parts(address)
    if not server:
        raise InvalidArchive(f"{what} to {address[:200]!r}")
    if scheme == "http" and not is_open:
        raise InvalidArchive(f"{what} from HTTPS to plain HTTP, {server}")
    return address


def _parts(address: str) -> tuple[str, str]:
    """Return scheme and server of an address, "" when it is none to go to."""
    if len(address) > LIMIT or _VISIBLE.fullmatch(address) is None:
        return "", ""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and names.is_host(parts.netloc) and parts.port != 0
    except ValueError:  # of urlsplit, and of a port beyond all ports
        return "", ""
    return (parts.scheme, parts.netloc) if good else ("", "")


def join(base: str, address: str, what: str, *, is_open: bool) -> str:
    """Return an address as it is meant on the page ``base``, checked as by ``check``."""
    try:
        target = urljoin(base, address.replace(" ", "%20"))
    except ValueError:
        target = address
    return check(target, what, is_open=is_open)


def keeps_credentials(before: str, after: str) -> bool:
    """Return whether a redirect stays on its server, and by no worse a scheme."""
    old, new = urlsplit(before), urlsplit(after)
    return old.netloc == new.netloc and new.scheme in (old.scheme, "https")
