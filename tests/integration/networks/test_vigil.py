"""Rules that somebody flushed are there again, while containers run."""

from __future__ import annotations

import socket

import pytest

from knarr import ContainerConfig, Engine
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.model import HostPort
from knarr.engine.restoring import main
from knarr.kernel import nftables as nft
from knarr.kernel.nftables import INET, Nftables
from knarr.networks import naming
from knarr.networks.firewall import Firewall
from knarr.networks.resolver import client
from knarr.runtime import packets, resolving
from tests.support import leftovers
from tests.support.nethost import HOST4, NetHost
from tests.support.waiting import wait_until


@pytest.mark.vm
def test_what_watches_brings_nothing_back_after_the_last_network(
    nethost: NetHost, engine: Engine
) -> None:
    del nethost
    engine.networks.create("web")
    engine.containers.run(ContainerConfig(image="busybox", command=("true",), network="web"))
    on_host = engine.networks.on_host
    assert on_host.firewall.present()
    engine.networks.remove("web")
    assert not on_host.firewall.present()
    main(engine.settings.data_root, engine.settings.run_root)
    assert not on_host.firewall.present()


@pytest.mark.vm
@pytest.mark.parametrize("network", ["web", "bridge"])
def test_a_flushed_table_comes_back_with_its_ports(
    nethost: NetHost, engine: Engine, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "IDLE", 0.05)  # it stays all the same
    table = naming.table(engine.settings.data_root)
    firewall = Firewall(table)
    engine.networks.create("web")
    engine.networks.create("other")
    config = ContainerConfig(
        image="busybox",
        command=("sh", "-c", "while true; do echo hello | nc -l -p 80; done"),
        network=network,
        ports=(HostPort(80, first=8080, last=8080),),
    )
    container = engine.containers.launch(config, attach=False).container
    wait_until(lambda: _answers(nethost))
    wait_until(lambda: _is_watched(engine))
    for _ in range(3):
        with Nftables() as link:
            link.commit([nft.delete_table(INET, table)])
        wait_until(firewall.present)
        wait_until(lambda: _answers(nethost))
        assert firewall.networks() == {engine.networks.get(network).id}
    container.remove(force=True)


def test_who_watches_over_the_default_network_ends_with_its_last_container(
    nethost: NetHost, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    del nethost
    monkeypatch.setattr(client, "IDLE", 0.05)
    run_root = engine.settings.run_root
    config = ContainerConfig(image="busybox", command=("sleep", "1000"), network="bridge")
    container = engine.containers.launch(config, attach=False).container
    wait_until(lambda: _is_watched(engine))
    engine.networks.disconnect("bridge", container.id)
    wait_until(lambda: not leftovers.has_resolver(run_root))
    engine.networks.connect("bridge", container.id, EndpointConfig(""))
    wait_until(lambda: _is_watched(engine))
    container.remove(force=True)
    wait_until(lambda: not leftovers.has_resolver(run_root))


def test_recover_has_the_default_network_watched_over(nethost: NetHost, engine: Engine) -> None:
    del nethost
    config = ContainerConfig(image="busybox", command=("sleep", "1000"), network="bridge")
    container = engine.containers.launch(config, attach=False).container
    leftovers.end_resolver(engine.settings.run_root)
    report = engine.recover()
    assert report.leftovers == ["the DNS server of containers, which had gone"]
    assert _is_watched(engine)
    container.remove(force=True)


def _is_watched(engine: Engine) -> bool:
    try:
        packets.connect(engine.settings.run_root, resolving.SOCKET).close()
    except OSError:
        return False
    return True


def _answers(nethost: NetHost) -> bool:
    with nethost.beyond():
        client = socket.socket()
    with client:
        client.settimeout(1)
        try:
            client.connect((HOST4, 8080))
            return client.recv(10) == b"hello\n"
        except OSError:
            return False
