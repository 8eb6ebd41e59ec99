"""Endpoints that list: tags, repositories, referrers (end-8 and 12, and the old _catalog).

A list that is long comes in pages; where one ends, a Link header says how to go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from knarr.registryd import catalogue, document, faults, names
from knarr.registryd.faults import Fault
from knarr.registryd.shelf import Shelf
from knarr.web.message import Request, Response

_PAGE = 10_000  # names in one answer at most
_REFERRERS = 1000  # descriptors in one answer at most,
_REFERRERS_BYTES = 3 * 1024 * 1024  # and about so many bytes: clients read 4 MiB


def tags(shelf: Shelf, request: Request, repository: str) -> Response:
    """GET of the tags of a repository, in the order of their bytes."""
    limit = _limit(request)
    with shelf.catalogue.reading() as db:
        number = catalogue.find(db, repository)
        if number is None:
            raise faults.name_unknown(repository)
        rows = db.execute(
            "SELECT name FROM tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
            (number, request.parameter("last") or "", limit + 1),
        ).fetchall()
    return tags_of(request, repository, (row[0] for row in rows))


def tags_of(request: Request, repository: str, found: Iterable[str]) -> Response:
    """Return a page of tags, of which those are wanted that come first."""
    limit = _limit(request)
    some = list(islice(found, limit + 1))
    return _page(request, {"name": repository, "tags": some[:limit]}, some, limit)


def repositories(
    shelf: Shelf, request: Request, may_see: Callable[[str], bool] = lambda _repository: True
) -> Response:
    """GET of the names of all repositories that have a manifest and may be seen."""
    limit = _limit(request)
    with shelf.catalogue.reading() as db:
        rows = db.execute(
            "SELECT name FROM repository WHERE name > ?"
            " AND EXISTS (SELECT 1 FROM manifest WHERE repository = id) ORDER BY name",
            (request.parameter("last") or "",),
        )
        found = list(islice((row[0] for row in rows if may_see(row[0])), limit + 1))
        rows.close()
    return _page(request, {"repositories": found[:limit]}, found, limit)


def _limit(request: Request) -> int:
    """Return how many names the client wants at most. Raises Fault."""
    text = request.parameter("n")
    if text is None:
        return _PAGE
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Fault(400, "UNSUPPORTED", f"n={text[:64]!r}: want a number of names, 0 or more")
    return min(int(text), _PAGE)


def _page(request: Request, content: dict[str, Any], found: list[str], limit: int) -> Response:
    """Return one page of a list, of which one name more than ``limit`` was looked for."""
    headers = [("Content-Type", "application/json")]
    if 0 < limit < len(found):
        headers.append(_link(request, n=str(limit), last=found[limit - 1]))
    return Response(200, headers, json.dumps(content).encode())


def _link(request: Request, **parameters: str) -> tuple[str, str]:
    return "Link", f'<{request.path}?{urlencode(parameters)}>; rel="next"'


def referrers(shelf: Shelf, request: Request, repository: str, text: str) -> Response:
    """GET of the manifests that are about another, as an index; empty rather than 404."""
    digest = names.digest(text)
    wanted = request.parameter("artifactType")
    query = (
        "SELECT digest, media_type, size, artifact_type, annotations FROM manifest"
        " WHERE repository = ? AND subject = ? AND digest > ?"
    )
    with shelf.catalogue.reading() as db:
        values: list[object] = [catalogue.find(db, repository), digest]
        values.append(request.parameter("last") or "")
        if wanted:
            query += " AND artifact_type = ?"
            values.append(wanted)
        rows = db.execute(f"{query} ORDER BY digest LIMIT {_REFERRERS + 1}", values)
        found = _fitting(_referrer(row) for row in rows)
    return _index(request, *found, wanted)


def index(request: Request, found: list[dict[str, object]], wanted: str | None) -> Response:
    """Return a page of referrers, of which those are given that come next, by their digests.

    wanted: their artifact type, when that was asked for.
    """
    return _index(request, *_fitting(found), wanted)


def _index(
    request: Request, shown: list[dict[str, object]], more: bool, wanted: str | None
) -> Response:
    headers = [("Content-Type", document.OCI_INDEX)]
    if more:
        last = {"last": str(shown[-1]["digest"])}
        headers.append(_link(request, **({"artifactType": wanted} if wanted else {}), **last))
    if wanted:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    content = {"schemaVersion": 2, "mediaType": document.OCI_INDEX, "manifests": shown}
    return Response(200, headers, json.dumps(content).encode())


def _referrer(row: tuple[str, str, int, str | None, str | None]) -> dict[str, object]:
    digest, media_type, size, artifact_type, annotations = row
    found: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": size}
    if artifact_type:
        found["artifactType"] = artifact_type
    if annotations:
        found["annotations"] = json.loads(annotations)
    return found


def _fitting(found: Iterable[dict[str, object]]) -> tuple[list[dict[str, object]], bool]:
    """Return as many as one answer holds, at least one if there is any, and whether more follow.

    No more are taken than are needed for that: each can have annotations of megabytes. One that
    no answer can hold is shown without them, or nobody could read the list.
    """
    size = 0
    shown: list[dict[str, object]] = []
    for each in found:
        length = len(json.dumps(each))
        if length > _REFERRERS_BYTES:
            each.pop("annotations", None)
            length = len(json.dumps(each))
        size += length
        if shown and (size > _REFERRERS_BYTES or len(shown) == _REFERRERS):
            return shown, True
        shown.append(each)
    return shown, False
