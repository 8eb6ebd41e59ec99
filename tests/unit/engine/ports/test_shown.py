"""Ports in ``inspect`` and ``ps`` as Docker shows them."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.cli import portscolumn
from knarr.engine.model import ContainerConfig, HostPort
from knarr.engine.ports import shown
from knarr.engine.state import ContainerState

Port = tuple[str, str, int]
CONFIG = ContainerConfig(
    "x",
    network="bridge",
    ports=(
        HostPort(80, first=8080, last=8080),
        HostPort(80, "tcp", "127.0.0.1"),
        HostPort(53, "udp", "", 5300, 5310),
    ),
    expose=("9000/tcp",),
)
BINDINGS = (
    {"proto": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "ip": "172.17.0.2", "port": 80},
    {"proto": "tcp", "host_ip": "::", "host_port": 8080, "ip": "fd00::2", "port": 80},
)


def test_what_was_asked_for() -> None:
    assert shown.asked(CONFIG) == {
        "80/tcp": [
            {"HostIp": "", "HostPort": "8080"},
            {"HostIp": "127.0.0.1", "HostPort": ""},
        ],
        "53/udp": [{"HostIp": "", "HostPort": "5300-5310"}],
    }


def test_what_there_is_while_it_runs() -> None:
    image: dict[str, Any] = {"ExposedPorts": {"443/tcp": {}}}
    running = ContainerState("running", ports=BINDINGS)
    assert shown.published(CONFIG, image, running) == {
        "443/tcp": None,
        "80/tcp": [
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
            {"HostIp": "::", "HostPort": "8080"},
        ],
        "53/udp": None,
        "9000/tcp": None,
    }
    assert shown.published(CONFIG, image, ContainerState("exited")) == {}
    assert shown.published(ContainerConfig("x", network="host"), image, running) == {}


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([("9988/tcp", "", 0)], "9988/tcp"),
        ([("80/tcp", "0.0.0.0", 8080), ("80/tcp", "::", 8080)],
         "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([("80/tcp", "0.0.0.0", 80), ("81/tcp", "0.0.0.0", 81), ("82/tcp", "0.0.0.0", 82),
          ("84/tcp", "0.0.0.0", 84)], "0.0.0.0:80-82->80-82/tcp, 0.0.0.0:84->84/tcp"),
        ([("9/tcp", "", 0), ("10/tcp", "", 0), ("10/udp", "", 0)], "9-10/tcp, 10/udp"),
        ([("81/tcp", "127.0.0.1", 9001), ("80/tcp", "127.0.0.1", 9000), ("7/udp", "", 0)],
         "7/udp, 127.0.0.1:9000->80/tcp, 127.0.0.1:9001->81/tcp"),
        ([("80/tcp", "10.0.0.1", 80), ("80/tcp", "9.0.0.1", 80)],
         "9.0.0.1:80->80/tcp, 10.0.0.1:80->80/tcp"),
    ],
)  # fmt: skip
def test_the_column(ports: list[Port], text: str) -> None:
    found: dict[str, list[dict[str, str]] | None] = {}
    for key, address, number in ports:
        place = [{"HostIp": address, "HostPort": str(number)}] if address else []
        found[key] = [*(found.get(key) or []), *place] or None
    assert portscolumn.text(found) == text
