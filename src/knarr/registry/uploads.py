"""Uploads: begun, sent whole or in pieces, finished, or taken back.

The first attempt sends the blob in one request, as every registry understands it. When that
is cut off, the upload goes on in pieces from where the registry says it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from knarr.errors import InvalidArchive, KnarrError, Timeout, Unavailable
from knarr.registry import failures
from knarr.registry.endpoint import PUSH
from knarr.registry.session import query
from knarr.registry.transport import Body, Response

if TYPE_CHECKING:
    from knarr.registry.repository import Repository

PIECE = 16 * 1024 * 1024
_MOST_PIECE = 256 * 1024 * 1024
# How often in a row an upload may be asked where it stands without having got further.
_STUCK = 5
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")


@dataclass(frozen=True, slots=True)
class Source:
    """A blob to send: size in bytes, ``open(offset)``, and who is told how much has gone."""

    size: int
    open: Callable[[int], BinaryIO]
    report: Callable[[int], None] | None = None


def mount(
    repository: Repository, digest: str, source_path: str | None, scopes: tuple[str, ...]
) -> str | None:
    """Ask for a blob of another repository; None when it is there now, else an upload begun."""
    path = f"/{repository.path}/blobs/uploads/"
    extra = query(mount=digest, **{"from": source_path} if source_path else {})
    try:
        response = _ask(repository, "POST", path + extra, (201, 202), scopes=scopes)
    except failures.Refused:
        # Not allowed to read there, or a mount that this registry does not understand.
        return _begin(repository)[0]
    if response.status == 201:
        response.start(0)
        return None
    return _location(repository, response)


def push(repository: Repository, digest: str, source: Source, begun: str | None) -> None:
    """Upload a blob; see ``Repository.push_blob``."""
    least = 0
    location = begun
    if location is None:
        location, least = _begin(repository)
    upload = _Upload(repository, digest, source, location, least)
    try:
        upload.run()
    except BaseException:
        upload.take_back()
        raise


class _Upload:
    def __init__(
        self, repository: Repository, digest: str, source: Source, location: str, least: int
    ) -> None:
        self._repository = repository
        self._digest = digest
        self._source = source
        self._location = location
        self._piece = min(max(PIECE, least), _MOST_PIECE)

    def run(self) -> None:
        body = Body(self._source.open, self._source.size, 0, self._source.report)
        try:
            self._finish(body)
        except (Unavailable, Timeout):
            self._resume()

    def take_back(self) -> None:
        """Have the registry drop the upload; it forgets those that nobody goes on with anyway."""
        try:
            _ask(self._repository, "DELETE", self._location, (200, 202, 204, 404)).start(0)
        except (KnarrError, OSError):
            pass

    def _finish(self, body: Body | bytes) -> None:
        separator = "&" if "?" in self._location else "?"
        url = f"{self._location}{separator}digest={quote(self._digest)}"
        headers = {"Content-Type": "application/octet-stream"}
        once = isinstance(body, Body)
        _ask(self._repository, "PUT", url, (201, 204), headers, body, once=once).start(0)

    def _resume(self) -> None:
        """Go on in pieces. An upload that the registry has lost is begun anew, once."""
        try:
            position = self._stands()
        except failures.Missing:
            self._location, least = _begin(self._repository)
            self._piece = min(max(self._piece, least), _MOST_PIECE)
            position = 0
        stuck = 0
        while position < self._source.size:
            try:
                reached = self._send(position)
            except (failures.Refused, Unavailable, Timeout) as error:
                if (
                    isinstance(error, failures.Refused)
                    and error.status not in (408, 416, 429)
                    and (error.status < 500)
                ):
                    raise
                stuck += 1
                if stuck > _STUCK:
                    raise
                position = self._stands()
                continue
            stuck = 0 if reached > position else stuck + 1
            if stuck > _STUCK:
                raise InvalidArchive(f"{self._repository}: the upload does not get any further")
            position = reached
        self._finish(b"")

    def _send(self, position: int) -> int:
        """Send the piece from there and return how far the registry says it has got."""
        end = min(position + self._piece, self._source.size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{position}-{end - 1}",
        }
        body = Body(self._source.open, end, position, self._source.report)
        response = _ask(
            self._repository, "PATCH", self._location, (202, 204), headers, body, once=True
        )
        reached = _reached(response)
        self._location = _location(self._repository, response)
        return end if reached is None else min(reached, self._source.size)

    def _stands(self) -> int:
        response = _ask(self._repository, "GET", self._location, (200, 204))
        reached = _reached(response)
        if response.header("Location"):
            self._location = _location(self._repository, response)
        else:
            response.start(0)
        return min(reached or 0, self._source.size)


def _begin(repository: Repository) -> tuple[str, int]:
    """Begin an upload; return its address and the least size of a piece in bytes."""
    response = _ask(repository, "POST", f"/{repository.path}/blobs/uploads/", (202,))
    least = response.header("OCI-Chunk-Min-Length")
    known = int(least) if least.isascii() and least.isdigit() and len(least) < 12 else 0
    return _location(repository, response), known


def _location(repository: Repository, response: Response) -> str:
    response.start(0)
    return repository.registry.clients(repository.path)[-1].resolve(response)


def _reached(response: Response) -> int | None:
    """Return how many bytes an upload has, by its Range header (``0-N``: both included)."""
    found = _RANGE.fullmatch(response.header("Range").strip())
    # An upload without any bytes is 0-0 as well; what is sent again then is refused with 416
    # by those registries that mean one byte, and these tell where they stand.
    if found is None:
        return None
    last = int(found[1])
    return last + 1 if last else 0


def _ask(
    repository: Repository,
    method: str,
    path: str,
    wanted: tuple[int, ...],
    headers: dict[str, str] | None = None,
    body: Body | bytes | None = None,
    *,
    scopes: tuple[str, ...] | None = None,
    once: bool = False,
) -> Response:
    return repository.registry.request(
        method, path, PUSH, what=f"upload to {repository}", repository=repository.path,
        scopes=repository.pushing if scopes is None else scopes, headers=headers, body=body,
        wanted=wanted, attempts=1 if once else None,
    )  # fmt: skip
