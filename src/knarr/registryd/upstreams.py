"""Which repositories are copies of other registries' (``--proxy``), and what those say.

``--proxy docker.io`` makes ``docker.io/library/busybox`` here a copy of ``library/busybox``
there, and serves it as well to clients that ask for ``library/busybox`` and say ``ns=docker.io``,
as containerd and knarr ask a mirror. ``NAME=HOST`` gives it another name; with an empty one
every repository is looked for there that was not pushed here, which is what dockerd asks a mirror
of its Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from knarr.errors import InvalidArgument, KnarrError, NotFound, Unavailable
from knarr.registry import names as hosts
from knarr.registry.failures import Denied, Prohibited, Refused
from knarr.registryd import names
from knarr.registryd.faults import Fault, manifest_unknown

_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*\Z")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Another registry, and the first components of its repositories' names here."""

    prefix: str
    host: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A repository here, and where it comes from: ``path`` on ``host``."""

    repository: str
    host: str
    path: str

    @property
    def origin(self) -> str:
        """Return HOST/PATH."""
        return f"{self.host}/{self.path}"


def parse(text: str) -> Upstream:
    """Return what ``[NAME=]HOST[:PORT]`` says. Raises InvalidArgument."""
    name, equals, host = text.rpartition("=")
    hosts.check(host)
    if hosts.is_hub(host):
        host = hosts.HUB
    if not equals:
        name = host
    if name and _NAME.match(name) is None:
        raise InvalidArgument(
            f"--proxy {text}: {name!r} cannot begin a repository's name: use NAME={host}"
        )
    return Upstream(name, host)


def parse_all(texts: tuple[str, ...]) -> tuple[Upstream, ...]:
    """Return several, each under a name of its own. Raises InvalidArgument."""
    found = tuple(parse(text) for text in texts)
    for field in ("prefix", "host"):
        values = [getattr(each, field) for each in found]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InvalidArgument(f"--proxy: {twice!r} is there twice")
    return found


def find(upstreams: tuple[Upstream, ...], repository: str, namespace: str | None) -> Copy | None:
    """Return what a repository is a copy of by its name, None when by that it is none.

    namespace: the registry that the client means (``ns``).
    """
    if namespace is not None:
        if hosts.is_hub(namespace):
            namespace = hosts.HUB
        for each in upstreams:
            if each.host == namespace:
                return _copy(each, repository)
        return None
    catching = None
    for each in upstreams:
        if not each.prefix:
            catching = each
        elif repository.startswith(f"{each.prefix}/"):
            return _copy(each, repository.removeprefix(f"{each.prefix}/"))
    return _copy(catching, repository) if catching else None


def _copy(upstream: Upstream, path: str) -> Copy:
    if upstream.host == hosts.HUB and "/" not in path:
        path = f"library/{path}"
    local = f"{upstream.prefix}/{path}" if upstream.prefix else path
    return Copy(names.repository(local), upstream.host, path)


def fault(error: KnarrError, copy: Copy, reference: str) -> Fault:
    """Return what a client is told when its upstream does not give what it wants."""
    if isinstance(error, NotFound):
        return manifest_unknown(copy.repository, reference)
    if isinstance(error, (Denied, Prohibited)):
        return Fault(403, "DENIED", str(error))
    if isinstance(error, Refused) and error.status == 429:
        return Fault(429, "TOOMANYREQUESTS", str(error), headers=[("Retry-After", "60")])
    status = 503 if isinstance(error, Unavailable) else 502
    return Fault(status, "UNKNOWN", f"{copy.origin} cannot be had: {error}")
