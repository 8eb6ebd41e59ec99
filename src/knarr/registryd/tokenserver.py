"""``/token``: tokens for clients, by user and password or for nobody in particular.

GET with ``service`` and any number of ``scope``, as the distribution project's "Token
Authentication Specification" has it; POST with ``grant_type=password``, as its "OAuth2 Token
Authentication". Tokens that stand for a password for ever (refresh tokens) are not made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from knarr.registryd import tokens
from knarr.registryd.faults import Fault
from knarr.registryd.gate import Gate
from knarr.registryd.tokens import Tokens
from knarr.web import body
from knarr.web.message import Request, Response

_FORM = 64 * 1024
_FIELDS = 100
_WRONG = "wrong user or password"


def answer(gate: Gate, made: Tokens, request: Request) -> Response:
    """Return the answer to a request for a token. Raises Fault."""
    if request.method == "GET":
        header = request.header("authorization")
        if header is None and not gate.rules.lets_in(""):
            raise _refused("this registry needs a user and a password")
        user = "" if header is None else gate.who(header)
        if user is None:
            raise _refused(_WRONG)
        scopes = request.parameters("scope")
    elif request.method == "POST":
        user, scopes = _form(request, gate.users.check)
    else:
        raise Fault(405, "UNSUPPORTED", "GET or POST a token", headers=[("Allow", "GET, POST")])
    request.user = user
    wanted = tokens.scopes(scopes)
    if wanted is None:
        raise Fault(400, "UNSUPPORTED", "too many scopes for one token")
    text, now = made.make(user, gate.grants(user, wanted))
    content = {
        "token": text,
        "access_token": text,
        "expires_in": made.life,
        "issued_at": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
    }
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Response(200, headers, json.dumps(content).encode())


def _form(request: Request, is_right: Callable[[str, str], bool]) -> tuple[str, list[str]]:
    """Return user and scopes of a form (RFC 6749, 4.3). Raises Fault."""
    data = body.read(request.body, _FORM)
    try:
        fields = parse_qsl((data or b"").decode(), errors="strict", max_num_fields=_FIELDS)
    except ValueError:
        fields = []
    form = dict(fields)
    if form.get("grant_type") != "password":
        raise _oauth("unsupported_grant_type", "only grant_type=password gets a token here")
    user, password = form.get("username", ""), form.get("password", "")
    if not user or "\0" in password or not is_right(user, password):
        raise _refused(_WRONG)
    return user, [value for name, value in fields if name == "scope"]


def _refused(why: str) -> Fault:
    realm = 'Basic realm="knarr registry", charset="UTF-8"'
    return Fault(401, "UNAUTHORIZED", why, headers=[("WWW-Authenticate", realm)])


def _oauth(code: str, why: str) -> Fault:
    """Return an error in the words of OAuth2 (RFC 6749, 5.2), beside those of registries."""
    fault = Fault(400, "UNSUPPORTED", why)
    fault.beside = {"error": code, "error_description": why}
    return fault
