"""Host names of registries: which server a name means, and which are this machine's own."""

from __future__ import annotations

import ipaddress
import re

from knarr.errors import InvalidArgument

HUB = "docker.io"
# The name under which Docker keeps the credentials of its Hub.
HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_SERVER = "registry-1.docker.io"
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def check(host: str) -> str:
    """Return ``host`` (``name[:port]``). Raises InvalidArgument when it cannot be one."""
    if not is_host(host):
        raise InvalidArgument(f"{host[:80]!r} is no host name or host:port of a registry")
    return host


def is_host(text: str) -> bool:
    """Return whether ``text`` can be ``name[:port]``."""
    return _HOST.fullmatch(text) is not None


def is_hub(host: str) -> bool:
    """Return whether the host is Docker Hub under any of its names."""
    return host in _HUB_NAMES


def server(host: str) -> str:
    """Return the host that answers for a registry's name: the Hub's is another one."""
    return _HUB_SERVER if is_hub(host) else host


def credentials_key(host: str) -> str:
    """Return the name under which Docker's config.json keeps a registry's credentials."""
    return HUB_KEY if is_hub(host) else host


def hostname_of(address: str) -> str:
    """Return ``host[:port]`` of what a user may have stored: with scheme or path."""
    rest = address.partition("://")[2] or address
    return rest.partition("/")[0]


def split(host: str) -> tuple[str, int | None]:
    """Return (name without brackets, port or None) of ``name[:port]``."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:]) if rest.startswith(":") else None
    name, colon, port = host.partition(":")  # an address without brackets has several
    return (name, int(port)) if colon and port.isdigit() else (host, None)


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address, without asking anybody."""
    name = split(host)[0].lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
