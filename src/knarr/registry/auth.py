"""From challenges to an Authorization header: Basic, and tokens of a token server.

Source: the distribution project's "Token Authentication Specification" and "OAuth2 Token
Authentication". A name and password ask for a token with GET, an identity token with POST.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from knarr.errors import InvalidArchive
from knarr.registry import addresses, failures
from knarr.registry.challenge import Challenge
from knarr.registry.credentials import Credential
from knarr.registry.endpoint import Endpoint
from knarr.registry.transport import Response

CLIENT = "knarr"
_LIMIT = 1024 * 1024
# A token is used no longer than until so many seconds before its end.
_MARGIN = 5.0
# What a server that does not say means, and the least that is believed: seconds.
_LEAST = 60.0

Send = Callable[[str, str, dict[str, str], bytes | None], Response]


class _Token(NamedTuple):
    value: str
    end: float


class Authorizer:
    """Authorization for one endpoint. Safe for threads.

    credential: called once, when the endpoint asks. send: one request to a token server.
    """

    def __init__(
        self, endpoint: Endpoint, credential: Callable[[], Credential], send: Send
    ) -> None:
        self._endpoint = endpoint
        self._ask = credential
        self._send = send
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[str, _Token] = {}
        # A login asks for a token to keep instead of the password.
        self.offline = False
        self.identity_token = ""

    @property
    def credential(self) -> Credential:
        """Who we are here."""
        if self._credential is None:
            self._credential = self._ask()
        return self._credential

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """Return what is known to be wanted for these scopes without asking, or None.

        A token that is about to end is replaced; errors as ``answer``.
        """
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._basic()
            if self.credential.registry_token:
                return f"Bearer {self.credential.registry_token}"
            token = self._tokens.get(_key(scopes))
            if token is None or time.monotonic() > token.end:
                token = self._fetch(self._challenge, scopes)
            return f"Bearer {token.value}"

    def answer(self, challenges: Iterable[Challenge], scopes: tuple[str, ...]) -> str | None:
        """Return the header that a 401 asked for, None when nothing better can be sent.

        Raises Denied when the token server refuses, InvalidArchive for an answer of it that
        makes no sense, and what sending raises.
        """
        by_scheme = {each.scheme: each for each in reversed(list(challenges))}
        with self._lock:
            bearer = by_scheme.get("bearer")
            if bearer is not None and bearer.parameters.get("realm"):
                self._challenge = bearer
                if self.credential.registry_token:
                    return f"Bearer {self.credential.registry_token}"
                asked = bearer.parameters.get("scope", "").split(" ")
                wanted = _merged((*scopes, *filter(None, asked)))
                token = self._fetch(bearer, wanted)
                self._tokens[_key(scopes)] = token
                return f"Bearer {token.value}"
            if "basic" in by_scheme and self.credential.password:
                self._challenge = by_scheme["basic"]
                return self._basic()
        return None

    def _basic(self) -> str:
        pair = f"{self.credential.username}:{self.credential.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...]) -> _Token:
        realm = challenge.parameters["realm"]
        what = f"{self._endpoint.host}: it sends us for a token"
        addresses.check(realm, what, is_open=self._endpoint.is_open)
        service = challenge.parameters.get("service", "")
        if self.credential.identity_token:
            response = self._refresh(realm, service, scopes)
        else:
            response = self._get(realm, service, scopes)
        token = self._read(response, urlsplit(realm).netloc)
        self._tokens[_key(scopes)] = token
        return token

    def _get(self, realm: str, service: str, scopes: tuple[str, ...]) -> Response:
        query = [("scope", scope) for scope in scopes]
        if service:
            query.insert(0, ("service", service))
        headers = {}
        if self.credential.password:
            query += [("account", self.credential.username), ("client_id", CLIENT)]
            if self.offline:
                query.append(("offline_token", "true"))
            headers["Authorization"] = self._basic()
        url = realm + ("&" if "?" in realm else "?") + urlencode(query) if query else realm
        return self._send("GET", url, headers, None)

    def _refresh(self, realm: str, service: str, scopes: tuple[str, ...]) -> Response:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self.credential.identity_token,
            "service": service,
            "client_id": CLIENT,
            "scope": " ".join(scopes),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", realm, headers, urlencode(form).encode())

    def _read(self, response: Response, server: str) -> _Token:
        if response.status != 200:
            kind, body = response.header("Content-Type"), response.start(failures.DOCUMENT_LIMIT)
            what = f"token server {server}"
            if response.status in (400, 401):  # 400 is what OAuth2 says of a bad token
                refused = failures.from_answer(what, 401, kind, body)
                text = str(refused) if refused.codes else f"{what}: unauthorized: {_oauth(body)}"
                raise failures.Denied(text, response.status, refused.codes, refused.message)
            raise failures.from_answer(what, response.status, kind, body)
        try:
            value = json.loads(response.read(_LIMIT, f"answer of token server {server}"))
            token = value.get("token") or value.get("access_token")
            lasting = max(float(value.get("expires_in") or 0), _LEAST)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise InvalidArchive(f"token server {server}: its answer is no token") from None
        if not isinstance(token, str) or not token or not token.isprintable():
            raise InvalidArchive(f"token server {server}: its answer has no token")
        if isinstance(value.get("refresh_token"), str):
            self.identity_token = value["refresh_token"]
        return _Token(token, time.monotonic() + min(lasting, 86400.0) - _MARGIN)


def _oauth(body: bytes) -> str:
    """Return the reason in an OAuth2 error (RFC 6749, 5.2), or Docker's usual words."""
    try:
        value: Any = json.loads(body)
        reason = value.get("error_description") or value.get("details") or value.get("error")
    except (ValueError, AttributeError, RecursionError):
        reason = None
    text = " ".join(str(reason or "authentication required").split())
    return text[:200]


def _key(scopes: tuple[str, ...]) -> str:
    return " ".join(sorted(scopes))


def _merged(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes with the actions on one resource together."""
    found: dict[str, dict[str, None]] = {}
    for scope in scopes:
        resource, _, actions = scope.rpartition(":")
        found.setdefault(resource, {}).update(dict.fromkeys(actions.split(",")))
    return tuple(f"{resource}:{','.join(actions)}" for resource, actions in found.items())
