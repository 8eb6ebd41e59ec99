"""Who a client is, and whether it may do what it wants.

A client shows a password (Basic) or a token that it got for one (``tokenserver.py``). What a user
may do is in the rules as they are now; a token can only hold less. So who loses a right, or goes
from the file of users, has lost it at once and not when the token ends.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from knarr.registryd import access, names, tokens
from knarr.registryd.access import DELETE, PULL, PUSH, Access
from knarr.registryd.faults import Fault
from knarr.registryd.htpasswd import Users
from knarr.registryd.names import Route
from knarr.registryd.tokens import Grants, Tokens
from knarr.registryd.watched import Watched
from knarr.web.message import Request

TOKEN_PATH = "/token"  # noqa: S105 - an address
_READING = ("GET", "HEAD")
# What a Host header can be for it to be put into an address within quotes.
_HOST = re.compile(
    r"[A-Za-z0-9._-]{1,255}(?::[0-9]{1,5})?\Z|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?\Z"
)
_LOGIN = "this registry needs a user and a password"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. user: "" for who has not logged in. grants: what its token holds, None without."""

    user: str
    grants: Grants | None = None

    def holds(self, resource: str, action: str) -> bool:
        """Return whether its token is for that, or there is none that could be for less."""
        return self.grants is None or action in self.grants.get(resource, ())


class Gate:
    """Decides for one registry. Safe for threads."""

    def __init__(
        self, users: Users, rules: Watched[Access] | Access, made: Tokens | None, realm: str | None
    ) -> None:
        """made: tokens, None where only passwords are taken. realm: where they are to be had."""
        self.users = users
        self.tokens = made
        self._rules = rules
        self._realm = realm

    @property
    def rules(self) -> Access:
        """The rules as they are now."""
        return self._rules.now() if isinstance(self._rules, Watched) else self._rules

    def enter(self, request: Request) -> Visitor:
        """Return who asks. Raises Fault for wrong credentials, and for none where none may in."""
        header = request.header("authorization")
        if header is None:
            if self.rules.lets_in(""):
                return Visitor("")
            raise self.challenge(request)
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer" and self.tokens is not None:
            token = self.tokens.read(value.strip())
            if token is None or (token.user and not self.users.has(token.user)):
                raise self.challenge(request, error="invalid_token")
            return Visitor(token.user, token.grants)
        user = self.who(header)
        if user is None:
            raise self.challenge(request)
        return Visitor(user)

    def who(self, header: str) -> str | None:
        """Return the user that a Basic header proves, None when it proves none."""
        pair = basic(header)
        return pair[0] if pair is not None and self.users.check(*pair) else None

    def check(self, visitor: Visitor, request: Request, to: Route, repository: str) -> None:
        """Raise Fault when a visitor may not make this request of a repository."""
        if to.kind == "ping":
            # Clients ask here how to log in, also those who then do not.
            if not visitor.user and visitor.grants is None:
                raise self.challenge(request)
            return
        if to.kind == "catalog":
            if not visitor.holds(tokens.CATALOG, "*"):
                raise self.challenge(request, f"{tokens.CATALOG}:*", "insufficient_scope")
            return
        action = _action(request.method, to.kind)
        scope = f"repository:{repository}:{'pull,push' if action == PUSH else action}"
        if action in self.rules.allowed(visitor.user, repository):
            source = _source(request, to)
            mounts = source and PULL in self.rules.allowed(visitor.user, source)
            holds = visitor.holds(f"repository:{repository}", action)
            if holds and not (mounts and not self.pulls(visitor, source)):
                return
            if mounts:  # with a token for both it need not send what is there
                scope += f" repository:{source}:pull"
        elif visitor.user:
            raise Fault(
                403,
                "DENIED",
                f"{visitor.user} may not {_SAID[action]} {repository} here",
                detail={"name": repository, "action": action},
            )
        error = "insufficient_scope" if visitor.grants is not None else ""
        raise self.challenge(request, scope, error)

    def pulls(self, visitor: Visitor, repository: str) -> bool:
        """Return whether a visitor may pull from a repository beside the one that it asks of."""
        return PULL in self.rules.allowed(visitor.user, repository) and visitor.holds(
            f"repository:{repository}", PULL
        )

    def lists(self, visitor: Visitor, repository: str) -> bool:
        """Return whether a visitor is told that there is a repository."""
        return PULL in self.rules.allowed(visitor.user, repository)

    def grants(self, user: str, wanted: Grants) -> Grants:
        """Return what a token for a user can hold of what it is wanted for."""
        found: Grants = {}
        for resource, actions in wanted.items():
            kind, _, name = resource.partition(":")
            if resource == tokens.CATALOG:
                allowed = frozenset({"*"})
            elif kind == "repository":
                allowed = self.rules.allowed(user, name)
                if "*" in actions:
                    actions = frozenset(access.ACTIONS)
            else:
                continue
            if actions & allowed:
                found[resource] = actions & allowed
        return found

    def challenge(self, request: Request, scope: str = "", error: str = "") -> Fault:
        """Return what somebody is answered with who has to log in, or to get another token."""
        if self.tokens is None:
            said = 'Basic realm="knarr registry", charset="UTF-8"'
        else:
            said = f'Bearer realm="{self._address(request)}",service="{tokens.SERVICE}"'
            for name, value in (("scope", scope), ("error", error)):
                if value:
                    said += f',{name}="{value}"'
        return Fault(401, "UNAUTHORIZED", _LOGIN, headers=[("WWW-Authenticate", said)])

    def _address(self, request: Request) -> str:
        """Return where tokens are to be had: here, by the name that the client has for us."""
        if self._realm is not None:
            return self._realm
        host = request.header("host") or ""
        if _HOST.match(host) is None:
            raise Fault(400, "UNSUPPORTED", "the Host header is no name of this server")
        # Nobody but a proxy before us speaks through a unix socket.
        behind = not request.peer and request.header("x-forwarded-proto") == "https"
        return f"http{'s' if request.secure or behind else ''}://{host}{TOKEN_PATH}"


_SAID = {PULL: "pull from", PUSH: "push to", DELETE: "delete from"}


def _action(method: str, kind: str) -> str:
    if method in _READING and kind != "upload":
        return PULL
    return DELETE if method == "DELETE" and kind != "upload" else PUSH


def _source(request: Request, to: Route) -> str:
    """Return the repository that a blob is to be mounted from, "" for none. Raises Fault."""
    if to.kind != "uploads" or request.parameter("mount") is None:
        return ""
    source = request.parameter("from")
    return names.repository(source) if source else ""


def basic(header: str) -> tuple[str, str] | None:
    """Return user and password of a Basic header (RFC 7617), None when it is none."""
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(coded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon and "\0" not in text else None
