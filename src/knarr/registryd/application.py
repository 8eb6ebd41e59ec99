"""From a request to its answer: who may, which endpoint, what an error looks like."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from knarr.registryd import blobs, listings, manifests, names, tokenserver
from knarr.registryd.faults import Fault
from knarr.registryd.gate import TOKEN_PATH, Gate
from knarr.registryd.mirrors import Mirrors
from knarr.registryd.names import Route
from knarr.registryd.shelf import Shelf
from knarr.registryd.upstreams import Copy
from knarr.registryd.webhooks import Webhooks
from knarr.web.message import BadRequest, Request, Response

_log = logging.getLogger(__name__)
_VERSION = ("Docker-Distribution-API-Version", "registry/2.0")
_READING = ("GET", "HEAD")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that may be answered, and what its endpoint works with.

    may_pull: whether the client may pull from a repository beside the one that it asks of.
    may_see: whether it is told of a repository in a list of all.
    """

    shelf: Shelf
    request: Request
    to: Route
    may_pull: Callable[[str], bool] = lambda _repository: True
    may_see: Callable[[str], bool] = lambda _repository: True


Endpoint = Callable[[Visit], Response]

_GETS: dict[str, Endpoint] = {
    "ping": lambda _: Response(200, [("Content-Type", "application/json")], b"{}"),
    "catalog": lambda v: listings.repositories(v.shelf, v.request, v.may_see),
    "tags": lambda v: listings.tags(v.shelf, v.request, v.to.repository),
    "referrers": lambda v: listings.referrers(v.shelf, v.request, v.to.repository, v.to.last),
    "manifest": lambda v: manifests.pull(v.shelf, v.request, v.to.repository, v.to.last),
    "blob": lambda v: blobs.pull(v.shelf, v.request, v.to.repository, v.to.last),
}
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    **{("GET", kind): endpoint for kind, endpoint in _GETS.items()},
    **{("HEAD", kind): endpoint for kind, endpoint in _GETS.items()},
    ("PUT", "manifest"): lambda v: manifests.push(v.shelf, v.request, v.to.repository, v.to.last),
    ("DELETE", "manifest"): lambda v: manifests.delete(v.shelf, v.to.repository, v.to.last),
    ("DELETE", "blob"): lambda v: blobs.delete(v.shelf, v.to.repository, v.to.last),
    ("POST", "uploads"): lambda v: blobs.begin(v.shelf, v.request, v.to.repository, v.may_pull),
    ("GET", "upload"): lambda v: blobs.status(v.shelf, v.to.repository, v.to.last),
    ("PATCH", "upload"): lambda v: blobs.append(v.shelf, v.request, v.to.repository, v.to.last),
    ("PUT", "upload"): lambda v: blobs.finish(v.shelf, v.request, v.to.repository, v.to.last),
    ("DELETE", "upload"): lambda v: blobs.cancel(v.shelf, v.to.repository, v.to.last),
}


@dataclass(frozen=True, slots=True)
class Application:
    """The handler of a registry's web server.

    gate: who may do what; None is everybody everything. read_only: nothing can be pushed or
    deleted. mirrors: what is a copy of another registry's. webhooks: who is told.
    """

    shelf: Shelf
    gate: Gate | None = None
    read_only: bool = False
    mirrors: Mirrors | None = None
    webhooks: Webhooks | None = None

    def __call__(self, request: Request) -> Response:
        """Return the answer to a request."""
        try:
            response = self._answer(request)
        except Fault as fault:
            response = fault.response()
        except BadRequest as error:
            response = Fault(error.status, "UNSUPPORTED", str(error)).response()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            _log.error("%s %s: %s", request.method, request.path, error.strerror)
            response = Fault(507, "UNKNOWN", "the registry's disk is full").response()
        response.headers.append(_VERSION)
        return response

    def _answer(self, request: Request) -> Response:
        visitor = None
        if self.gate is not None:
            if self.gate.tokens is not None and request.path == TOKEN_PATH:
                return tokenserver.answer(self.gate, self.gate.tokens, request)
            visitor = self.gate.enter(request)
            request.user = visitor.user
        to = names.route(request.path)
        if to is None:
            raise Fault(404, "UNSUPPORTED", "there is nothing at this address")
        endpoint = ENDPOINTS.get((request.method, to.kind))
        if endpoint is None or (self.read_only and request.method not in _READING):
            raise self._not_allowed(request.method, to.kind, known=endpoint is not None)
        copy = self._copy(request, to)
        visit = Visit(self.shelf, request, to)
        if self.gate is not None and visitor is not None:
            self.gate.check(visitor, request, to, copy.repository if copy else to.repository)
            visit = Visit(
                self.shelf, request, to,
                partial(self.gate.pulls, visitor), partial(self.gate.lists, visitor),
            )  # fmt: skip
        response = self._copied(copy, request, to) or endpoint(visit)
        if self.webhooks is not None:
            self.webhooks.note(request, to, response)
        return response

    def _copy(self, request: Request, to: Route) -> Copy | None:
        """Return what a repository is a copy of, None when it is none."""
        if self.mirrors is None or to.kind in ("ping", "catalog"):
            return None
        namespace = request.parameter("ns") if _reads(request, to) else None
        return self.mirrors.find(to.repository, namespace)

    def _copied(self, copy: Copy | None, request: Request, to: Route) -> Response | None:
        """Return the answer about a copy of another registry's, None where there is no other."""
        if self.mirrors is None or copy is None:
            return None
        if _reads(request, to):
            return self.mirrors.pull(copy, request, to)
        if request.method != "DELETE" and self.mirrors.belongs(copy):
            raise Fault(
                405, "DENIED", f"{copy.repository} is a copy of {copy.origin}: push to another name"
            )
        return None

    def _not_allowed(self, method: str, kind: str, *, known: bool) -> Fault:
        allowed = [
            each
            for each, of in ENDPOINTS
            if of == kind and (each in _READING or not self.read_only)
        ]
        text = "this registry is read-only" if known else f"{method[:20]} cannot be done here"
        return Fault(405, "UNSUPPORTED", text, headers=[("Allow", ", ".join(allowed))])


def _reads(request: Request, to: Route) -> bool:
    return request.method in _READING and to.kind != "upload"
