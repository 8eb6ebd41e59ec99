"""Pulls from repositories that are copies of another registry's.

What is here is served from here. A tag is compared with its upstream's at most once a minute, by
a HEAD request, which costs nothing of a pull limit; when the upstream cannot be asked, the copy
is served and a Warning says so. Manifests and blobs come when somebody wants them, and stay.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter

from knarr.content.parts import Part
from knarr.errors import KnarrError, NotFound, Unavailable
from knarr.registry.endpoint import Endpoint
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry, Repository
from knarr.registryd import (
    blobs,
    catalogue,
    document,
    faults,
    listings,
    manifests,
    names,
    upstreams,
)
from knarr.registryd.faults import Fault
from knarr.registryd.fetching import Download, Ended
from knarr.registryd.names import Route
from knarr.registryd.shelf import Shelf
from knarr.registryd.turns import Turns
from knarr.registryd.upstreams import Copy, Upstream
from knarr.web.message import Request, Response

_log = logging.getLogger(__name__)
FRESH = 60.0  # seconds for which a tag is taken to be what it was
# A client waits for us meanwhile, and has patience of its own.
_PATIENCE = Patience(attempts=3, connect=5.0, stall=30.0, total=30.0, most=2.0)
_SILENCE = 30.0  # seconds in which an upstream that did not answer is not asked about copies
_RENEWED = 3600.0  # seconds until it is written down again that a manifest was asked for
_ACCEPT = (
    document.OCI_INDEX,
    document.OCI_MANIFEST,
    document.DOCKER_LIST,
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Origins(Hosts):
    """The configuration of registries without their mirrors: such a mirror may be ourselves."""

    __slots__ = ()

    def endpoints(self, host: str) -> list[Endpoint]:
        """Return the registry itself, with its certificates."""
        return Hosts.endpoints(self, host)[-1:]


class Mirrors:
    """The copies of a registry."""

    def __init__(
        self,
        shelf: Shelf,
        known: tuple[Upstream, ...],
        fresh: float = FRESH,
        *,
        adopting: bool = True,
    ) -> None:
        """adopting: whether a copy takes blobs over that were pushed here.

        Raises InvalidArgument for certificates that cannot be read, OSError.
        """
        self._shelf = shelf
        self._adopting = adopting
        self._known = known
        self._fresh = fresh
        origins = Origins.from_environment(os.environ)
        for each in known:
            origins.endpoints(each.host)  # what is wrong with its files is said now
        self._registries = {
            each.host: Registry(each.host, origins, patience=_PATIENCE) for each in known
        }
        # Only one request asks upstream for the same thing; the others find it here.
        self._turns = Turns()
        self._silent: dict[str, float] = {}
        self._downloads: dict[tuple[str, str], Download] = {}
        self._changed = threading.Lock()

    def close(self) -> None:
        """End all downloads; what came of them stays for the next time."""
        for each in self._registries.values():
            each.close()

    def find(self, repository: str, namespace: str | None) -> Copy | None:
        """Return what a repository is a copy of, None for what was, or can be, pushed here."""
        copy = upstreams.find(self._known, repository, namespace)
        if copy is None:
            return None
        with self._shelf.catalogue.reading() as db:
            row = db.execute(
                "SELECT upstream FROM repository WHERE name = ?", (copy.repository,)
            ).fetchone()
        return None if row is not None and row[0] is None else copy

    def belongs(self, copy: Copy) -> bool:
        """Return whether nothing can be pushed to a repository: it has its upstream's name."""
        if any(each.host == copy.host and each.prefix for each in self._known):
            return True
        with self._shelf.catalogue.reading() as db:
            return catalogue.find(db, copy.repository) is not None

    def pull(self, copy: Copy, request: Request, to: Route) -> Response:
        """Return the answer to a GET or HEAD. Raises Fault."""
        namespace = request.parameter("ns")
        response = self._pull(copy, request, to)
        if namespace is not None:
            response.headers.append(("OCI-Namespace", namespace))
        return response

    def _pull(self, copy: Copy, request: Request, to: Route) -> Response:
        if to.kind == "manifest":
            self._renew(copy, to.last)
            warning = self._refresh(copy, names.existing(copy.repository, to.last))
            response = manifests.pull(self._shelf, request, copy.repository, to.last)
            if warning:
                response.headers.append(("Warning", f'299 - "{warning}"'))
            return response
        if to.kind == "blob":
            return self._blob(copy, request, names.digest(to.last))
        try:
            if to.kind == "tags":
                return listings.tags_of(request, to.repository, self._tags(copy, request))
            wanted = request.parameter("artifactType")
            found = self._of(copy).referrers(names.digest(to.last), wanted)
            last = request.parameter("last") or ""
            found = sorted(
                (each for each in found if each["digest"] > last), key=itemgetter("digest")
            )
            return listings.index(request, found, wanted)
        except KnarrError as error:
            _log.warning("%s: %s", copy.origin, error)
        if to.kind == "tags":
            return listings.tags(self._shelf, request, copy.repository)
        return listings.referrers(self._shelf, request, copy.repository, to.last)

    def _of(self, copy: Copy) -> Repository:
        return self._registries[copy.host].repository(copy.path)

    def _tags(self, copy: Copy, request: Request) -> Iterator[str]:
        return self._of(copy).tags(last=request.parameter("last") or None)

    # --- manifests ------------------------------------------------------------------------------

    def _refresh(self, copy: Copy, reference: str) -> str:
        """Have a manifest here as it is upstream; return a warning when that cannot be asked."""
        with self._turns.of((copy.repository, reference)):
            digest, checked = self._here(copy, reference)
            if digest and (":" in reference or time.time() - checked < self._fresh):
                return ""
            if digest and time.monotonic() < self._silent.get(copy.host, 0.0):
                return _warning(copy)
            try:
                self._bring(copy, reference, digest)
            except KnarrError as error:
                if isinstance(error, Unavailable):
                    self._silent[copy.host] = time.monotonic() + _SILENCE
                if not digest or isinstance(error, NotFound):
                    if digest:
                        self._drop_tag(copy, reference)
                    raise upstreams.fault(error, copy, reference) from None
                _log.warning("%s:%s: %s; served as it was", copy.origin, reference, error)
                return _warning(copy)
            return ""

    def _here(self, copy: Copy, reference: str) -> tuple[str, float]:
        """Return the digest that a reference has here, "" for none, and when it was compared."""
        query = "SELECT digest, pushed FROM tag WHERE repository = ? AND name = ?"
        if ":" in reference:
            query = "SELECT digest, pushed FROM manifest WHERE repository = ? AND digest = ?"
        with self._shelf.catalogue.reading() as db:
            number = catalogue.find(db, copy.repository)
            row = db.execute(query, (number, reference)).fetchone()
        return (row[0], row[1]) if row else ("", 0.0)

    def _bring(self, copy: Copy, reference: str, digest: str) -> None:
        """Get a manifest from upstream, or only learn that it is the same still."""
        there = self._of(copy)
        tags = [] if ":" in reference else [reference]
        if digest:
            head = there.head_manifest(reference, _ACCEPT)
            if head is None:
                raise NotFound(f"{copy.origin}:{reference} is gone")
            if head.digest == digest:
                self._confirm(copy, reference)
                return
        found = there.manifest(reference, _ACCEPT)
        said = document.read(found.body, found.media_type)
        manifests.keep(
            self._shelf, copy.repository, found.digest, found.body, said, tags, upstream=copy.origin
        )

    def _confirm(self, copy: Copy, tag: str) -> None:
        with self._shelf.catalogue.writing() as db:
            db.execute(
                "UPDATE tag SET pushed = ? WHERE name = ? AND repository = ?",
                (time.time(), tag, catalogue.find(db, copy.repository)),
            )

    def _renew(self, copy: Copy, reference: str) -> None:
        """Note that a manifest was asked for by its digest: the collector goes by that."""
        digest, asked = self._here(copy, reference)
        if ":" in reference and digest and time.time() - asked > _RENEWED:
            with self._shelf.catalogue.writing() as db:
                db.execute(
                    "UPDATE manifest SET pushed = ? WHERE digest = ? AND repository = ?",
                    (time.time(), digest, catalogue.find(db, copy.repository)),
                )

    def _drop_tag(self, copy: Copy, tag: str) -> None:
        with self._shelf.catalogue.writing() as db:
            db.execute(
                "DELETE FROM tag WHERE name = ? AND repository = ?",
                (tag, catalogue.find(db, copy.repository)),
            )

    # --- blobs ----------------------------------------------------------------------------------

    def _blob(self, copy: Copy, request: Request, digest: str) -> Response:
        while True:
            if self._has(copy, digest) or self._adopt(copy, digest):
                return blobs.pull(self._shelf, request, copy.repository, digest)
            download = self._download(copy, digest)
            if download is not None:
                # One that has just ended is found here, or else begun anew.
                with suppress(Ended):
                    return blobs.answer(request, digest, download.size, download.part)

    def _has(self, copy: Copy, digest: str) -> bool:
        try:
            blobs.size_of(self._shelf, copy.repository, digest)
        except Fault:
            return False
        return True

    def _adopt(self, copy: Copy, digest: str) -> bool:
        """Take a blob that another repository has, if a manifest of this one names it.

        Not where clients have rights of their own: an upstream can name what it does not have.
        """
        if not self._adopting:
            return False
        with self._shelf.catalogue.writing() as db:
            row = db.execute(
                "SELECT b.size FROM blob AS b JOIN reference AS r ON r.digest = b.digest"
                " JOIN repository ON r.repository = id WHERE b.digest = ? AND name = ?",
                (digest, copy.repository),
            ).fetchone()
            if row is not None:
                blobs.record(db, copy.repository, digest, row[0])
        return row is not None

    def _download(self, copy: Copy, digest: str) -> Download | None:
        """Return the download of a blob, begun if nobody has; None when it has just ended."""
        key = (copy.repository, digest)
        with self._turns.of(key):
            with self._changed:
                running = self._downloads.get(key)
            if running is not None:
                return running
            if self._has(copy, digest):
                return None
            download = self._begin(copy, digest)
            with self._changed:
                self._downloads[key] = download
            threading.Thread(target=self._run, args=(key, download), daemon=True).start()
            return download

    def _begin(self, copy: Copy, digest: str) -> Download:
        def publish(part: Part) -> None:
            with self._shelf.catalogue.writing() as db:
                part.commit()
                catalogue.need(db, copy.repository, copy.origin)
                blobs.record(db, copy.repository, digest, part.size)

        try:
            return Download(self._shelf.store, self._of(copy), digest, publish)
        except NotFound:
            raise faults.blob_unknown(copy.repository, digest) from None
        except KnarrError as error:
            raise upstreams.fault(error, copy, digest) from None

    def _run(self, key: tuple[str, str], download: Download) -> None:
        download.run()
        error = download.error()
        if error is not None:
            _log.warning("blob %s of %s: %s", key[1], key[0], error)
        with self._changed:
            del self._downloads[key]
        download.close()


def _warning(copy: Copy) -> str:
    return f"{copy.host} cannot be asked: this is a copy of an earlier day"
