"""``docker-credential-NAME get|store|erase``: programs that keep credentials.

The protocol is that of docker-credential-helpers: the server's address or a JSON object on
standard input, an object or a message on standard output.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping

from knarr.errors import InvalidArgument, Unavailable

TOKEN_USER = "<token>"  # noqa: S105 - the name under which an identity token is kept
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND = ("credentials not found", "not found in")
_LIMIT = 1024 * 1024
# Seconds: a helper may ask its user to unlock something.
_PATIENCE = 120


def get(helper: str, server: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return (name, secret) for a server, empty when the helper has none. Raises Unavailable."""
    code, said = _run(helper, "get", server, environ)
    if code:
        if any(words in said.lower() for words in _NOT_FOUND):
            return "", ""
        raise _failed(helper, "get", said)
    try:
        found = json.loads(said)
        return str(found.get("Username") or ""), str(found.get("Secret") or "")
    except (ValueError, AttributeError, RecursionError):
        raise Unavailable(f"credential helper {helper}: its answer is no JSON object") from None


def store(helper: str, server: str, name: str, secret: str, environ: Mapping[str, str]) -> None:
    """Have credentials kept. Raises Unavailable with the helper's reason."""
    entry = json.dumps({"ServerURL": server, "Username": name, "Secret": secret})
    code, said = _run(helper, "store", entry, environ)
    if code:
        raise _failed(helper, "store", said)


def erase(helper: str, server: str, environ: Mapping[str, str]) -> None:
    """Have credentials forgotten; that there are none is fine. Raises Unavailable."""
    code, said = _run(helper, "erase", server, environ)
    if code and not any(words in said.lower() for words in _NOT_FOUND):
        raise _failed(helper, "erase", said)


def _run(helper: str, action: str, text: str, environ: Mapping[str, str]) -> tuple[int, str]:
    if not _NAME.fullmatch(helper):
        raise InvalidArgument(f"credential helper {helper[:40]!r} is no name of a program")
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", action],
            input=text.encode(),
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            env=dict(environ),
        )
    except FileNotFoundError:
        raise Unavailable(
            f"credential helper docker-credential-{helper} is not installed: install it, or take"
            f" it out of Docker's config.json"
        ) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"credential helper {helper} has not ended in {_PATIENCE} s") from None
    except OSError as error:
        raise Unavailable(f"credential helper {helper}: {error.strerror}") from None
    said = done.stdout[:_LIMIT] or (done.stderr[:_LIMIT] if done.returncode else b"")
    return done.returncode, said.decode(errors="replace")


def _failed(helper: str, action: str, said: str) -> Unavailable:
    shown = " ".join(said.split())[:200]
    return Unavailable(f"credential helper {helper} cannot {action}: {shown}")
