"""``--egress-allow``: containers of the engine, and an outside world that answers for names."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from knarr import Container, Engine, Sandbox, errors
from knarr.engine.endpointconfig import EndpointConfig
from knarr.engine.model import ContainerConfig
from knarr.engine.networks import mending
from knarr.kernel import links
from knarr.kernel import nftables as nft
from knarr.kernel.netlink import Netlink
from knarr.kernel.nftables import INET, Nftables
from knarr.networks import egress as entries
from knarr.networks import naming
from knarr.networks.definition import Pool
from knarr.runtime import egress
from tests.support import dns
from tests.support.bridges import PORT, family_of, peer, serving
from tests.support.installations import Installation
from tests.support.nethost import HOST4, HOST6, OUTSIDE4, OUTSIDE6, NetHost, inside
from tests.support.processes import children, listener
from tests.support.waiting import PATIENCE, wait_until

OTHER4, OTHER6 = "198.51.100.3", "2001:db8::3"
A, AAAA, CNAME = dns.A, dns.AAAA, 5

Record = tuple[str, int, int, bytes]


def a(name: str, address: str, ttl: int = 60) -> Record:
    kind = AAAA if ":" in address else A
    family = socket.AF_INET6 if kind == AAAA else socket.AF_INET
    return name, kind, ttl, socket.inet_pton(family, address)


def alias(name: str, target: str, ttl: int = 60) -> Record:
    return name, CNAME, ttl, dns.name(target)


@dataclass
class World:
    """The outside: name that is asked for -> the records of the answer."""

    host: NetHost
    zone: dict[str, list[Record]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    hostile: Callable[[bytes], bytes] | None = None

    def answer(self, packet: bytes, _: str) -> bytes:
        if self.hostile is not None:
            return self.hostile(packet)
        name, end = _question(packet)
        kind = struct.unpack(">H", packet[end - 4 : end - 2])[0]
        records = [
            each for each in self.zone.get(name, ()) if each[1] in (kind, CNAME) or kind == dns.TXT
        ]
        code = dns.NOERROR if name in self.zone else dns.NXDOMAIN
        head = struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return (
            packet[:2]
            + head
            + packet[12:end]
            + b"".join(
                (b"\xc0\x0c" if owner == name else dns.name(owner))
                + struct.pack(">HHIH", kind, 1, ttl, len(data))
                + data
                for owner, kind, ttl, data in records
            )
        )


def _question(packet: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += packet[at] + 1
    return ".".join(labels).lower(), at + 5


@pytest.fixture
def world(nethost: NetHost) -> Iterator[World]:
    made = World(nethost)
    with nethost.beyond():
        with Netlink() as sock:
            index = links.index_of("eth0")
            sock.ask(links.new_address(index, OTHER4, 24), links.new_address(index, OTHER6, 64))
        server = dns.upstream(made.answer, OUTSIDE4, port=53)
        made.asked = server.__enter__().asked
    try:
        yield made
    finally:
        server.__exit__(None, None, None)


@dataclass
class Limited:
    """A container that runs, as seen from its network namespace."""

    world: World
    container: Container
    namespace: int

    def reaches(self, address: str, port: int = PORT, proto: str = "tcp") -> bool:
        """Tell whether somebody at an address of the outside world is reached, or it is refused."""
        with serving(self.world.host.outside, address, proto, port) as server:
            return calls(self.namespace, server, address, port, proto)

    def refuses(self, name: str) -> bool:
        """Tell whether the resolver is there, and says that there is no such name."""
        try:
            with inside(self.namespace):
                answer = dns.exchange(dns.query(name), patience=0.5)
        except OSError:
            return False
        return dns.read(answer).code == dns.NXDOMAIN

    def ask(self, name: str, kind: int = A, *, tcp: bool = False) -> dns.Answer:
        with inside(self.namespace):
            return dns.ask(name, kind, tcp=tcp)


def calls(
    where: int, server: socket.socket, address: str, port: int = PORT, proto: str = "tcp"
) -> bool:
    """Call a server from a namespace; return whether it answers, or the caller is refused."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with inside(where):
        client = socket.socket(family_of(address), kind)
    with client:
        client.settimeout(PATIENCE)
        try:
            client.connect((address, port))
            client.send(b"hello")
            while not select.select([server], [], [], 0.1)[0]:
                client.send(b"hello")  # the kernel does not tell of each that it refuses
        except TimeoutError:
            raise
        except OSError:
            return False
    return True


