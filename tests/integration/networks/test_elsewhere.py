"""Commands of a caller whose network namespace is not that of the networks."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, Engine, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from tests.support.nethost import NetHost, inside, new_namespace
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.installations import Installation

SAID = "are in another network namespace than this command"


@contextmanager
def elsewhere() -> Iterator[None]:
    """Be in a namespace in which nothing is."""
    namespace = new_namespace()
    try:
        with inside(namespace):
            yield
    finally:
        os.close(namespace)


def _bridges() -> set[str]:
    with Netlink() as sock:
        return {name for name in links.names(sock) if name.startswith(("br-", "knarr", "kn"))}


def test_networks_are_where_they_were_made(nethost: NetHost, engine: Engine) -> None:
    del nethost
    engine.networks.create("web")
    engine.networks.create("more")
    config = ContainerConfig(image="busybox", command=("sleep", "1000"), network="web", name="one")
    one = engine.containers.launch(config, attach=False).container
    there = _bridges()
    with elsewhere():
        for act in (
            lambda: engine.containers.run(ContainerConfig("busybox", ("true",), network="web")),
            lambda: engine.networks.connect("more", "one", EndpointConfig("")),
            lambda: engine.networks.disconnect("web", "one"),
        ):
            with pytest.raises(errors.Conflict, match=SAID):
                act()
        assert [text for text in engine.recover().problems if SAID in text]
        assert engine.containers.get("one").inspect()["State"]["Status"] == "running"
        plain = ContainerConfig("busybox", ("true",), network="none")
        assert engine.containers.run(plain).exit_code == 0
        assert not _bridges()
        one.remove(force=True)
        with pytest.raises(errors.Conflict, match=SAID):
            engine.networks.remove("web")
        engine.networks.remove("more")
    assert engine.networks.prune() == ["web"]
    assert not _bridges() & there


def test_the_launcher_is_there_first(nethost: NetHost, engine: Engine) -> None:
    del nethost
    plain = ContainerConfig("busybox", ("true",), network="none")
    assert engine.containers.run(plain).exit_code == 0
    engine.networks.create("web")
    config = ContainerConfig("busybox", ("true",), network="web")
    with elsewhere():
        with pytest.raises(errors.Conflict, match=SAID):
            engine.containers.run(config)
        assert not _bridges()
    assert engine.containers.run(config).exit_code == 0


def test_a_namespace_that_is_gone_is_forgotten(engine: Engine) -> None:
    engine.networks.create("web")
    config = ContainerConfig("busybox", ("true",), network="web")
    with elsewhere():
        assert engine.containers.run(config).exit_code == 0
    engine.launcher.quit()  # and with it what keeps that namespace
    with elsewhere():
        wait_until(lambda: _runs(engine, config))


def _runs(engine: Engine, config: ContainerConfig) -> bool:
    try:
        return engine.containers.run(config).exit_code == 0
    except errors.Conflict:
        return False  # the launcher, or the resolver, is about to end


def test_the_command_server_serves_nobody_from_elsewhere(
    nethost: NetHost, box: Installation
) -> None:
    del nethost
    words = ("network", "create", "web")
    assert box.run(*words)[0] == 0
    assert box.run("run", "-d", "--network", "web", "busybox", "sleep", "1000")[0] == 0
    with elsewhere():
        code, _, error = box.run("run", "--rm", "--network", "web", "busybox", "true")
        assert code == 125
        assert SAID.encode() in error
        assert box.run("ps", "-q")[0] == 0
