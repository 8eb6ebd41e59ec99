"""A container with a published port on a host that has another firewall, too."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from knarr import Container, ContainerConfig, Engine, ExecConfig
from knarr.engine.model import HostPort
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from tests.support.nethost import HOST4, OUTSIDE4, NetHost

PORT = 8080
SUBNET = "172.17.0.0"
_MOMENT = 2.0  # seconds for one try


@dataclass
class Site:
    """A network ``web`` with a server, and somebody in the outside world."""

    nethost: NetHost
    engine: Engine
    container: Container
    bridge: str
    port: int

    def answers(self) -> bool:
        """Tell whether the published port is reached from outside."""
        return self._greets(HOST4, PORT)

    def is_open(self) -> bool:
        """Tell whether the container is reached by a route over the host, past its ports."""
        return self._greets(self._address, 80)

    def reaches(self) -> bool:
        """Tell whether the container reaches the outside world."""
        script = f"nc -w 2 {OUTSIDE4} {self.port} </dev/null"
        return self.container.exec_run(ExecConfig(("sh", "-c", script))).stdout == b"world\n"

    def works(self) -> bool:
        """Tell whether traffic goes both ways."""
        return self.answers() and self.reaches()

    @property
    def _address(self) -> str:
        shown = self.container.inspect()["NetworkSettings"]["Networks"]["web"]["IPAddress"]
        return str(shown)

    def _greets(self, address: str, port: int) -> bool:
        with self.nethost.beyond():
            client = socket.socket()
        with client:
            client.settimeout(_MOMENT)
            try:
                client.connect((address, port))
                return client.recv(10) == b"hello\n"
            except OSError:
                return False


@contextmanager
def site(nethost: NetHost, engine: Engine) -> Iterator[Site]:
    """Have such a container run."""
    network = engine.networks.create("web")
    config = ContainerConfig(
        image="busybox",
        command=("sh", "-c", "while true; do echo hello | nc -l -p 80; done"),
        network="web",
        ports=(HostPort(80, first=PORT, last=PORT),),
    )
    container = engine.containers.launch(config, attach=False).container
    with nethost.beyond():
        server = socket.create_server((OUTSIDE4, 0))
        with Netlink() as sock:
            sock.ask(links.new_route(links.index_of("eth0"), HOST4, SUBNET, 16))
    over = threading.Event()
    thread = threading.Thread(target=_greet, args=(server, over))
    thread.start()
    bridge = f"br-{network.id[:12]}"
    try:
        yield Site(nethost, engine, container, bridge, server.getsockname()[1])
    finally:
        over.set()
        thread.join()
        server.close()
        container.remove(force=True)
        network.remove()


def _greet(server: socket.socket, over: threading.Event) -> None:
    server.settimeout(0.1)
    while not over.is_set():
        try:
            client, _ = server.accept()
        except TimeoutError:
            continue
        with client:
            client.sendall(b"world\n")


def run(*words: str, **environment: str) -> str:
    """Run a command that has to succeed; return what it printed."""
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def table(family: str, name: str) -> str:
    """Return a table of nf_tables as nft shows it, without what its rules have counted."""
    return run("nft", "--stateless", "list", "table", family, name)
