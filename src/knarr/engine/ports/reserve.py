"""Ports are taken from the host before anything is started, or said to be somebody's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine.ports.plan import ANY4, ANY6, Request
from knarr.runtime import hostports

if TYPE_CHECKING:
    import _socket

    from knarr.engine.engine import Engine

Binding = dict[str, Any]  # as ``runtime.portmap`` has it: proto, host_ip, host_port, ip, port
# How often another port is tried where the kernel's choice for one address is taken at another.
_TRIES = 10


class Refused(Exception):
    """A port that cannot be had, and why: the error of bind(2); None: all of a range are taken."""

    def __init__(self, request: Request, port: int, error: OSError | None) -> None:
        super().__init__(f"{request.address}:{port}/{request.protocol}: {error}")
        self.request = request
        self.port = port
        self.error = error


@dataclass(frozen=True, slots=True)
class Reservation:
    """Bindings in the order of Docker, and the descriptor that keeps their ports."""

    bindings: list[Binding]
    handle: int


def reserve(groups: Iterable[list[Request]]) -> Reservation:
    """Take all ports or none. Raises Refused, OSError."""
    keeper = hostports.Keeper()
    bindings: list[Binding] = []
    try:
        for group in groups:
            number, taken = _take(group)
            for request, sock in taken:
                keeper.add(sock)
                bindings.append(
                    {
                        "proto": request.protocol,
                        "host_ip": request.address,
                        "host_port": number,
                        "ip": request.ip,
                        "port": request.port,
                    }
                )
        return Reservation(bindings, keeper.detach())
    except BaseException:
        keeper.close()
        raise


def _take(group: list[Request]) -> tuple[int, list[tuple[Request, _socket.socket]]]:
    """Return the port that all of a group have, and their sockets. Raises Refused."""
    some = group[0]
    if not some.first:
        candidates: Iterable[int] = [0] * _TRIES
    else:
        candidates = range(some.first, some.last + 1)
    last: Refused | None = None
    for candidate in candidates:
        try:
            return _take_at(group, candidate)
        except Refused as refused:
            last = refused
            if refused.error is None or refused.error.errno != errno.EADDRINUSE:
                raise
    assert last is not None
    raise last if some.exact else Refused(last.request, last.port, None)


def _take_at(group: list[Request], port: int) -> tuple[int, list[tuple[Request, _socket.socket]]]:
    taken: list[tuple[Request, _socket.socket]] = []
    try:
        for request in group:
            try:
                sock = hostports.bind(request.protocol, request.address, port)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(group) > 1:
                    continue  # a kernel without IPv6, which nobody asked for
                raise Refused(request, port, error) from error
            taken.append((request, sock))
            port = sock.getsockname()[1]
    except BaseException:
        for _, sock in taken:
            sock.close()
        raise
    return port, taken


def explained(engine: Engine, refused: Refused, name: str) -> errors.KnarrError:
    """Return Docker's error for a port that container ``name`` cannot have."""
    kind, reason = _reason(engine, refused)
    return kind(
        "failed to set up container networking: driver failed programming external connectivity "
        f"on endpoint {name}: {reason}"
    )


def _reason(engine: Engine, refused: Refused) -> tuple[type[errors.KnarrError], str]:
    request, error = refused.request, refused.error
    if error is None:
        which = f"of {request.first}-{request.last} " if request.first else ""
        return (
            errors.ResourceExhausted,
            f"all ports are allocated: none {which}is free at {request.address}",
        )
    place = _joined(request.address, refused.port)
    if error.errno == errno.EADDRINUSE:
        owner = _owner(engine, request, refused.port)
        if owner is not None:
            return (
                errors.Conflict,
                f"Bind for {place} failed: port is already allocated (by container {owner})",
            )
    said = f"failed to bind host port {place}/{request.protocol}"
    why = os.strerror(error.errno or 0).lower()
    if error.errno == errno.EPROTONOSUPPORT:
        hint = ": load the kernel's module, 'modprobe sctp'" if request.protocol == "sctp" else ""
        return errors.Unsupported, f"{said}: {why}{hint}"
    if error.errno == errno.EADDRNOTAVAIL:
        return errors.InvalidArgument, f"{said}: {why}"
    return errors.Conflict, f"{said}: {why}"


def _owner(engine: Engine, request: Request, port: int) -> str | None:
    """Return the name of the running container that has the port, None for another program."""
    for container in engine.containers.list():
        for each in container.state.ports:
            same = each["proto"] == request.protocol and each["host_port"] == port
            if same and _overlap(each["host_ip"], request.address):
                return container.name
    return None


def _overlap(one: str, other: str) -> bool:
    if (":" in one) is not (":" in other):
        return False
    return one == other or bool({one, other} & {ANY4, ANY6})


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
