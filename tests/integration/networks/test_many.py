"""A hundred containers that start on one network at the same time."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, ExecConfig
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from tests.support.nethost import NetHost, inside
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Container, Engine

MANY = 100
# What each says of itself: its address, that it reached the gateway, and that it lives.
SCRIPT = """
ip -o -4 addr show eth0
set -- $(ip route)
until ping -c 1 -w 5 $3 >/dev/null; do :; done
echo reached
exec sleep 10000
"""


@pytest.mark.slow
def test_a_hundred_at_once(nethost: NetHost, engine: Engine) -> None:
    network = engine.networks.create("crowd")

    def start(number: int) -> Container:
        with inside(nethost.host):
            config = ContainerConfig(
                image="busybox", command=("sh", "-c", SCRIPT), network="crowd", name=f"c{number}"
            )
            return engine.containers.launch(config, attach=False).container

    with ThreadPoolExecutor(MANY) as pool:
        containers = list(pool.map(start, range(MANY)))
    said = [_said(each) for each in containers]
    addresses = [text.split()[3] for text in said]
    assert [each for each, times in Counter(addresses).items() if times > 1] == []
    assert len(addresses) == MANY
    shown = network.inspect()["Containers"]
    assert {each["IPv4Address"] for each in shown.values()} == set(addresses)
    assert len({each["MacAddress"] for each in shown.values()}) == MANY
    assert len(_of_containers()) == MANY
    hosts = " ".join(each.partition("/")[0] for each in addresses)
    script = f"for each in {hosts}; do until ping -c 1 -w 5 $each >/dev/null; do :; done; done"
    assert containers[0].exec_run(ExecConfig(("sh", "-c", script))).exit_code == 0
    folder = f"{engine.settings.run_root}/networks/{network.id}"
    assert len(os.listdir(folder)) == MANY

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: each.remove(force=True), containers))
    wait_until(lambda: not _of_containers())
    wait_until(lambda: not os.path.isdir(folder) or os.listdir(folder) == [])
    held = engine.networks.table.held(network.id)
    assert [str(each) for each in held] == ["172.17.0.1"]
    network.remove()
    assert not _interfaces() & {f"br-{network.id[:12]}", "knarr0"}
    assert not engine.networks.on_host.firewall.present()


def _interfaces() -> set[str]:
    with Netlink() as sock:
        return set(links.names(sock))


def _of_containers() -> set[str]:
    """Return the outer ends of containers' interfaces."""
    return {name for name in _interfaces() if name.startswith("kn") and name != "knarr0"}


def _said(container: Container) -> str:
    """Return what a container has said once it has reached the gateway."""
    text = ""
    for line in container.logs(follow=True):
        text += line.data.decode()
        if "reached" in text:
            break
    return text
