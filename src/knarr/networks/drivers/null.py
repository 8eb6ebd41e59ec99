"""No network but the loopback interface: what Docker's network ``none`` is."""

from __future__ import annotations

from knarr.networks.drivers.host import Alone

DRIVER = Alone("null")
