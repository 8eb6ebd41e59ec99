"""``Endpoint``: one server that may answer for a registry, itself or a mirror."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

PULL = "pull"  # manifests and blobs by digest
RESOLVE = "resolve"  # what a tag means
PUSH = "push"
EVERYTHING = frozenset({PULL, RESOLVE, PUSH})


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server proves who it is, and we to it: paths of PEM files.

    authorities: accepted beside those of the system. clients: (certificate, key) pairs, the
    key's path "" when the same file has both. verify: whether its certificate is looked at.
    """

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask: ``scheme://host`` and the path before ``/REPOSITORY/…``.

    connect: seconds in which a connection has to come about, 0.0 for the usual.
    alternative: the scheme to try when this one cannot be spoken with the server, or "".
    namespace: the registry a mirror stands in for, told to it as ``ns=``; "" for itself.
    """

    scheme: str
    host: str
    prefix: str = "/v2"
    capabilities: frozenset[str] = EVERYTHING
    tls: Tls = Tls()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    alternative: str = ""
    connect: float = 0.0
    namespace: str = ""

    @property
    def base(self) -> str:
        """The address that paths are put after."""
        return f"{self.scheme}://{self.host}{self.prefix}"

    @property
    def place(self) -> str:
        """Which server it is, and what of it, whichever scheme it is asked by."""
        return self.host + self.prefix.removesuffix("/v2")

    @property
    def is_open(self) -> bool:
        """Whether its owner accepts that others read along: plain HTTP, or any certificate."""
        return self.scheme == "http" or not self.tls.verify

    def switched(self) -> Endpoint:
        """Return the same server by its other scheme."""
        return replace(self, scheme=self.alternative, alternative="")
