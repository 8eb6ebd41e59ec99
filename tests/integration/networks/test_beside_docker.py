"""Networks on a host where Docker's daemon runs."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, Engine
from knarr.networks import naming
from tests.support.beside import run, site, table
from tests.support.bridges import setting
from tests.support.nethost import NetHost
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not all(shutil.which(name) for name in ("dockerd", "containerd", "iptables")),
        reason="needs dockerd, containerd, iptables",
    ),
]
# Mounts that it makes are to go with it.
PROGRAM = 'mount --make-rprivate /; exec dockerd "$@"'


@contextmanager
def docker(folder: Path) -> Iterator[None]:
    """Have a daemon with its default bridge in the network namespace of the test."""
    socket = folder / "sock"
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", PROGRAM, "sh", f"--data-root={folder}/data",
             f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", f"--host=unix://{socket}",
             "--storage-driver=vfs", "--bip=172.30.0.1/24"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: socket.exists() and "API listen" in (folder / "log").read_text())
        yield
    finally:
        daemon.terminate()
        daemon.wait()
        socket.unlink(missing_ok=True)
        (folder / "log").unlink()


def _theirs() -> list[str]:
    return [table("ip", "nat"), table("ip", "filter")]


def test_both_keep_their_rules(nethost: NetHost, engine: Engine, tmp_path: Path) -> None:
    name = naming.table(engine.settings.data_root)
    setting("ipv4/ip_forward", "0")
    with ExitStack() as stack:
        with docker(tmp_path):  # before us: when it has the host forward, it closes FORWARD
            there = stack.enter_context(site(nethost, engine))
            obstacles = engine.networks.on_host.firewall.obstacles()
            assert obstacles[0].startswith("table ip filter: chain FORWARD drops")
            for way in ("-i", "-o"):
                run("iptables", "-I", "DOCKER-USER", way, there.bridge, "-j", "ACCEPT")
            wait_until(there.works)
            assert not there.is_open()
            ours, theirs = table("inet", name), _theirs()
            engine.networks.create("more")
            config = ContainerConfig(image="busybox", command=("true",), network="more")
            assert engine.containers.run(config).exit_code == 0
            engine.networks.remove("more")
            assert _theirs() == theirs
        with docker(tmp_path):  # once more, as after an update
            assert table("inet", name) == ours
            wait_until(there.works)
            theirs = _theirs()
            stack.close()
            assert _theirs() == theirs
