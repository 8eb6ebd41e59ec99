"""Containers that run are joined to networks and taken off them."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.networks import mending
from knarr.kernel import links
from knarr.kernel.netlink import Netlink
from knarr.networks import naming
from knarr.networks.definition import Pool
from tests.support.processes import children, listener
from tests.support.resolving import kill
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nethost")


@pytest.fixture
def web(engine: Engine) -> Container:
    """A container that runs on the network "front"; there is another one, "back"."""
    engine.networks.create("front", pools=(Pool("10.1.0.0/24"),))
    engine.networks.create("back", ipv6=True, pools=(Pool("10.2.0.0/24"), Pool("fd02::/64")))
    config = ContainerConfig(
        image="busybox", command=("sleep", "1000"), name="web", network="front"
    )
    return engine.containers.launch(config, attach=False).container


def _inside(container: Container, script: str) -> str:
    return container.exec_run(ExecConfig(("sh", "-c", script))).stdout.decode()


def _interfaces(container: Container) -> list[str]:
    return _inside(container, "ls /sys/class/net").split()


def _default(container: Container) -> str:
    return _inside(container, "ip route | grep ^default; ip -6 route | grep ^default")


def _outer(container: Container, engine: Engine, network: str) -> bool:
    name = naming.host_interface(container.id, engine.networks.get(network).id)
    with Netlink() as sock:
        return name in links.names(sock)


def test_a_running_container_is_joined_and_taken_off(engine: Engine, web: Container) -> None:
    since = time.time_ns()
    engine.networks.connect("back", "web", EndpointConfig("", ("db",), ip="10.2.0.77"))
    assert _interfaces(web) == ["eth0", "eth1", "lo"]
    assert "10.2.0.77/24" in _inside(web, "ip addr show eth1")
    assert "fd02::2/64" in _inside(web, "ip addr show eth1")
    assert _inside(web, "ping -c 1 -w 5 10.2.0.1 >&2 && echo good") == "good\n"
    shown = engine.networks.get("back").inspect()["Containers"][web.id]
    assert (shown["Name"], shown["IPv4Address"]) == ("web", "10.2.0.77/24")
    path = Path(f"{engine.settings.run_root}/networks/{engine.networks.get('back').id}/{web.id}")
    assert json.loads(path.read_text())["names"] == ["web", "db"]
    engine.networks.disconnect("back", "web")
    assert _interfaces(web) == ["eth0", "lo"]
    assert not path.exists()
    assert not _outer(web, engine, "back")
    assert engine.networks.get("back").inspect()["Containers"] == {}
    told = engine.events(since=since, until=time.time_ns(), filters={"type": ["network"]})
    assert [(each["Action"], each["Actor"]["Attributes"]) for each in told] == [
        (action, {"container": web.id, "name": "back", "type": "bridge"})
        for action in ("connect", "disconnect")
    ]


def test_default_routes_follow(engine: Engine, web: Container) -> None:
    assert "via 10.1.0.1 dev eth0" in _default(web)
    engine.networks.connect("back", "web", EndpointConfig("", priority=7))
    assert "via 10.2.0.1 dev eth1" in _default(web)
    assert "via fd02::1 dev eth1" in _default(web)
    engine.networks.disconnect("back", "web")
    assert _default(web).split("\n")[0].startswith("default via 10.1.0.1 dev eth0")
    engine.networks.disconnect("front", "web")
    assert _interfaces(web) == ["lo"]
    engine.networks.connect("back", "web", EndpointConfig(""))
    assert _interfaces(web) == ["eth0", "lo"]
    assert "via 10.2.0.1 dev eth0" in _default(web)


def test_what_was_joined_is_joined_again_and_ends_with_the_container(
    engine: Engine, web: Container
) -> None:
    engine.networks.connect("back", "web", EndpointConfig("", ip="10.2.0.77"))
    path = Path(f"{engine.settings.run_root}/networks/{engine.networks.get('back').id}/{web.id}")
    assert path.exists()
    web.stop(timeout=0)
    wait_until(lambda: not path.exists())
    wait_until(lambda: not (_outer(web, engine, "back") or _outer(web, engine, "front")))
    web.start(attach=False)
    assert _interfaces(web) == ["eth0", "eth1", "lo"]
    assert "10.2.0.77/24" in _inside(web, "ip addr show eth1")


def test_networks_in_use_stay(engine: Engine, web: Container) -> None:
    with pytest.raises(errors.Forbidden) as caught:
        engine.networks.remove("front")
    (row,) = engine.networks.table.endpoints(container=web.id)
    assert str(caught.value) == (
        "error while removing network: network front has active endpoints "
        f'(name:"web" id:"{row.id[:12]}")'
    )
    assert engine.networks.prune() == ["back"]
    web.stop(timeout=0)
    engine.networks.remove("front")
    with pytest.raises(errors.NotFound, match="set up container networking: network front not"):
        web.start(attach=False)
    engine.networks.create("front", pools=(Pool("10.3.0.0/24"),))  # another one of that name
    web.start(attach=False)
    assert "10.3.0.2/24" in _inside(web, "ip addr show eth0")


@pytest.mark.parametrize(
    ("network", "config", "text"),
    [
        ("front", EndpointConfig(""), "endpoint with name web already exists in network front"),
        ("none", EndpointConfig(""), "one of the networks in private \\(none\\) mode"),
        ("host", EndpointConfig(""), "must be created in host network mode"),
        ("back", EndpointConfig("", ip="10.2.0.1"), "Address already in use: 10.2.0.1"),
        ("back", EndpointConfig("", ip="10.9.0.1"), "no configured subnet contains"),
    ],
)
def test_what_cannot_be_joined(
    engine: Engine, web: Container, network: str, config: EndpointConfig, text: str
) -> None:
    with pytest.raises(errors.KnarrError, match=text):
        engine.networks.connect(network, "web", config)
    assert _interfaces(web) == ["eth0", "lo"]
    assert web.network_names == ["front"]
    assert not _outer(web, engine, "back")
    assert [row.network for row in engine.networks.table.endpoints(container=web.id)] == [
        engine.networks.get("front").id
    ]


def test_a_join_that_fails_half_way_leaves_nothing(engine: Engine, web: Container) -> None:
    options = {"com.docker.network.endpoint.ifname": "a-name-that-is-too-long"}
    with pytest.raises(errors.KnarrError):
        engine.networks.connect("back", "web", EndpointConfig("", options=options))
    assert _interfaces(web) == ["eth0", "lo"]
    assert not _outer(web, engine, "back")
    engine.networks.connect("back", "web", EndpointConfig(""))
    assert _interfaces(web) == ["eth0", "eth1", "lo"]


def test_a_container_in_anothers_network_has_none_of_its_own(
    engine: Engine, web: Container
) -> None:
    config = ContainerConfig(
        image="busybox", command=("sleep", "1000"), name="side", network="container:web"
    )
    engine.containers.launch(config, attach=False)
    with pytest.raises(errors.InvalidArgument, match="sharing network namespace with another"):
        engine.networks.connect("back", "side", EndpointConfig(""))
    engine.networks.connect("back", "web", EndpointConfig(""))
    side = engine.containers.get("side")
    assert _interfaces(side) == ["eth0", "eth1", "lo"]
    assert side.inspect()["NetworkSettings"]["Networks"] == {}


def test_many_connect_and_disconnect_at_once(engine: Engine, web: Container) -> None:

    problems: list[BaseException] = []

    def one(number: int) -> None:
        try:
            name = f"net{number}"
            engine.networks.create(name)
            for _ in range(3):
                engine.networks.connect(name, "web", EndpointConfig(""))
                engine.networks.disconnect(name, "web")
            engine.networks.remove(name)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert _interfaces(web) == ["eth0", "lo"]
    with Netlink() as sock:
        assert len([name for name in links.names(sock) if name.startswith(("kn", "br-"))]) == 2


def _reaches(container: Container, address: str) -> bool:
    return _inside(container, f"ping -c 1 -w 5 {address} >&2 && echo good") == "good\n"


def test_recover_mends_what_was_taken_away(engine: Engine, web: Container) -> None:
    engine.networks.connect("back", "web", EndpointConfig(""))
    assert engine.recover().leftovers == []
    front, back = (engine.networks.get(name) for name in ("front", "back"))
    with Netlink() as sock:
        sock.ask(links.delete_link(f"br-{front.id[:12]}"))
        sock.ask(links.delete_link(naming.host_interface(web.id, back.id)))
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    report = engine.recover()
    assert report.problems == []
    assert sorted(report.leftovers) == [
        "container web, which had lost its interface in network back",
        "network front, which was not whole on the host",
    ]
    assert _interfaces(web) == ["eth0", "eth1", "lo"]
    assert _reaches(web, "10.1.0.1")
    assert _reaches(web, "10.2.0.1")
    assert engine.networks.on_host.firewall.networks() == {front.id, back.id}
    assert engine.recover().leftovers == []


def test_what_cannot_be_mended_does_not_keep_the_rest_from_it(
    engine: Engine, web: Container
) -> None:
    engine.networks.create("own", options={"com.docker.network.bridge.name": "own0"})
    config = ContainerConfig(image="busybox", command=("sleep", "1000"), network="own")
    other = engine.containers.launch(config, attach=False).container
    bridge = f"br-{engine.networks.get('front').id[:12]}"
    with Netlink() as sock:
        sock.ask(links.delete_link(bridge), links.delete_link("own0"))
        sock.ask(links.new_veth("own0", "own1"))  # somebody else's now
        report = engine.recover()
        assert [text for text in report.problems if "own0 exists, and is no bridge" in text]
        assert report.leftovers == ["network front, which was not whole on the host"]
        sock.ask(links.delete_link("own0"))
    assert _reaches(web, "10.1.0.1")
    report = engine.recover()
    assert (report.problems, report.leftovers) == (
        [],
        ["network own, which was not whole on the host"],
    )
    other.remove(force=True)


def test_one_that_ends_while_it_is_mended_is_no_problem(engine: Engine, web: Container) -> None:
    record, network = engine.table.existing(web.id), engine.networks.find("front")
    web.kill()
    web.wait()
    assert list(mending._join(engine, record, network)) == []


def test_a_rename_is_told(engine: Engine, web: Container) -> None:
    engine.networks.connect("back", "web", EndpointConfig("", ("db",)))
    web.rename("other")
    path = Path(f"{engine.settings.run_root}/networks/{engine.networks.get('back').id}/{web.id}")
    assert json.loads(path.read_text())["names"] == ["other", "db"]


def _told(engine: Engine, since: int) -> list[tuple[str, str]]:
    """Return what was told of networks: action and name."""
    found = engine.events(since=since, until=time.time_ns(), filters={"type": ["network"]})
    return [(each["Action"], each["Actor"]["Attributes"]["name"]) for each in found]


def test_a_start_connects_and_an_end_disconnects(engine: Engine, web: Container) -> None:
    engine.networks.connect("back", "web", EndpointConfig(""))
    since = time.time_ns()
    web.stop(timeout=0)
    wait_until(lambda: len(_told(engine, since)) == 2)
    web.start(attach=False)
    assert _told(engine, since) == [
        ("disconnect", "back"), ("disconnect", "front"), ("connect", "front"), ("connect", "back"),
    ]  # fmt: skip
    engine.networks.disconnect("front", "web")
    web.stop(timeout=0)
    wait_until(lambda: len(_told(engine, since)) >= 6)
    assert _told(engine, since)[4:] == [("disconnect", "front"), ("disconnect", "back")]
    everything = engine.events(since=since, until=time.time_ns())
    order = [each["Action"] for each in everything if each["Type"] in ("network", "container")]
    assert order.index("connect") < order.index("start")
    assert order.index("die") < order.index("disconnect")


def test_a_container_of_the_default_network_finds_names_once_it_is_on_another(
    engine: Engine, web: Container
) -> None:
    plain = ContainerConfig(image="busybox", command=("sleep", "1000"), network="bridge")
    late = engine.containers.launch(plain, attach=False).container
    assert "127.0.0.11" not in _inside(late, "cat /etc/resolv.conf")
    engine.networks.connect("front", late.name, EndpointConfig("", ("late",)))
    assert "nameserver 127.0.0.11" in _inside(late, "cat /etc/resolv.conf")
    assert "10.1.0.3" in _inside(late, "grep 10.1 /etc/hosts")
    wait_until(lambda: "10.1.0.2" in _inside(late, "nslookup web"))
    assert "10.1.0.3" in _inside(web, "nslookup late")
    engine.networks.disconnect("front", late.name)
    assert _inside(late, "grep 10.1 /etc/hosts") == ""
    assert "10.1.0.3" not in _inside(web, "nslookup late")


def test_recover_brings_the_resolver_back(engine: Engine, web: Container) -> None:
    root = engine.settings.run_root
    keeper = listener(f"{root}/resolver.sock")
    for pid in (keeper, *children(keeper)):
        kill(pid)
    engine.recover()
    wait_until(lambda: "10.1.0.2" in _inside(web, "nslookup web.front 127.0.0.11"))


def test_without_a_resolver_a_container_with_names_does_not_start(
    engine: Engine, web: Container
) -> None:
    root = engine.settings.run_root
    keeper = listener(f"{root}/resolver.sock")
    for pid in (keeper, *children(keeper)):
        kill(pid)
    lock = Path(root, "resolver.lock")
    lock.unlink()
    lock.mkdir()
    other = ContainerConfig(image="busybox", command=("true",), name="other", network="front")
    with pytest.raises(errors.KnarrError, match=r"no DNS server for containers: .*resolver\.log"):
        engine.containers.launch(other, attach=False)
    lock.rmdir()
    engine.containers.get("other").start(attach=False)


def test_starts_and_removals_at_once(engine: Engine) -> None:
    """A network is there for who starts on it, or is not; there is nothing in between."""
    problems: list[BaseException] = []
    started: list[str] = []
    over = threading.Event()
    news = threading.Semaphore(0)  # of a start that was done, or of the end

    def remove() -> None:
        for number in itertools.count():
            if number % 8 == 0:
                news.acquire()  # somebody starts on it now and then, and others are half way
            if over.is_set():
                return
            for act in (engine.networks.remove, engine.networks.create):
                try:
                    act("net")
                except errors.Forbidden:
                    engine.networks.prune()
                except (errors.Conflict, errors.NotFound):
                    continue
                except BaseException as error:
                    problems.append(error)

    def start() -> None:
        config = ContainerConfig(
            image="busybox", command=("cat", "/sys/class/net/eth0/operstate"), network="net",
            auto_remove=True,
        )  # fmt: skip
        for _ in range(12):
            try:
                started.append(engine.containers.run(config).stdout.decode())
                news.release()
            except errors.NotFound:
                continue
            except BaseException as error:
                problems.append(error)

    engine.networks.create("net")
    remover = threading.Thread(target=remove)
    starters = [threading.Thread(target=start) for _ in range(3)]
    for thread in (remover, *starters):
        thread.start()
    for thread in starters:
        thread.join()
    over.set()
    news.release()
    remover.join()
    assert problems == []
    assert started
    assert set(started) <= {"up\n"}
    wait_until(lambda: not engine.networks.prune() and _left() == set())


def _left() -> set[str]:
    with Netlink() as sock:
        return {name for name in links.names(sock) if name.startswith(("kn", "br-"))}
