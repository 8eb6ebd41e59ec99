"""Endpoints of blobs: pull, delete, mount, and the ways to push one.

end-2, 4 to 6, 10, 11, 13 and 14 of the distribution specification.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from knarr.content import digest as digests
from knarr.errors import NotFound
from knarr.registryd import catalogue, faults, names
from knarr.registryd.faults import Fault
from knarr.registryd.shelf import Shelf
from knarr.registryd.uploads import Upload
from knarr.web import ranges
from knarr.web.message import FilePart, Request, Response, Stream

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/[0-9*]{1,18})?\Z")
# A blob that is asked for is kept for the collector's grace from then on. It is written down
# again only when so many seconds have passed.
_RENEWED = 60.0
_DAY = 86400
# Seconds after which an upload that nobody went on with goes when its room is wanted.
_ABANDONED = 600.0


def size_of(shelf: Shelf, repository: str, digest: str) -> int:
    """Return the size of a blob that a repository has, and note that it was asked for."""
    with shelf.catalogue.reading() as db:
        row = _row(db, repository, digest)
    if row is None:
        raise faults.blob_unknown(repository, digest)
    number, size, asked = row
    if time.time() - asked > _RENEWED:
        with shelf.catalogue.writing() as db:
            changed = db.execute(
                "UPDATE blob SET asked = ? WHERE repository = ? AND digest = ?",
                (time.time(), number, digest),
            )
            if changed.rowcount == 0:
                raise faults.blob_unknown(repository, digest)  # collected just now
    return size


def _row(db: sqlite3.Connection, repository: str, digest: str) -> tuple[int, int, float] | None:
    return db.execute(  # type: ignore[no-any-return]
        "SELECT repository, size, asked FROM blob JOIN repository ON repository = repository.id"
        " WHERE name = ? AND digest = ?",
        (repository, digest),
    ).fetchone()


def record(db: sqlite3.Connection, repository: str, digest: str, size: int) -> None:
    """Write down that a repository has a blob."""
    db.execute(
        "INSERT OR REPLACE INTO blob VALUES (?, ?, ?, ?)",
        (catalogue.need(db, repository), digest, size, time.time()),
    )


def pull(shelf: Shelf, request: Request, repository: str, text: str) -> Response:
    """GET or HEAD of a blob, or a range of it."""
    digest = names.digest(text)
    size = size_of(shelf, repository, digest)

    def part(offset: int, count: int) -> FilePart:
        try:
            return FilePart(shelf.store.open(digest), offset, count)
        except NotFound:
            raise Fault(500, "UNKNOWN", f"blob {digest} is lost: push it again") from None

    return answer(request, digest, size, part)


def answer(
    request: Request, digest: str, size: int, part: Callable[[int, int], FilePart | Stream]
) -> Response:
    """Return what a GET or HEAD of a blob is answered with.

    part: makes a body of so many bytes from an offset on.
    """
    tag = f'"{digest}"'
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Docker-Content-Digest", digest),
        ("ETag", tag),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", f"max-age={365 * _DAY}"),
    ]
    if matches(request.header("if-none-match"), tag):
        return Response(304, headers)
    wanted = None if request.method == "HEAD" else _range(request, tag, size)
    if wanted is None:
        return Response(200, headers, part(0, size))
    offset, count = wanted
    headers.append(("Content-Range", f"bytes {offset}-{offset + count - 1}/{size}"))
    return Response(206, headers, part(offset, count))


def matches(header: str | None, tag: str) -> bool:
    """Return whether an If-None-Match header names this entity tag (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    named = [each.strip().removeprefix("W/") for each in header.split(",")]
    return "*" in named or tag in named


def _range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    condition = request.header("if-range")
    if condition is not None and condition.strip() != tag:
        return None
    try:
        return ranges.parse(request.header("range"), size)
    except ranges.NotSatisfiable:
        raise Fault(
            416,
            "SIZE_INVALID",
            f"the blob has {size} bytes, none of them in that range",
            headers=[("Content-Range", f"bytes */{size}")],
        ) from None


def delete(shelf: Shelf, repository: str, text: str) -> Response:
    """DELETE of a blob: the repository has it no more; its bytes go with the next collection."""
    digest = names.digest(text)
    with shelf.catalogue.writing() as db:
        number = catalogue.find(db, repository)
        gone = db.execute(
            "DELETE FROM blob WHERE repository = ? AND digest = ?", (number, digest)
        ).rowcount
    if not gone:
        raise faults.blob_unknown(repository, digest)
    return Response(202)


# --- uploads ------------------------------------------------------------------------------------


def begin(
    shelf: Shelf,
    request: Request,
    repository: str,
    may_pull: Callable[[str], bool] = lambda _repository: True,
) -> Response:
    """POST: mount a blob of another repository, take one whole, or begin an upload.

    may_pull: whether the client may have what another repository has.
    """
    mount = request.parameter("mount")
    if mount is not None:
        digest = names.digest(mount)
        if _mount(shelf, repository, digest, request.parameter("from"), may_pull):
            return _created(repository, digest)
    whole = request.parameter("digest")
    algorithm = request.parameter("digest-algorithm") or "sha256"
    if whole is not None:
        algorithm = digests.parse(names.digest(whole))[0]
    if algorithm not in digests.ALGORITHMS:
        raise Fault(400, "UNSUPPORTED", f"digest algorithm {algorithm[:64]!r}: use sha256, sha512")
    upload = shelf.uploads.begin(repository, algorithm)
    if whole is None:
        return _accepted(repository, upload)
    try:
        upload.append(request.body, None, None, _room(shelf, request, repository, upload))
        # Some clients say the digest already here and bring the bytes later.
        if upload.size == 0 and whole != digests.of(b"", algorithm):
            return _accepted(repository, upload)
        return _finish(shelf, repository, upload, whole)
    except BaseException:
        shelf.uploads.forget(upload)  # its address was never told
        raise


def _mount(
    shelf: Shelf,
    repository: str,
    digest: str,
    source: str | None,
    may_pull: Callable[[str], bool],
) -> bool:
    """Give a repository a blob that another has; return whether one has it.

    source: the repository that it should have; any one when it is not named.
    """
    if source:
        names.repository(source)
    with shelf.catalogue.writing() as db:
        rows = db.execute(
            "SELECT name, size FROM blob JOIN repository ON repository = id WHERE digest = ?",
            (digest,),
        )
        found = (size for name, size in rows if name == (source or name) and may_pull(name))
        size = next(found, None)
        rows.close()
        if size is None:
            return False
        shelf.quotas.check(db, repository, digest, size, shelf.uploads.size)
        record(db, repository, digest, size)
    return True


def _room(shelf: Shelf, request: Request, repository: str, upload: Upload) -> Callable[[int], None]:
    """Return what refuses an upload that grows beyond the room that there is for it.

    Where there is none, uploads that nobody goes on with make some.
    """
    if not shelf.quotas.rules:
        return lambda _size: None
    with shelf.catalogue.reading() as db:
        counting = shelf.quotas.counting(db, repository, request.parameter("digest") or "")

    def check(size: int) -> None:
        for each in counting:
            pattern = each.quota.pattern
            try:
                each.check(size, shelf.uploads.size(pattern, upload))
            except Fault:
                if not shelf.uploads.expire(_ABANDONED, pattern):
                    raise
                each.check(size, shelf.uploads.size(pattern, upload))

    check(upload.size + (request.body.length or 0))
    return check


def status(shelf: Shelf, repository: str, name: str) -> Response:
    """GET of an upload: how far it came."""
    upload = shelf.uploads.find(repository, name)
    return Response(204, _whereabouts(repository, upload))


def cancel(shelf: Shelf, repository: str, name: str) -> Response:
    """DELETE of an upload."""
    shelf.uploads.forget(shelf.uploads.find(repository, name))
    return Response(204)


def append(shelf: Shelf, request: Request, repository: str, name: str) -> Response:
    """PATCH: the next chunk, or a stream of unknown length."""
    upload = shelf.uploads.find(repository, name)
    _take(shelf, upload, request, repository)
    return _accepted(repository, upload)


def finish(shelf: Shelf, request: Request, repository: str, name: str) -> Response:
    """PUT: the last chunk or nothing, and the digest of the whole."""
    upload = shelf.uploads.find(repository, name)
    text = request.parameter("digest")
    if text is None:
        raise Fault(400, "DIGEST_INVALID", "the upload ends with ?digest=DIGEST in its address")
    digest = names.digest(text)
    upload.expect(digests.parse(digest)[0])
    _take(shelf, upload, request, repository)
    return _finish(shelf, repository, upload, digest)


def _take(shelf: Shelf, upload: Upload, request: Request, repository: str) -> None:
    """Add a request's body to an upload, in the place that Content-Range gives it."""
    try:
        first, count = _place(request, upload)
        room = _room(shelf, request, repository, upload)
        upload.append(request.body, first, count, room)
    except Fault as fault:
        if fault.status == 416:
            fault.headers.append(("Location", _address(repository, upload)))
        if fault.status == 413:  # nobody goes on with it, and its bytes would take room from others
            shelf.uploads.forget(upload)
        raise


def _place(request: Request, upload: Upload) -> tuple[int | None, int | None]:
    """Return where a chunk begins and how many bytes it has, where that is told. Raises Fault."""
    text = request.header("content-range")
    if text is None:
        return None, None
    found = _CONTENT_RANGE.match(text.strip())
    if found is None:
        raise Fault(400, "BLOB_UPLOAD_INVALID", f"Content-Range {text[:99]!r}: want N-N")
    first, last = int(found.group(1)), int(found.group(2))
    length = request.body.length
    if first != upload.size:
        raise upload.out_of_order()
    if last < first or (length is not None and length != last - first + 1):
        raise Fault(400, "SIZE_INVALID", f"{length} bytes do not make the range {first}-{last}")
    return first, last - first + 1


def _finish(shelf: Shelf, repository: str, upload: Upload, digest: str) -> Response:
    """Make a blob of an upload, if its bytes have that digest."""
    with upload.sealed():
        found = upload.digest(digests.parse(digest)[0])
        if found != digest:
            shelf.uploads.forget(upload)
            raise Fault(
                400,
                "DIGEST_INVALID",
                f"the {upload.size} bytes that came have digest {found}, not {digest}",
                detail={"digest": digest},
            )
        try:
            upload.sync()
            with shelf.catalogue.writing() as db:
                others = partial(shelf.uploads.size, but=upload)
                shelf.quotas.check(db, repository, digest, upload.size, others)
                shelf.store.adopt(upload.path, digest)
                record(db, repository, digest, upload.size)
        except FileNotFoundError:  # cancelled, or finished by another request
            raise Fault(404, "BLOB_UPLOAD_UNKNOWN", "the upload has been ended") from None
        shelf.uploads.forget(upload)
    return _created(repository, digest)


def _address(repository: str, upload: Upload) -> str:
    return f"/v2/{repository}/blobs/uploads/{upload.name}"


def _whereabouts(repository: str, upload: Upload) -> list[tuple[str, str]]:
    return [
        ("Location", _address(repository, upload)),
        ("Range", upload.range()),
        ("Docker-Upload-UUID", upload.name),
    ]


def _accepted(repository: str, upload: Upload) -> Response:
    return Response(202, _whereabouts(repository, upload))


def _created(repository: str, digest: str) -> Response:
    return Response(
        201,
        [
            ("Location", f"/v2/{repository}/blobs/{quote(digest, safe=':')}"),
            ("Docker-Content-Digest", digest),
        ],
    )