@contextlib.contextmanager
def running(
    world: World, engine: Engine, *allowed: str, network: str = "web", **more: object
) -> Iterator[Limited]:
    """A container that reaches no more than was allowed, and asks the outside for names."""
    config = ContainerConfig(
        image="busybox", command=("sleep", "1000"), network=network, egress_allow=allowed,
        **{"dns": (OUTSIDE4,), **more},  # type: ignore[arg-type]
    )  # fmt: skip
    container = engine.containers.launch(config, attach=False).container
    namespace = os.open(f"/proc/{container.state.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Limited(world, container, namespace)
    finally:
        os.close(namespace)
        container.remove(force=True)


@pytest.fixture
def web(engine: Engine) -> str:
    return engine.networks.create("web", ipv6=True).id


pytestmark = pytest.mark.usefixtures("web")


@pytest.mark.vm
@pytest.mark.parametrize("tcp", [False, True])
def test_names_open_their_addresses_and_no_others(world: World, engine: Engine, tcp: bool) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4), a("example.org", OTHER6)]
    world.zone["other.org"] = [a("other.org", OUTSIDE4)]
    with running(world, engine, "example.org") as box:
        assert not box.reaches(OTHER4)
        assert not box.reaches(OTHER6)
        assert box.ask("other.org", tcp=tcp).code == dns.NXDOMAIN
        assert box.ask("sub.example.org", tcp=tcp).code == dns.NXDOMAIN
        assert not world.asked  # nobody in the world has learned of them
        assert box.ask("EXAMPLE.org", tcp=tcp).values == [OTHER4]
        assert box.reaches(OTHER4)
        assert box.reaches(OTHER4, proto="udp")
        assert not box.reaches(OTHER6)
        assert box.ask("example.org", AAAA, tcp=tcp).values == [OTHER6]
        assert box.reaches(OTHER6)
        assert not box.reaches(OUTSIDE4)
        assert not box.reaches(OUTSIDE6)
        # Nor whom it asks for names: that is done from elsewhere.
        assert not box.reaches(OUTSIDE4, 5353, "udp")


def test_a_name_with_a_port_opens_that_one(world: World, engine: Engine) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4)]
    with running(world, engine, f"example.org:{PORT}/tcp", "example.org:53") as box:
        assert box.ask("example.org").values == [OTHER4]
        assert box.reaches(OTHER4)
        assert not box.reaches(OTHER4, PORT + 1)
        assert not box.reaches(OTHER4, PORT, "udp")


def test_what_is_below_a_name(world: World, engine: Engine) -> None:
    world.zone["a.b.example.org"] = [a("a.b.example.org", OTHER4)]
    world.zone["example.org"] = [a("example.org", OUTSIDE4)]
    world.zone["badexample.org"] = [a("badexample.org", OUTSIDE4)]
    with running(world, engine, "*.example.org") as box:
        assert box.ask("example.org").code == dns.NXDOMAIN
        assert box.ask("badexample.org").code == dns.NXDOMAIN
        assert box.ask("a.b.example.org").values == [OTHER4]
        assert box.reaches(OTHER4)


def test_aliases_are_followed_and_strangers_in_an_answer_are_not(
    world: World, engine: Engine
) -> None:
    world.zone["example.org"] = [
        a("stranger.net", OUTSIDE4),
        a("cdn.example.net", OTHER4),
        alias("www.example.net", "cdn.example.net"),
        alias("example.org", "www.example.net"),
    ]
    with running(world, engine, "example.org") as box:
        assert OTHER4 in box.ask("example.org").values
        assert box.reaches(OTHER4)
        assert not box.reaches(OUTSIDE4)


