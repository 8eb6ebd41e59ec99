"""Containers as the resolver knows them: a process in a network namespace, and files."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.kernel.process import pidfd_open, start_time
from knarr.networks.resolver import client
from knarr.runtime import resolving

from . import leftovers
from .nethost import inside, new_namespace
from .processes import children, listener

IDLE = 60.0


def await_end(pid: int) -> None:
    """Wait until a process that is not ours has ended."""
    try:
        handle = pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([handle], [], [], leftovers.PATIENCE)
    os.close(handle)


@dataclass
class Guest:
    """A process that sleeps in a network namespace of its own; nothing is there but lo."""

    id: str
    namespace: int
    process: subprocess.Popen[bytes]

    @classmethod
    def begin(cls, container: str) -> Guest:
        namespace = new_namespace()
        with inside(namespace):
            with Netlink() as sock:
                sock.ask(links.set_up(1))
            process = subprocess.Popen(["sleep", "1000"])
        return cls(container, namespace, process)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.namespace)


@dataclass
class Town:
    """A run root with a resolver, and who lives there."""

    run_root: str
    guests: dict[str, Guest] = field(default_factory=dict)

    def ensure(self, idle: float = IDLE) -> None:
        client.ensure(self.run_root, idle).close()

    def resolver(self) -> int:
        """Return the pid of the process that keeps the resolver."""
        return listener(f"{self.run_root}/{resolving.SOCKET}")

    def worker(self) -> int:
        """Return the pid of the process that answers."""
        (pid,) = children(self.resolver())
        return pid

    def endpoint(self, container: str, network: str, name: str, *addresses: str,
                 aliases: tuple[str, ...] = ()) -> None:  # fmt: skip
        """Say that a container is in a network."""
        told: dict[str, Any] = {
            "container": container, "name": name, "names": [name, *aliases],
            "network": network, "addresses": list(addresses),
        }  # fmt: skip
        if container in self.guests:
            told["pid"] = self.guests[container].process.pid
        resolving.write(resolving.endpoint_file(self.run_root, f"id-{network}", container), told)

    def guest(self, container: str, **more: Any) -> Guest:
        """Have a container that is served, as its maker would."""
        made = self.guests[container] = Guest.begin(container)
        self.serve(made, **more)
        return made

    def serve(self, guest: Guest, **more: Any) -> None:
        pid = guest.process.pid
        packet = {"container": guest.id, "pid": pid, "pid_start": start_time(pid), **more}
        child = os.fork()
        if child == 0:
            status = 1
            try:
                resolving.serve(self.run_root, guest.namespace, packet)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    def tell(self, guest: Guest, **more: Any) -> None:
        """Change what is known of a container that is served."""
        path = resolving.sockets_file(self.run_root, guest.id)
        resolving.write(path, {**json.loads(Path(path).read_text()), **more})

    def leave(self, container: str) -> None:
        """Take a container's files away, as undo does; its process goes on."""
        for path in Path(self.run_root, resolving.FOLDER).glob(f"*/{container}"):
            path.unlink()

    def log(self) -> str:
        """Return what the resolver had to say."""
        path = Path(self.run_root, "resolver.log")
        return path.read_text() if path.exists() else ""

    def says(self, text: str) -> bool:
        """Tell whether the resolver had something to say about it."""
        return text in self.log()

    def end(self) -> None:
        for guest in self.guests.values():
            guest.end()
        try:
            keeper = self.resolver()
        except OSError:
            return
        with client.ensure(self.run_root, IDLE) as held:
            held.ask(b'{"quit":1}')
        await_end(keeper)


@contextmanager
def town(run_root: Path) -> Iterator[Town]:
    """A town whose processes are gone in the end."""
    made = Town(str(run_root))
    try:
        yield made
    finally:
        made.end()
    left = leftovers.settle(lambda: leftovers.processes(made.run_root))
    assert not left, left


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
