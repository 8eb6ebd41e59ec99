"""Killed while a network is made, removed, joined or left: what puts it right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr.engine import crashpoint
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.model import ExecConfig
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from tests.crash.test_engine_steps import play
from tests.support.nethost import nethost
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Container, Engine, Settings

__all__ = ["nethost"]
pytestmark = pytest.mark.usefixtures("nethost")

LIFE = """
from knarr.engine.endpointconfig import EndpointConfig
engine.networks.create("front")
engine.networks.create("back")
container = engine.containers.launch(
    ContainerConfig("busybox", ("sleep", "600"), name="one", network="none"), attach=False
).container
container.remove(force=True)
container = engine.containers.launch(
    ContainerConfig("busybox", ("sleep", "600"), name="one", network="front"), attach=False
).container
engine.networks.connect("back", "one", EndpointConfig("", ("db",)))
engine.networks.disconnect("back", "one")
engine.networks.remove("back")
print("survived")
"""


def _there() -> set[str]:
    with Netlink() as sock:
        return {name for name in links.names(sock) if name.startswith(("kn", "br-"))}


def _interfaces(container: Container) -> list[str]:
    found = container.exec_run(ExecConfig(("ls", "/sys/class/net"))).stdout
    return found.decode().split()


@pytest.mark.parametrize("step", crashpoint.NETWORK_STEPS)
def test_the_caller_is_killed(step: str, engine: Engine, settings: Settings) -> None:
    died = play(LIFE, f"engine:{step}", settings)
    assert died.returncode == -9, died
    assert engine.recover().problems == []
    assert engine.recover().lines() == []
    if step == "network.made":
        assert not engine.containers.list(all=True)[0].state.running
        engine.containers.get("one").start(attach=False)
    container = engine.containers.get("one")
    assert _interfaces(container)[0] == "eth0"
    names = {each.name for each in engine.networks.list({"type": ["custom"]})}
    assert names == ({"front"} if step in ("network.marked", "network.unmade") else
                     {"front", "back"})  # fmt: skip
    shown = engine.networks.get("front").inspect()["Containers"]
    assert list(shown) == [container.id]
    if "back" in names:
        assert _interfaces(container) == ["eth0", "lo"]
        assert engine.networks.get("back").inspect()["Containers"] == {}
        engine.networks.connect("back", "one", EndpointConfig(""))
        assert _interfaces(container) == ["eth0", "eth1", "lo"]
    container.stop(timeout=0)
    wait_until(lambda: not any(name.startswith("kn") for name in _there()))
    folder = Path(settings.run_root) / "networks"
    left = [path for path in folder.glob("*/*") if path.is_file()]
    wait_until(lambda: not any(path.exists() for path in left))
    assert engine.networks.prune() == sorted(names, reverse=True)
    assert _there() == set()
    assert engine.networks.on_host.firewall.networks() == set()
    container.remove()
    with engine.store.read() as db:
        assert db.execute("SELECT * FROM endpoints").fetchall() == []
