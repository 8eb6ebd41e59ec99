"""Short-lived tokens: JSON Web Tokens with HS256, made and checked here and nowhere else.

Their claims are those of the distribution project's "Docker Registry v2 authentication via
central service" (JWT, ``access``). The key lies beside the catalogue, so that a push goes on
when the registry is started again; whoever deletes it ends all tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from knarr.content import durable

SERVICE = "knarr-registry"
LIFE = 300  # seconds
_KEY_SIZE = 32
_HEADER = b'{"alg":"HS256","typ":"JWT"}'
_LONGEST = 32 * 1024
# What clients may ask for at once: a push names the repositories that it mounts from.
_MOST_SCOPES = 50

Grants = dict[str, frozenset[str]]
CATALOG = "registry:catalog"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. user: "" for who has not logged in. grants: actions by resource."""

    user: str
    grants: Grants


class Tokens:
    """Makes tokens and reads them."""

    def __init__(self, path: str, life: int = LIFE, now: Callable[[], float] = time.time) -> None:
        """path: of the key, made where it is missing. life: of a token, in seconds.

        Raises OSError.
        """
        self.life = life
        self._now = now
        self._key = _key(path)
        self._start = _coded(_HEADER) + b"."

    def make(self, user: str, grants: Grants) -> tuple[str, int]:
        """Return a token and when it was made, in seconds of the epoch."""
        now = int(self._now())
        claims = {
            "iss": SERVICE, "aud": SERVICE, "sub": user, "iat": now, "nbf": now,
            "exp": now + self.life, "jti": secrets.token_hex(8),
            "access": [_access(resource, actions) for resource, actions in grants.items()],
        }  # fmt: skip
        signed = self._start + _coded(json.dumps(claims, separators=(",", ":")).encode())
        return (signed + b"." + self._signature(signed)).decode(), now

    def read(self, text: str) -> Token | None:
        """Return what a token says, None for one that is not ours or has ended."""
        data = text.encode(errors="replace")
        signed, _, signature = data.rpartition(b".")
        # The header is ours, byte for byte: what it could say is not for clients to choose.
        if len(data) > _LONGEST or not signed.startswith(self._start):
            return None
        if not hmac.compare_digest(signature, self._signature(signed)):
            return None
        claims: dict[str, Any] = json.loads(_decoded(signed[len(self._start) :]))
        # The clock may have been set back since, by no more than it would take to end.
        if claims["exp"] <= self._now() or claims["nbf"] > self._now() + self.life:
            return None
        grants = {
            f"{each['type']}:{each['name']}": frozenset(each["actions"])
            for each in claims["access"]
        }
        return Token(claims["sub"], grants)

    def _signature(self, signed: bytes) -> bytes:
        return _coded(hmac.new(self._key, signed, hashlib.sha256).digest())


def scopes(texts: Iterable[str]) -> Grants | None:
    """Return the actions that are asked for, by resource; None for too many to be meant.

    A scope is ``repository:NAME:ACTION,…`` or ``registry:catalog:*``; the name may have colons.
    Several may be in one text. What is none is asked for in vain.
    """
    found: Grants = {}
    words = [word for text in texts for word in text.split()]
    if len(words) > _MOST_SCOPES:
        return None
    for word in words:
        resource, _, actions = word.rpartition(":")
        kind, _, name = resource.partition(":")
        if kind and name and actions:
            found[resource] = found.get(resource, frozenset()) | frozenset(actions.split(","))
    return found


def _access(resource: str, actions: frozenset[str]) -> dict[str, Any]:
    kind, _, name = resource.partition(":")
    return {"type": kind, "name": name, "actions": sorted(actions)}


def _key(path: str) -> bytes:
    """Return the key, made when it is missing or was cut short. Raises OSError."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        found = file.read(_KEY_SIZE + 1)
        if len(found) == _KEY_SIZE:
            return found
    made = secrets.token_bytes(_KEY_SIZE)
    before = os.umask(0o077)
    try:
        durable.replace(path, made)
    finally:
        os.umask(before)
    return made


def _coded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
