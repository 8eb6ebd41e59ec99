"""Endpoints of manifests and the tags that stand for them (end-3, 7 and 9)."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass

from knarr.content import digest as digests
from knarr.errors import NotFound
from knarr.registryd import blobs, catalogue, document, faults, names
from knarr.registryd.document import Document
from knarr.registryd.faults import Fault
from knarr.registryd.shelf import Shelf
from knarr.web import body
from knarr.web.message import Request, Response, whole_file

_MOST_TAGS = 100  # in one request


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that a repository has."""

    digest: str
    media_type: str
    size: int


def look_up(shelf: Shelf, repository: str, reference: str) -> Found:
    """Return the manifest that a tag or digest is of. Raises Fault."""
    with shelf.catalogue.reading() as db:
        number = catalogue.find(db, repository)
        if number is None:
            raise faults.name_unknown(repository)
        digest = reference if ":" in reference else tagged(db, number, reference)
        row = db.execute(
            "SELECT digest, media_type, size FROM manifest WHERE repository = ? AND digest = ?",
            (number, digest),
        ).fetchone()
    if row is None:
        raise faults.manifest_unknown(repository, reference)
    return Found(*row)


def tagged(db: sqlite3.Connection, number: int, tag: str) -> str | None:
    """Return the digest that a tag stands for, None when there is no such tag."""
    row = db.execute(
        "SELECT digest FROM tag WHERE repository = ? AND name = ?", (number, tag)
    ).fetchone()
    return None if row is None else str(row[0])


def pull(shelf: Shelf, request: Request, repository: str, text: str) -> Response:
    """GET or HEAD of a manifest: the bytes that were pushed, under their type."""
    found = look_up(shelf, repository, names.existing(repository, text))
    tag = f'"{found.digest}"'
    headers = [
        ("Content-Type", found.media_type),
        ("Docker-Content-Digest", found.digest),
        ("ETag", tag),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if blobs.matches(request.header("if-none-match"), tag):
        return Response(304, headers)
    try:
        return Response(200, headers, whole_file(shelf.store.open(found.digest)))
    except NotFound:
        raise Fault(500, "UNKNOWN", f"manifest {found.digest} is lost: push it again") from None


# --- push ---------------------------------------------------------------------------------------


def push(shelf: Shelf, request: Request, repository: str, text: str) -> Response:
    """PUT of a manifest under a tag, or under its digest and any number of tags."""
    reference = names.reference(text)
    content = body.read(request.body, document.LIMIT)
    if content is None:
        raise Fault(
            413, "MANIFEST_INVALID", f"a manifest has {document.LIMIT} bytes at most, this has more"
        )
    tags = _tags(request, reference)
    digest = _digest(content, reference)
    said = document.read(content, request.header("content-type"))
    keep(shelf, repository, digest, content, said, tags)
    headers = [
        ("Location", f"/v2/{repository}/manifests/{digest}"),
        ("Docker-Content-Digest", digest),
    ]
    if said.subject is not None:
        headers.append(("OCI-Subject", said.subject))
    if ":" in reference:
        headers += [("OCI-Tag", tag) for tag in tags]
    return Response(201, headers)


def _tags(request: Request, reference: str) -> list[str]:
    """Return the tags that a manifest is to have. Raises Fault."""
    if ":" not in reference:
        return [reference]
    tags = list(dict.fromkeys(request.parameters("tag")))
    if len(tags) > _MOST_TAGS:
        raise Fault(414, "UNSUPPORTED", f"{_MOST_TAGS} tags at most go into one request")
    for tag in tags:
        if not names.is_tag(tag):
            raise Fault(400, "MANIFEST_INVALID", f"{tag[:200]!r} is no tag")
    return tags


def _digest(content: bytes, reference: str) -> str:
    """Return the digest of a manifest, which has to be the one in its address if one is there."""
    if ":" not in reference:
        return digests.of(content)
    found = digests.of(content, digests.parse(reference)[0])
    if found != reference:
        raise Fault(
            400,
            "DIGEST_INVALID",
            f"the manifest's bytes have digest {found}, not {reference}",
            detail={"digest": reference},
        )
    return found


def keep(
    shelf: Shelf,
    repository: str,
    digest: str,
    content: bytes,
    said: Document,
    tags: list[str],
    *,
    upstream: str | None = None,
) -> None:
    """Store a manifest and its tags, all or nothing. Raises Fault.

    upstream: whose copy it is; then its blobs come when they are asked for, and tags move as
    they do there.
    """
    with shelf.store.ingest(digest, len(content)) as writer:
        writer.write(content)
        with shelf.catalogue.writing() as db:
            number = catalogue.need(db, repository, upstream)
            if upstream is None:
                _check_blobs(db, number, repository, said)
                _check_tags(db, shelf, number, repository, tags, digest)
                _check_type(db, shelf, number, repository, digest, said.media_type)
                shelf.quotas.check(db, repository, digest, len(content), shelf.uploads.size)
            writer.commit()
            _record(db, number, Found(digest, said.media_type, len(content)), said)
            db.executemany(
                "INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?)",
                [(number, tag, digest, time.time()) for tag in tags],
            )


def _check_tags(
    db: sqlite3.Connection,
    shelf: Shelf,
    number: int,
    repository: str,
    tags: list[str],
    digest: str,
) -> None:
    """Raise Fault for a tag that stands for another manifest and may not move."""
    for tag in tags:
        now = tagged(db, number, tag)
        if now is not None:
            shelf.rules.check_move(repository, tag, now, digest)


def _check_type(
    db: sqlite3.Connection, shelf: Shelf, number: int, repository: str, digest: str, kind: str
) -> None:
    """Raise Fault when a manifest would get another type, and a tag of it may not change."""
    rows = db.execute(
        "SELECT tag.name, media_type FROM tag JOIN manifest USING (repository, digest)"
        " WHERE repository = ? AND digest = ? AND media_type <> ?",
        (number, digest, kind),
    ).fetchall()
    for tag, now in rows:
        if shelf.rules.fixed(repository, tag):
            raise Fault(
                409, "DENIED", f"tag {repository}:{tag} is immutable here, and of type {now}"
            )


def _check_blobs(db: sqlite3.Connection, number: int, repository: str, said: Document) -> None:
    """Raise Fault, naming all of them, for blobs that the repository does not have."""
    missing: list[tuple[str, object]] = []
    for digest, size in said.blobs.items():
        row = db.execute(
            "SELECT size FROM blob WHERE repository = ? AND digest = ?", (number, digest)
        ).fetchone()
        if row is None:
            missing.append((f"repository {repository} has no blob {digest}", {"digest": digest}))
        elif row[0] != size:
            raise Fault(
                400,
                "MANIFEST_INVALID",
                f"the manifest says {size} bytes of blob {digest}, which has {row[0]}",
            )
    if missing:
        raise faults.several(404, "MANIFEST_BLOB_UNKNOWN", missing)


def _record(db: sqlite3.Connection, number: int, found: Found, said: Document) -> None:
    annotations = json.dumps(said.annotations) if said.subject and said.annotations else None
    db.execute(
        "INSERT OR REPLACE INTO manifest VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number, found.digest, found.media_type, found.size,
            said.subject, said.artifact_type, annotations, time.time(),
        ),
    )  # fmt: skip
    db.executemany(
        "INSERT OR IGNORE INTO reference VALUES (?, ?, ?)",
        [(number, found.digest, each) for each in (*said.blobs, *said.others)],
    )


