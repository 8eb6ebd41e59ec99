"""From a request to its answer: who may, which endpoint, what an error looks like."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass

from knarr.registryd import blobs, listings, manifests, names
from knarr.registryd.faults import Fault
from knarr.registryd.htpasswd import Users
from knarr.registryd.mirrors import Mirrors
from knarr.registryd.names import Route
from knarr.registryd.shelf import Shelf
from knarr.registryd.webhooks import Webhooks
from knarr.web.message import BadRequest, Request, Response

_log = logging.getLogger(__name__)
_VERSION = ("Docker-Distribution-API-Version", "registry/2.0")
_READING = ("GET", "HEAD")
_FULL = (errno.ENOSPC, errno.EDQUOT)

Endpoint = Callable[[Shelf, Request, Route], Response]

_GETS: dict[str, Endpoint] = {
    "ping": lambda _shelf, _request, _to: Response(
        200, [("Content-Type", "application/json")], b"{}"
    ),
    "catalog": lambda shelf, request, _to: listings.repositories(shelf, request),
    "tags": lambda shelf, request, to: listings.tags(shelf, request, to.repository),
    "referrers": lambda shelf, request, to: listings.referrers(
        shelf, request, to.repository, to.last
    ),
    "manifest": lambda shelf, request, to: manifests.pull(shelf, request, to.repository, to.last),
    "blob": lambda shelf, request, to: blobs.pull(shelf, request, to.repository, to.last),
}
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    **{("GET", kind): endpoint for kind, endpoint in _GETS.items()},
    **{("HEAD", kind): endpoint for kind, endpoint in _GETS.items()},
    ("PUT", "manifest"): lambda shelf, request, to: manifests.push(
        shelf, request, to.repository, to.last
    ),
    ("DELETE", "manifest"): lambda shelf, _request, to: manifests.delete(
        shelf, to.repository, to.last
    ),
    ("DELETE", "blob"): lambda shelf, _request, to: blobs.delete(shelf, to.repository, to.last),
    ("POST", "uploads"): lambda shelf, request, to: blobs.begin(shelf, request, to.repository),
    ("GET", "upload"): lambda shelf, _request, to: blobs.status(shelf, to.repository, to.last),
    ("PATCH", "upload"): lambda shelf, request, to: blobs.append(
        shelf, request, to.repository, to.last
    ),
    ("PUT", "upload"): lambda shelf, request, to: blobs.finish(
        shelf, request, to.repository, to.last
    ),
    ("DELETE", "upload"): lambda shelf, _request, to: blobs.cancel(shelf, to.repository, to.last),
}


@dataclass(frozen=True, slots=True)
class Application:
    """The handler of a registry's web server.

    users: who may use it; None is everybody. read_only: nothing can be pushed or deleted.
    mirrors: what is a copy of another registry's. webhooks: who is told.
    """

    shelf: Shelf
    users: Users | None = None
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
        if self.users is not None:
            user = self.users.who(request.header("authorization"))
            if user is None:
                raise Fault(
                    401,
                    "UNAUTHORIZED",
                    "this registry needs a user and a password: log in",
                    headers=[("WWW-Authenticate", 'Basic realm="knarr registry", charset="UTF-8"')],
                )
            request.user = user
        to = names.route(request.path)
        if to is None:
            raise Fault(404, "UNSUPPORTED", "there is nothing at this address")
        endpoint = ENDPOINTS.get((request.method, to.kind))
        if endpoint is None or (self.read_only and request.method not in _READING):
            raise self._not_allowed(request.method, to.kind, known=endpoint is not None)
        response = self._copied(request, to) or endpoint(self.shelf, request, to)
        if self.webhooks is not None:
            self.webhooks.note(request, to, response)
        return response

    def _copied(self, request: Request, to: Route) -> Response | None:
        """Return the answer about a copy of another registry's, None when it is none."""
        if self.mirrors is None or to.kind not in ("manifest", "blob", "tags", "referrers",
                                                    "uploads", "upload"):  # fmt: skip
            return None
        reading = request.method in _READING and to.kind != "upload"
        copy = self.mirrors.find(to.repository, request.parameter("ns") if reading else None)
        if copy is None:
            return None
        if reading:
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
