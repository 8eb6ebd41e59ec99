"""What a registry refuses, in Docker's words: they name the image and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from knarr.errors import NotFound, Timeout, Unauthorized, Unavailable
from knarr.images.reference import DEFAULT_DOMAIN, Reference
from knarr.registry import failures


@contextlib.contextmanager
def of_pull(reference: Reference) -> Iterator[None]:
    """Raise NotFound or Unauthorized for what a registry refuses of a pull in the block."""
    try:
        yield
    except failures.Refused as error:
        raise _pull_error(error, reference) from error
    except (Timeout, Unavailable) as error:
        raise _about("pull", error, reference) from error


@contextlib.contextmanager
def of_push(reference: Reference) -> Iterator[None]:
    """Raise Unauthorized and the like for what a registry refuses of a push in the block."""
    try:
        yield
    except failures.Refused as error:
        if error.status in (401, 403):
            raise _log_in(error, reference) from error
        raise
    except (Timeout, Unavailable) as error:
        raise _about("push", error, reference) from error


def _about(verb: str, error: Exception, reference: Reference) -> Exception:
    kind = Timeout if isinstance(error, Timeout) else Unavailable
    return kind(f"{verb} {reference.familiar()}: {error}")


def _pull_error(error: failures.Refused, reference: Reference) -> Exception:
    said = error.message or str(error)
    name = reference.familiar_name
    if "DENIED" in error.codes or (error.status == 403 and not error.codes):
        return NotFound(
            f"pull access denied for {name}, repository does not exist or may require"
            f" 'knarr login': {said}"
        )
    if "NAME_UNKNOWN" in error.codes:
        return NotFound(f"repository {name} not found: {said}")
    if "MANIFEST_UNKNOWN" in error.codes or (error.status == 404 and not error.codes):
        return NotFound(f"manifest for {reference.familiar()} not found: {said}")
    return _log_in(error, reference) if error.status == 401 else error


def _log_in(error: failures.Refused, reference: Reference) -> Exception:
    host = "" if reference.domain == DEFAULT_DOMAIN else f" {reference.domain}"
    said = error.message or str(error)
    return Unauthorized(f"{said}: log in with 'knarr login{host}'")
