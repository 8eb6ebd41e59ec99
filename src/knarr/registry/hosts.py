"""Which servers answer for a registry: itself, its mirrors, by which certificates.

Read are the directories that other engines have as well: ``certs.d/HOST/`` with Docker's
``*.crt``, ``*.cert``, ``*.key`` and with containerd's ``hosts.toml``; ``_default/hosts.toml``
is for registries that have none of their own.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from knarr.errors import InvalidArgument
from knarr.registry import names
from knarr.registry.endpoint import EVERYTHING, Endpoint, Tls

DIRECTORIES = ("/etc/knarr/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d")
_DEFAULT = "_default"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KNOWN = frozenset(
    {"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"}
)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The configuration of all registries of this machine.

    directories: where ``HOST/`` is looked for, the first that has it wins. insecure: registries
    (``host``, ``host:port`` or networks such as ``10.0.0.0/8``) that may be asked without TLS.
    """

    directories: tuple[str, ...] = DIRECTORIES
    insecure: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Hosts:
        """Return it with KNARR_CERTS_D (``:`` between) and KNARR_INSECURE_REGISTRIES (``,``)."""
        folders = environ.get("KNARR_CERTS_D")
        insecure = environ.get("KNARR_INSECURE_REGISTRIES", "")
        return cls(
            tuple(filter(None, folders.split(":"))) if folders else DIRECTORIES,
            tuple(each.strip() for each in insecure.split(",") if each.strip()),
        )

    def endpoints(self, host: str) -> list[Endpoint]:
        """Return who may be asked for the registry, in order: mirrors, then itself.

        Raises InvalidArgument for a host or a file that makes no sense, OSError.
        """
        names.check(host)
        folder = self._folder(host)
        own = self._own(host, _certificates(folder) if folder else Tls())
        file = f"{folder}/hosts.toml" if folder else ""
        if not (file and os.path.exists(file)):
            found = [f"{each}/{_DEFAULT}/hosts.toml" for each in self.directories]
            file = next((each for each in found if os.path.exists(each)), "")
        return _from_toml(file, host, own) if file else [own]

    def _folder(self, host: str) -> str:
        name, port = names.split(host)
        for directory in self.directories:
            for each in (host, f"{name}_{port}_"):  # containerd's spelling where a colon may not be
                if os.path.isdir(f"{directory}/{each}"):
                    return f"{directory}/{each}"
        return ""

    def _own(self, host: str, tls: Tls) -> Endpoint:
        server = names.server(host)
        if names.is_loopback(host) and not tls.authorities:
            # Nobody reads along on this machine, and few registries on it have certificates.
            return Endpoint("http", server, tls=Tls((), tls.clients, False), alternative="https")
        if self._is_insecure(host):
            unchecked = Tls(tls.authorities, tls.clients, verify=False)
            return Endpoint("https", server, tls=unchecked, alternative="http")
        return Endpoint("https", server, tls=tls)

    def _is_insecure(self, host: str) -> bool:
        networks = []
        for each in self.insecure:
            if each == host:
                return True
            try:
                networks.append(ipaddress.ip_network(each, strict=False))
            except ValueError:
                continue
        return bool(networks) and any(
            address in network for address in _addresses(host) for network in networks
        )


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(names.split(host)[0], None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _certificates(folder: str) -> Tls:
    """Return what Docker's files say: ``*.crt`` authorities, ``X.cert`` with ``X.key`` for us."""
    entries = sorted(os.listdir(folder))
    authorities = tuple(f"{folder}/{name}" for name in entries if name.endswith(".crt"))
    clients = []
    for name in entries:
        stem, extension = os.path.splitext(name)
        if extension == ".cert":
            if f"{stem}.key" not in entries:
                raise InvalidArgument(f"{folder}/{name}: its key {stem}.key is missing")
            clients.append((f"{folder}/{name}", f"{folder}/{stem}.key"))
        elif extension == ".key" and f"{stem}.cert" not in entries:
            raise InvalidArgument(f"{folder}/{name}: its certificate {stem}.cert is missing")
    return Tls(authorities, tuple(clients))


def _from_toml(file: str, host: str, own: Endpoint) -> list[Endpoint]:
    try:
        with open(file, "rb") as stream:
            document = tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{file}: {error}") from None
    tables = document.pop("host", {})
    server = document.pop("server", "")
    if not isinstance(tables, dict) or not isinstance(server, str):
        raise InvalidArgument(f"{file}: 'server' is no text or 'host' no table")
    found = [_endpoint(file, address, table, host, own) for address, table in tables.items()]
    if server or document:
        address = server or f"{own.scheme}://{own.host}"
        last = _endpoint(file, address, document, host, own)
    else:
        last = own
    return [*found, last]


def _endpoint(file: str, address: str, table: Any, host: str, own: Endpoint) -> Endpoint:
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username is not None:
        raise InvalidArgument(f"{file}: {address!r} is no http or https address of a server")
    if not isinstance(table, dict):
        raise InvalidArgument(f"{file}: {address!r} is no table")
    unknown = sorted(set(table) - _KNOWN)
    if unknown:
        raise InvalidArgument(f"{file}: {address}: {unknown[0]!r} is not known")
    capabilities = frozenset(_texts(file, table, "capabilities") or EVERYTHING)
    if not capabilities <= EVERYTHING:
        wrong = min(capabilities - EVERYTHING)
        raise InvalidArgument(f"{file}: capability {wrong!r} is none of pull, resolve, push")
    folder = os.path.dirname(file)
    path = parts.path.rstrip("/")
    if table.get("override_path") is not True and not path.endswith("/v2"):
        path += "/v2"
    is_own = parts.netloc == own.host
    tls = Tls(
        (
            *(own.tls.authorities if is_own else ()),
            *(os.path.join(folder, name) for name in _texts(file, table, "ca")),
        ),
        _clients(file, table) or (own.tls.clients if is_own else ()),
        verify=table.get("skip_verify") is not True,
    )
    return Endpoint(
        parts.scheme,
        parts.netloc,
        path,
        capabilities,
        tls,
        _headers(file, table),
        connect=_seconds(file, table),
        namespace="" if is_own else host,
    )


def _clients(file: str, table: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of ``client``: one path, a list of paths, or a list of pairs."""
    value = table.get("client", [])
    folder = os.path.dirname(file)
    pairs = []
    for each in [value] if isinstance(value, str) else value:
        pair = [each, ""] if isinstance(each, str) else each
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidArgument(f"{file}: client is no path and no [certificate, key]")
        certificate, key = (os.path.join(folder, str(path)) if path else "" for path in pair)
        pairs.append((certificate, key))
    return tuple(pairs)


def _headers(file: str, table: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    value = table.get("header", {})
    if not isinstance(value, dict):
        raise InvalidArgument(f"{file}: header is no table")
    return tuple((name, text) for name in value for text in _texts(file, value, name))


def _seconds(file: str, table: dict[str, Any]) -> float:
    """Return ``dial_timeout``, a duration as Go writes it (``1.5s``), in seconds."""
    text = table.get("dial_timeout", "0s")
    parts = _DURATION.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"{file}: dial_timeout {text!r} is no duration such as '5s'")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _texts(file: str, table: dict[str, Any], key: str) -> Iterable[str]:
    value = table.get(key, [])
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InvalidArgument(f"{file}: {key} is no text and no list of texts")
    return found