# --- delete -------------------------------------------------------------------------------------


def delete(shelf: Shelf, repository: str, text: str) -> Response:
    """DELETE of a tag, or of a manifest with all its tags."""
    reference = names.existing(repository, text)
    with shelf.catalogue.writing() as db:
        number = catalogue.find(db, repository)
        if number is None:
            raise faults.name_unknown(repository)
        if ":" in reference:
            gone = _delete_manifest(db, shelf, number, repository, reference)
        else:
            shelf_has = tagged(db, number, reference) is not None
            if shelf_has:
                shelf.rules.check_delete(repository, reference)
            gone = shelf_has
            db.execute("DELETE FROM tag WHERE repository = ? AND name = ?", (number, reference))
    if not gone:
        raise faults.manifest_unknown(repository, reference)
    return Response(202)


def _delete_manifest(
    db: sqlite3.Connection, shelf: Shelf, number: int, repository: str, digest: str
) -> bool:
    tags = db.execute(
        "SELECT name FROM tag WHERE repository = ? AND digest = ?", (number, digest)
    ).fetchall()
    for (tag,) in tags:
        shelf.rules.check_delete(repository, tag)
    return forget(db, number, digest)


def forget(db: sqlite3.Connection, number: int, digest: str) -> bool:
    """Take a manifest and its tags out of the catalogue; return whether it was there."""
    db.execute("DELETE FROM tag WHERE repository = ? AND digest = ?", (number, digest))
    db.execute("DELETE FROM reference WHERE repository = ? AND manifest = ?", (number, digest))
    gone = db.execute("DELETE FROM manifest WHERE repository = ? AND digest = ?", (number, digest))
    return gone.rowcount > 0
