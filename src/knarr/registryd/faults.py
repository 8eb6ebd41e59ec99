"""Errors of a registry as clients are told them: a status and a body in JSON.

Codes are those of the distribution specification, "Error Codes"; the text is for people, since
docker, podman and skopeo print it.
"""

from __future__ import annotations

import json

from knarr.web.message import Response


class Fault(Exception):
    """A request that is refused: status, code, text, and what else the client should know.

    beside: what the body says beside ``errors``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: object = None,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or []
        self.errors = [_error(code, message, detail)]
        self.beside: dict[str, str] = {}

    def response(self) -> Response:
        """Return the answer."""
        body = json.dumps({"errors": self.errors, **self.beside}).encode() + b"\n"
        headers = [("Content-Type", "application/json"), *self.headers]
        return Response(self.status, headers, body)


def several(status: int, code: str, found: list[tuple[str, object]]) -> Fault:
    """Return a fault with one error for each (message, detail)."""
    fault = Fault(status, code, found[0][0])
    fault.errors = [_error(code, message, detail) for message, detail in found]
    return fault


def name_unknown(repository: str) -> Fault:
    """Return what a repository is answered with that is not there."""
    return Fault(
        404, "NAME_UNKNOWN", f"repository {repository} is not here", detail={"name": repository}
    )


def manifest_unknown(repository: str, reference: str) -> Fault:
    """Return what a tag or digest is answered with that no manifest has."""
    sign = "@" if ":" in reference else ":"
    return Fault(
        404,
        "MANIFEST_UNKNOWN",
        f"there is no manifest {repository}{sign}{reference}",
        detail={"name": repository, "reference": reference},
    )


def blob_unknown(repository: str, digest: str) -> Fault:
    """Return what a blob is answered with that the repository does not have."""
    return Fault(
        404,
        "BLOB_UNKNOWN",
        f"repository {repository} has no blob {digest}",
        detail={"digest": digest},
    )


def digest_invalid(text: str) -> Fault:
    """Return what a malformed digest, or one of an unknown algorithm, is answered with."""
    return Fault(
        400,
        "DIGEST_INVALID",
        f"digest {text[:200]!r} is not one of sha256 or sha512 with lower-case hex",
    )


def _error(code: str, message: str, detail: object) -> dict[str, object]:
    error: dict[str, object] = {"code": code, "message": message}
    if detail is not None:
        error["detail"] = detail
    return error
