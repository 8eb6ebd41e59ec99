"""How much a client may have and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server; times are in seconds, sizes in bytes.

    connections: at once; more of them wait in the kernel until one of these ends.
    of_one: of these from one address (of IPv6, one network of 64 bits); more are closed at once.
    head: the largest request line and headers together.
    handshake_time: until TLS stands.
    head_time: from the first byte of a head to its last.
    idle_time: until the next request on a connection that is kept open.
    stall_time: without a byte, in the middle of a body either way.
    slowest: bytes a second, over so much time of waiting for the client within one body.
    drain: how much of a body that nobody wanted is read so that the connection can go on; beyond
    that it is closed.
    drain_time: for that, and at the close for what the client still sends: it would not see the
    answer otherwise.
    """

    connections: int = 512
    of_one: int = 384
    head: int = 32 * 1024
    handshake_time: float = 10.0
    head_time: float = 15.0
    idle_time: float = 60.0
    stall_time: float = 60.0
    slowest: int = 1024
    drain: int = 1024 * 1024
    drain_time: float = 5.0