@pytest.mark.parametrize(
    "inner",
    [
        "127.0.0.1", "169.254.169.254", "10.7.0.1", "172.17.0.1", "192.168.1.1", "100.64.0.1",
        "0.0.0.0", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)  # fmt: skip
def test_no_name_leads_behind_the_hosts_back(world: World, engine: Engine, inner: str) -> None:
    kind = AAAA if ":" in inner else A
    outer = OTHER6 if ":" in inner else OTHER4
    world.zone["example.org"] = [a("example.org", inner), a("example.org", outer)]
    world.zone["bad.example.org"] = [a("bad.example.org", inner)]
    with running(world, engine, "example.org", "*.example.org") as box:
        assert box.ask("example.org", kind).values == [outer]
        bad = box.ask("bad.example.org", kind)
        assert (bad.code, bad.values) == (dns.NOERROR, [])
        assert _opened(engine) == {socket.inet_pton(
            socket.AF_INET6 if ":" in outer else socket.AF_INET, outer
        )}  # fmt: skip


def test_a_name_may_lead_to_a_network_that_was_allowed(world: World, engine: Engine) -> None:
    world.zone["git.corp"] = [a("git.corp", "10.7.0.1")]
    with running(world, engine, "git.corp", "10.7.0.0/16") as box:
        assert box.ask("git.corp").values == ["10.7.0.1"]
        assert not _opened(engine)


@pytest.mark.parametrize("own", [HOST4, HOST6])
def test_a_name_that_leads_to_the_host(world: World, engine: Engine, own: str) -> None:
    world.zone["example.org"] = [a("example.org", own)]
    with running(world, engine, "example.org") as box:
        assert box.ask("example.org", AAAA if ":" in own else A).values == [own]
        with serving(world.host.host, own) as server:
            assert not calls(box.namespace, server, own)


def test_times_are_bounded(world: World, engine: Engine) -> None:
    world.zone["long.example.org"] = [a("long.example.org", OTHER4, 10**6)]
    world.zone["never.example.org"] = [a("never.example.org", OTHER4, 1 << 31)]
    world.zone["short.example.org"] = [a("short.example.org", OTHER6, 0)]
    with running(world, engine, "*.example.org") as box:
        assert box.ask("long.example.org").ttls == {3600}
        assert box.ask("short.example.org", AAAA).ttls == {0}
        left = _timeouts(engine)
        assert 3600 <= left[OTHER4] <= 3700
        assert 300 <= left[OTHER6] <= 400


def _timeouts(engine: Engine) -> dict[str, int]:
    """Return how long each open address is open yet, in seconds, as nft(8) tells it."""
    table = naming.table(engine.settings.data_root)
    command = ["nft", "-j", "list", "table", "inet", table]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {
        each["elem"]["val"]["concat"][1]: each["elem"]["timeout"]
        for thing in listed["nftables"]
        if "set" in thing and thing["set"]["name"].startswith("egress_names")
        for each in thing["set"].get("elem", ())
    }


def _opened(engine: Engine) -> set[bytes]:
    """Return the addresses that names have opened."""
    table = naming.table(engine.settings.data_root)
    with Nftables() as link:
        return {
            one.key[4:]
            for each in (egress.NAMES4, egress.NAMES6)
            for one in link.list_elements(INET, table, each.name)
        }


@pytest.mark.parametrize(
    "reply",
    [
        lambda query: query[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + query[12:],
        lambda query: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + b"\xc0\xff" * 6,
        lambda query: (
            query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:]
            + b"\xc0" + bytes((len(query),)) + b"\0\1\0\1\0\0\0\1\0\4\1\2\3\4"
        ),
        lambda query: (
            query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:]
            + b"\xc0\x0c\0\1\0\1\0\0\0\1\xff\xff\1\2\3\4"
        ),
    ],
    ids=["no records", "garbage", "a name that is its own end", "a record that is too long"],
)  # fmt: skip
def test_hostile_answers(world: World, engine: Engine, reply: Callable[[bytes], bytes]) -> None:
    world.hostile = reply
    with running(world, engine, "example.org") as box:
        assert box.ask("example.org").code == dns.SERVFAIL
        assert not _opened(engine)
        world.hostile = None
        world.zone["example.org"] = [a("example.org", OTHER4)]
        assert box.ask("example.org").values == [OTHER4]


def test_who_answers_with_ever_new_addresses_fills_no_memory(world: World, engine: Engine) -> None:
    many = [a("example.org", f"8.{number >> 8}.{number & 255}.1") for number in range(5000)]
    world.zone["example.org"] = many[:3000]
    with running(world, engine, "example.org") as box:
        assert len(box.ask("example.org", tcp=True).values) == 3000
        world.zone["example.org"] = many[3000:]
        assert box.ask("example.org", tcp=True).code == dns.SERVFAIL
        assert len(_opened(engine)) == 3000


def test_nothing_at_all(world: World, engine: Engine) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4)]
    with running(world, engine) as box:
        assert box.ask("example.org").code == dns.NXDOMAIN
        assert not box.reaches(OTHER4)


