"""Image references by Docker's rules: ``[domain[:port]/]path[:tag][@digest]``.

Grammar and defaults are those of the distribution project's reference
package, which docker, containerd and podman share: without a domain it is
``docker.io``, one path component there belongs to ``library/``, and the tag
is ``latest`` when neither tag nor digest is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from knarr.content import digest as digests
from knarr.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
LEGACY_DEFAULT_DOMAIN = "index.docker.io"
OFFICIAL = "library/"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
TEXT_LIMIT = 1024

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference; ``tag`` is None only when a digest alone was given."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: bool = True) -> Reference:
        """Return the reference that ``text`` names, in full form.

        With ``default_tag`` a name that has neither tag nor digest gets ``latest``.
        Raises InvalidArgument with the reason when Docker would refuse it.
        """
        if not text or len(text) > TEXT_LIMIT:
            raise _invalid(text[:80], "it is empty" if not text else "it is too long")
        if _IDENTIFIER.fullmatch(text):
            raise _invalid(text, "64 hex digits are an image id, not a name")
        rest, at, digest = text.partition("@")
        if at:
            _check(text, digest)
        name, tag = _split_tag(rest)
        if tag is not None and not _TAG.fullmatch(tag):
            raise _invalid(text, f"the tag {tag!r} is not 1 to 128 of A-Z a-z 0-9 _ . -")
        domain, path = _split_domain(name)
        _check_name(text, domain, path)
        if tag is None and not at and default_tag:
            tag = DEFAULT_TAG
        return cls(domain, path, tag, digest or None)

    @property
    def name(self) -> str:
        """The full name without tag and digest: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name as people write it: ``busybox``, ``user/app``, ``ghcr.io/x/y``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        if self.path.startswith(OFFICIAL) and "/" not in self.path.removeprefix(OFFICIAL):
            return self.path.removeprefix(OFFICIAL)
        return self.path

    def familiar(self) -> str:
        """Return the reference as people write it, tag and digest included."""
        return self.familiar_name + self._suffix()

    def __str__(self) -> str:
        """Return the canonical form, the key under which an index keeps it."""
        return self.name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """Return the same name with this tag and no digest. Raises InvalidArgument."""
        if not _TAG.fullmatch(tag):
            raise _invalid(tag, "a tag is 1 to 128 of A-Z a-z 0-9 _ . -")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: str) -> Reference:
        """Return the same name with this digest and no tag. Raises InvalidArgument."""
        digests.parse(digest)
        return replace(self, tag=None, digest=digest)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def _split_tag(rest: str) -> tuple[str, str | None]:
    # A colon after the last slash starts the tag; one before it belongs to a port.
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    return (rest, None) if colon < 0 else (rest[:colon], rest[colon + 1 :])


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, remainder = name.partition("/")
    is_domain = bool(slash) and (
        "." in first or ":" in first or first == "localhost" or first.lower() != first
    )
    domain, path = (first, remainder) if is_domain else (DEFAULT_DOMAIN, name)
    if domain == LEGACY_DEFAULT_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path


def _check_name(text: str, domain: str, path: str) -> None:
    if not _DOMAIN.fullmatch(domain):
        raise _invalid(text, f"{domain!r} is not a host name or host:port")
    if not _PATH.fullmatch(path):
        if path.lower() != path:
            raise _invalid(text, "the name must be lower case")
        reason = "a name is made of a-z 0-9, joined by single . or _, by __ or by -"
        raise _invalid(text, reason)
    if len(domain) + 1 + len(path) > NAME_LIMIT:
        raise _invalid(text, f"the name is longer than {NAME_LIMIT} characters")


def _check(text: str, digest: str) -> None:
    try:
        digests.parse(digest)
    except InvalidArgument as error:
        raise _invalid(text, str(error)) from None


def _invalid(text: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"invalid reference format: {text!r}: {reason}")
