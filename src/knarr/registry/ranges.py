"""A part of a blob, by a request for just that."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import urlsplit

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, Unsupported
from knarr.registry import names
from knarr.registry.endpoint import PULL
from knarr.registry.repository import Repository
from knarr.registry.transport import Unreachable

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


def fetch(
    repository: Repository,
    digest: str,
    offset: int,
    length: int,
    *,
    size: int,
    attempts: int | None = None,
) -> bytes:
    """Return ``length`` bytes of a blob of ``size`` bytes, from ``offset`` on.

    Nothing verifies them, so they are taken only from a server that has proved who it is, or from
    this machine. Raises what the registry refuses, Unsupported where it gives no parts or anybody
    could have sent them, InvalidArchive for another part or size than asked for, Unreachable.
    """
    digests.parse(digest)
    what = f"blob {digest[:19]} of {repository}"
    response = repository.registry.request(
        "GET", f"/{repository.path}/blobs/{digest}", PULL, what=what, repository=repository.path,
        scopes=repository.pulling, headers={"Range": f"bytes={offset}-{offset + length - 1}"},
        wanted=(200, 206), attempts=attempts,
    )  # fmt: skip
    with contextlib.closing(response):
        parts = urlsplit(response.url)
        if parts.scheme != "https" and not names.is_loopback(parts.netloc):
            raise Unsupported(f"{parts.netloc} is asked by plain HTTP, where anybody may answer")
        if response.status != 206:
            raise Unsupported(f"{parts.netloc} gives blobs only as a whole")
        found = _RANGE.fullmatch(response.header("Content-Range").strip())
        if found is None or (int(found[1]), int(found[2])) != (offset, offset + length - 1):
            raise InvalidArchive(f"{what}: the registry sent another part than asked for")
        if found[3] not in ("*", str(size)):
            raise InvalidArchive(f"{what} has {found[3]} bytes, not the {size} announced")
        data = bytearray(length)
        got, view = 0, memoryview(data)
        while got < length:
            count = response.readinto(view[got:])
            if not count:
                raise Unreachable(f"{what}: the connection ended within it")
            got += count
    return bytes(data)