def test_networks_and_the_default_network_has_a_resolver(world: World, engine: Engine) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4)]
    allowed = (f"{OUTSIDE4}/32:{PORT}", "example.org")
    with running(world, engine, *allowed, network="bridge") as box:
        assert box.reaches(OUTSIDE4)
        assert not box.reaches(OUTSIDE4, PORT + 1)
        assert not box.reaches(OTHER4)
        assert box.ask("example.org").values == [OTHER4]
        assert box.reaches(OTHER4)


def test_siblings_are_found_and_reached(world: World, engine: Engine) -> None:
    with running(world, engine, name="one") as box, running(world, engine, name="two") as other:
        (address,) = box.ask("two").values
        with serving(other.namespace, address) as server:
            assert peer(box.namespace, server, address)


@pytest.mark.vm
def test_rules_that_were_flushed_come_back_with_what_names_had_opened(
    world: World, engine: Engine
) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4)]
    with running(world, engine, "example.org", f"{OUTSIDE4}/32") as box:
        assert box.ask("example.org").values == [OTHER4]
        for _ in range(2):
            with Nftables() as link:
                link.commit([nft.delete_table(INET, naming.table(engine.settings.data_root))])
            assert not box.reaches(OTHER6)
            wait_until(lambda: box.reaches(OTHER4))
            assert box.reaches(OUTSIDE4)
            assert not box.reaches(OTHER6)


def test_recover_brings_the_rules_back_when_nobody_watched(world: World, engine: Engine) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4)]
    table = naming.table(engine.settings.data_root)
    with running(world, engine, "example.org", f"{OUTSIDE4}/32") as box:
        keeper = listener(f"{engine.settings.run_root}/resolver.sock")
        for pid in (keeper, *children(keeper)):
            os.kill(pid, signal.SIGKILL)
        with Nftables() as link:
            link.commit([nft.delete_table(INET, table)])
        assert not box.reaches(OUTSIDE4)
        assert not mending.mend(engine).problems
        assert box.reaches(OUTSIDE4)
        assert not box.reaches(OTHER4)
        wait_until(lambda: box.refuses("other.org"))
        assert box.ask("example.org").values == [OTHER4]
        assert box.reaches(OTHER4)


@pytest.mark.vm
def test_a_resolver_that_was_killed(world: World, engine: Engine) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4), a("example.org", OTHER6)]
    with running(world, engine, "example.org") as box:
        assert box.ask("example.org").values == [OTHER4]
        keeper = listener(f"{engine.settings.run_root}/resolver.sock")
        (worker,) = children(keeper)
        os.kill(worker, signal.SIGKILL)
        assert box.reaches(OTHER4)
        assert not box.reaches(OTHER6)
        wait_until(lambda: children(keeper) not in ([], [worker]))
        wait_until(lambda: box.refuses("other.org"))
        assert box.ask("example.org", AAAA).values == [OTHER6]
        assert box.reaches(OTHER6)


def test_networks_that_come_and_go_while_it_runs(world: World, engine: Engine) -> None:
    engine.networks.create("back", ipv6=True)
    world.zone["example.org"] = [a("example.org", OTHER4)]
    with running(world, engine, "example.org") as box:
        assert box.ask("example.org").values == [OTHER4]
        engine.networks.connect("back", box.container.id, EndpointConfig("back", priority=5))
        assert box.reaches(OTHER4)
        assert not box.reaches(OUTSIDE4)
        engine.networks.disconnect("web", box.container.id)
        assert box.reaches(OTHER4)
        assert not box.reaches(OUTSIDE4)
        engine.networks.disconnect("back", box.container.id)
        engine.networks.connect("web", box.container.id, EndpointConfig("web"))
        assert box.reaches(OTHER4)
        assert not box.reaches(OUTSIDE4)


def test_who_starts_on_no_network_is_limited_on_the_first(world: World, engine: Engine) -> None:
    with running(world, engine, f"{OTHER4}/32", endpoints=()) as box:
        engine.networks.connect("web", box.container.id, EndpointConfig("web"))
        assert box.reaches(OTHER4)
        assert not box.reaches(OUTSIDE4)


def test_who_shares_its_network_is_limited_too(world: World, engine: Engine) -> None:
    with running(world, engine) as box:
        script = f"nc -w 1 {OUTSIDE4} {PORT} </dev/null && echo reached"
        config = ContainerConfig(
            image="busybox", command=("sh", "-c", script), network=f"container:{box.container.id}"
        )
        with serving(world.host.outside, OUTSIDE4):
            assert b"reached" not in engine.containers.run(config).stdout


