"""Addresses to listen on, and TLS for them."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from dataclasses import dataclass

from knarr.errors import Conflict, InvalidArgument

_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or self.host in ("localhost", "::1") or self.host.startswith("127.")


def address(text: str) -> Address:
    """Return what ``HOST:PORT``, ``:PORT``, ``[::1]:PORT``, ``unix://PATH`` or ``/PATH`` names.

    Raises InvalidArgument.
    """
    path = text.removeprefix("unix://")
    if path != text or text.startswith("/"):
        if not path.startswith("/"):
            raise InvalidArgument(f"address {text}: the path of a unix socket begins with /")
        return Address(path=path)
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"address {text}: want HOST:PORT, or unix:///PATH")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidArgument(f"address {text}: write an IPv6 address in brackets, [{host}]:{port}")
    return Address(host=host, port=int(port))


def listen(where: Address, mode: int = 0o660) -> socket.socket:
    """Return a listening socket. mode: of a unix socket.

    Raises Conflict when something listens there already, InvalidArgument for no such address.
    """
    if where.path:
        return _listen_unix(where.path, mode)
    try:
        found = socket.getaddrinfo(
            where.host or None, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise InvalidArgument(f"address {where.host}: {error.strerror}") from None
    # All addresses of the machine: the IPv6 socket takes IPv4 as well.
    family, kind, protocol, _, name = max(found, key=lambda each: each[0] == socket.AF_INET6)
    if where.host:
        family, kind, protocol, _, name = found[0]
    link = socket.socket(family, kind, protocol)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not where.host:
            link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        link.bind(name)
        link.listen(_BACKLOG)
    except OSError as error:
        link.close()
        raise Conflict(f"address {where.host}:{where.port}: {error.strerror}") from None
    return link


def _listen_unix(path: str, mode: int) -> socket.socket:
    """Listen at a path; a socket that nobody listens on any more is replaced."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            link.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)
        link.listen(_BACKLOG)
    except OSError as error:
        link.close()
        raise Conflict(f"unix socket {path}: {error.strerror or error}") from None
    except BaseException:
        link.close()
        raise
    return link


def _remove_stale(path: str) -> None:
    try:
        info = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(info.st_mode):
        raise Conflict(f"unix socket {path}: another file is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise Conflict(f"unix socket {path}: somebody listens there already")


def tls(certificate: str, key: str | None, client_ca: str | None) -> ssl.SSLContext:
    """Return what makes TLS of connections, of version 1.2 and later.

    certificate: a PEM file with the chain. key: its key, None when that is in the same file.
    client_ca: only clients whose certificate is signed by one of these are served.
    Raises InvalidArgument.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        name = f"{certificate}, {key}" if key else certificate
        raise InvalidArgument(f"certificate {name}: {error.strerror or error}") from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgument(f"client CA {client_ca}: {error.strerror or error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
