"""Published ports as the command shows them."""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing

import pytest

from tests.support.installations import Installation
from tests.support.nethost import nethost

__all__ = ["nethost"]
pytestmark = pytest.mark.usefixtures("nethost")


def said(box: Installation, *words: str) -> str:
    code, out, err = box.run(*words)
    assert code == 0, err
    return out.decode()


def started(box: Installation, name: str, *words: str) -> None:
    said(box, "run", "-d", "--network", "bridge", "--name", name, *words, "busybox", "sleep", "9")


def test_port_and_ps(box: Installation) -> None:
    started(
        box, "web", "-p", "8080:80", "-p", "127.0.0.1:9:9", "-p", "8000-8001:8000-8001",
        "-p", "5353:53/udp", "--expose", "443",
    )  # fmt: skip
    assert said(box, "port", "web").splitlines() == [
        "9/tcp -> 127.0.0.1:9",
        "53/udp -> 0.0.0.0:5353",
        "80/tcp -> 0.0.0.0:8080",
        "8000/tcp -> 0.0.0.0:8000",
        "8001/tcp -> 0.0.0.0:8001",
    ]
    assert said(box, "port", "web", "80") == "0.0.0.0:8080\n"
    assert said(box, "port", "web", "53/UDP") == "0.0.0.0:5353\n"
    assert said(box, "ps", "--format", "{{.Ports}}") == (
        "127.0.0.1:9->9/tcp, 443/tcp, 0.0.0.0:8000-8001->8000-8001/tcp, "
        "0.0.0.0:5353->53/udp, 0.0.0.0:8080->80/tcp\n"
    )
    for missing in ("443", "80/udp"):
        text = f"Error: No public port '{missing}' published for web\n"
        assert box.run("port", "web", missing) == (1, b"", text.encode())
    for wanted, found in (
        ("publish=8080", True), ("publish=5353/udp", True), ("publish=80", False),
        ("publish=7000-9000/tcp", True), ("expose=443", True), ("expose=80", True),
        ("expose=8080", False),
    ):  # fmt: skip
        assert bool(said(box, "ps", "-q", "-f", wanted)) is found, wanted
    _, _, err = box.run("ps", "-f", "publish=8080:80")
    assert err == b"Error: filter for 'publish' should not contain ':': 8080:80\n"
    said(box, "stop", "-t", "0", "web")
    assert said(box, "port", "web") == ""
    assert said(box, "ps", "-a", "--format", "{{.Ports}}") == "\n"


def test_inspect(box: Installation) -> None:
    started(box, "web", "-p", "80", "--expose", "443/udp", "-P")
    (shown,) = json.loads(said(box, "inspect", "web"))
    assert shown["Config"]["ExposedPorts"] == {"80/tcp": {}, "443/udp": {}}
    host = shown["HostConfig"]
    assert host["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": ""}]}
    assert host["PublishAllPorts"] is True
    ports = shown["NetworkSettings"]["Ports"]
    assert sorted(ports) == ["443/udp", "80/tcp"]
    place = f"0.0.0.0:{ports['443/udp'][0]['HostPort']}\n"
    assert said(box, "port", "web", "443/udp") == place


def test_a_busy_port(box: Installation) -> None:
    with closing(socket.create_server(("127.0.0.1", 8080))):
        words = ("--network", "bridge", "-p", "8080:80", "busybox", "true")
        code, out, err = box.run("run", "--rm", *words)
        assert (code, out) == (125, b"")
        assert re.fullmatch(
            r"knarr: failed to set up container networking: driver failed programming external "
            r"connectivity on endpoint \w+: "
            r"failed to bind host port 0\.0\.0\.0:8080/tcp: address already in use\n",
            err.decode(),
        )
        assert said(box, "ps", "-aq") == ""
        assert box.run("run", "--name", "web", *words)[0] == 125
        assert said(box, "ps", "-a", "--format", "{{.Status}}") == "Created\n"
        assert box.run("start", "web")[0] == 1
    assert said(box, "start", "web") == "web\n"


def test_discarded_and_refused(box: Installation) -> None:
    code, _, err = box.run("run", "--rm", "--network", "none", "-p", "8080:80", "busybox", "true")
    assert code == 0
    assert b"Published ports are discarded when using none network mode" in err
    started(box, "web")
    code, _, err = box.run("run", "--network", "container:web", "-p", "80:80", "busybox", "true")
    assert code == 125
    assert b"conflicting options: port publishing and the container type network" in err
    code, _, err = box.run(
        "create", "--network", "container:web", "--expose", "80", "busybox", "true"
    )
    assert code == 1
    assert b"conflicting options: port exposing and the container type network" in err
    code, _, err = box.run("run", "--network", "bridge", "-p", "[::1]:80:80", "busybox", "true")
    assert code == 125
    assert b"port 80/tcp: cannot be published at ::1" in err