def test_nothing_is_left_when_it_ends(world: World, engine: Engine) -> None:
    world.zone["example.org"] = [a("example.org", OTHER4)]
    table = naming.table(engine.settings.data_root)
    with running(world, engine, "example.org", "10.1.0.0/16", "10.2.0.0/16:443") as box:
        box.ask("example.org")
    with Nftables() as link:
        for each in egress.SETS:
            assert not link.list_elements(INET, table, each.name), each.name


@pytest.mark.parametrize(
    ("network", "kind", "text"),
    [
        ("host", errors.InvalidArgument, "--egress-allow and the network mode host"),
        ("lan", errors.Unsupported, "network lan: --egress-allow cannot be enforced with driver"),
    ],
)
def test_where_it_cannot_be_enforced(
    nethost: NetHost, engine: Engine, network: str, kind: type[Exception], text: str
) -> None:
    del nethost
    engine.networks.create(
        "lan", driver="macvlan", options={"parent": "uplink"},
        pools=[Pool("192.0.2.0/24", gateway="192.0.2.1")],
    )  # fmt: skip
    config = ContainerConfig(image="busybox", network=network, egress_allow=("example.org",))
    with pytest.raises(kind, match=text):
        engine.containers.create(config)
    container = engine.containers.create(
        ContainerConfig(image="busybox", network="web", egress_allow=("example.org",))
    )
    with pytest.raises(errors.Unsupported, match="--egress-allow cannot be enforced"):
        engine.networks.connect("lan", container.id, EndpointConfig("lan"))
    other = ContainerConfig(
        image="busybox", network=f"container:{container.id}", egress_allow=("example.org",)
    )
    with pytest.raises(errors.InvalidArgument, match="--egress-allow and the network mode"):
        engine.containers.create(other)


def test_without_a_network_there_is_nothing_to_enforce(engine: Engine) -> None:
    config = ContainerConfig(
        image="busybox", command=("true",), network="none", egress_allow=("example.org",)
    )
    assert engine.containers.run(config).exit_code == 0


def test_two_containers_of_one_mark(
    world: World, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "mark", lambda _: egress.PREFIX | 5)
    with (
        running(world, engine),
        pytest.raises(errors.KnarrError, match="has the mark"),
        running(world, engine, "0.0.0.0/0"),
    ):
        pass


def test_a_sandbox_and_its_fork_are_limited(world: World, engine: Engine) -> None:
    allowed = f"{OTHER4}/32:{PORT},example.org"
    open_way, closed = (f"nc {each} {PORT} </dev/null" for each in (OTHER4, OUTSIDE4))
    outside = world.host.outside

    def let_in() -> None:
        for _ in range(2):
            server.accept()[0].close()

    with (
        serving(outside, OTHER4) as server,
        serving(outside, OUTSIDE4),
        Sandbox("busybox", network="web", egress_allow=allowed, engine=engine) as box,
        box.fork() as fork,
    ):
        server.settimeout(PATIENCE)
        door = threading.Thread(target=let_in)
        door.start()
        for one in (box, fork):
            assert one.container.inspect()["HostConfig"]["EgressAllow"] == allowed.split(",")
            assert b"refused" in one.run("sh", "-c", closed, timeout=PATIENCE).stderr
            assert one.run("sh", "-c", open_way, timeout=PATIENCE).exit_code == 0
        door.join()


def test_a_text_is_no_list_of_entries(engine: Engine) -> None:
    del engine
    with pytest.raises(errors.InvalidArgument, match="give its words"):
        ContainerConfig(image="busybox", egress_allow="example.org")  # type: ignore[arg-type]


def test_inspect_and_the_command_line(nethost: NetHost, box: Installation) -> None:
    del nethost
    words = ("--egress-allow", "example.org,10.1.0.0/16", "--egress-allow", "[2001:db8::/32]:443")
    status, _, said = box.run("create", "--name", "one", *words, "busybox")
    assert status == 0, said
    shown = box.run("inspect", "-f", "{{json .HostConfig.EgressAllow}}", "one")[1]
    assert json.loads(shown) == ["example.org", "10.1.0.0/16", "[2001:db8::/32]:443"]
    status, _, said = box.run("create", "--egress-allow", "10.1.0.1/16", "busybox")
    assert status == 125
    assert b"invalid egress '10.1.0.1/16': 10.1.0.1/16 has host bits set" in said
