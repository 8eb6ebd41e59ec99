"""Containers of other runtimes on networks: addresses, ports, names, as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, ExecConfig, HostPort
from knarr.engine.endpointconfig import EndpointConfig
from tests.support.nethost import HOST4, NetHost, answers, nethost
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.runtimes.conftest import Box

__all__ = ["nethost"]


def test_a_published_port(nethost: NetHost, box: Box) -> None:
    web = box.launch(
        "nc",
        "-ll",
        "-p",
        "80",
        "-e",
        "cat",
        network="bridge",
        ports=(HostPort(80, "tcp", "", 8080, 8080),),
    )
    try:
        wait_until(lambda: answers(HOST4, 8080))
        with nethost.beyond():
            assert answers(HOST4, 8080)
        address = web.inspect()["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        assert answers(address, 80)
    finally:
        web.remove(force=True)
    assert not answers(HOST4, 8080)


@pytest.mark.usefixtures("nethost")
def test_names(runc_box: Box) -> None:
    """One of knarr's own finds one of the other runtime, and is found."""
    engine = runc_box.engine
    network = engine.networks.create("app")
    own = engine.containers.launch(
        ContainerConfig(
            "busybox", ("nc", "-ll", "-p", "1", "-e", "cat"), name="own", network="app"
        ),
        attach=False,
    ).container
    other = runc_box.launch("nc", "-ll", "-p", "2", "-e", "cat", name="other", network="app")
    try:
        said = runc_box.sh("echo hi | nc -w 9 own 1; echo ho | nc -w 9 other 2", network="app")
        assert said.text == "hi\nho\n"
        config = ContainerConfig(
            "busybox", ("sh", "-c", "echo hu | nc -w 9 other 2"), network="app", auto_remove=True
        )
        assert engine.containers.run(config).text == "hu\n"
        engine.networks.disconnect("app", "other")
        assert "eth0" not in links(other)
        engine.networks.connect("app", "other", EndpointConfig("app"))
        assert "eth0" in links(other)
    finally:
        own.remove(force=True)
        other.remove(force=True)
        network.remove()


def links(container: Container) -> str:
    return container.exec_run(ExecConfig(("ls", "/sys/class/net"))).text
