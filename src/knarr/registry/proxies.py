"""``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, by the rules of Go's programs.

An entry of NO_PROXY is ``*``, an address, a network, ``host`` (with all below it) or ``.domain``
(only what is below it), each perhaps with a port. What is on this machine never goes
through a proxy. Upper case is looked at first, as Docker and Podman do.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from knarr.errors import InvalidArgument
from knarr.registry import names


class Proxy(NamedTuple):
    """A proxy: where it is, and the value of ``Proxy-Authorization`` it wants, if any."""

    host: str
    port: int
    authorization: str | None = None


class Proxies:
    """Which proxy, if any, leads to an address."""

    def __init__(self, http: str = "", https: str = "", no_proxy: str = "") -> None:
        self._by_scheme = {"http": _proxy(http), "https": _proxy(https)}
        self._except = [each.strip().lower() for each in no_proxy.split(",") if each.strip()]

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], fallback: Mapping[str, str] | None = None
    ) -> Proxies:
        """Return those of the environment; ``fallback`` has ``httpProxy``, ``noProxy``…

        as the section ``proxies`` of Docker's config.json. Raises InvalidArgument.
        """
        other = fallback or {}

        def value(name: str, key: str) -> str:
            return environ.get(name) or environ.get(name.lower()) or str(other.get(key) or "")

        return cls(
            value("HTTP_PROXY", "httpProxy"),
            value("HTTPS_PROXY", "httpsProxy"),
            value("NO_PROXY", "noProxy"),
        )

    def to(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for a request to that address, None when it goes there directly."""
        proxy = self._by_scheme.get(scheme)
        if proxy is None or names.is_loopback(host):
            return None
        name = host.lower().rstrip(".")
        return None if any(_matches(rule, name, port) for rule in self._except) else proxy


def _matches(rule: str, name: str, port: int) -> bool:
    if rule == "*":
        return True
    try:
        network = ipaddress.ip_network(rule, strict=False)
    except ValueError:
        pass
    else:
        try:
            return ipaddress.ip_address(name) in network
        except ValueError:
            return False
    wanted, wanted_port = names.split(rule)
    if wanted_port is not None and wanted_port != port:
        return False
    wanted = wanted.removeprefix("*")
    if wanted.startswith("."):
        return name.endswith(wanted)
    return name == wanted or name.endswith(f".{wanted}")


def _proxy(text: str) -> Proxy | None:
    if not text:
        return None
    shown = text.rpartition("@")[2]
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port or 80
    except ValueError:
        raise InvalidArgument(f"proxy {shown!r}: its port is no number") from None
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidArgument(f"proxy {shown!r}: only http://[user:password@]host:port is known")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, authorization)
