"""The resolver at work in namespaces of containers: what it answers, and whom it asks."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from knarr.networks.resolver import client
from tests.support import dns
from tests.support.nethost import inside
from tests.support.resolving import Town, town
from tests.support.waiting import wait_until


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Town]:
    root = tmp_path / "r"
    root.mkdir(mode=0o700)
    with town(root) as made:
        made.ensure()
        yield made


def server(port: int, **more: Any) -> dict[str, Any]:
    return {"address": "127.0.0.1", "port": port, **more}


@pytest.mark.vm
@pytest.mark.parametrize("tcp", [False, True])
def test_a_container_finds_others_by_name_and_by_address(there: Town, tcp: bool) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    there.endpoint("c2", "front", "db", "10.0.0.3", "fd00::3", aliases=("store",))
    there.endpoint("c3", "back", "hidden", "10.1.0.3")
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("db", tcp=tcp).values)
        assert dns.ask("STORE.front", tcp=tcp).values == ["10.0.0.3"]
        assert dns.ask("db", dns.AAAA, tcp=tcp).values == ["fd00::3"]
        assert dns.ask("web", dns.AAAA, tcp=tcp).code == dns.NOERROR
        assert dns.ask("3.0.0.10.in-addr.arpa", dns.PTR, tcp=tcp).values == ["db.front"]
        assert dns.ask("hidden", tcp=tcp).code == dns.SERVFAIL


def test_a_program_may_have_port_53_of_all_addresses_and_is_not_in_the_way(there: Town) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    with inside(guest.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("", 53))
        wait_until(lambda: dns.ask("web").values)


def test_an_answer_changes_as_soon_as_an_endpoint_comes_or_goes(there: Town) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    with inside(guest.namespace):
        there.endpoint("c2", "front", "db", "10.0.0.3")
        wait_until(lambda: dns.ask("db").values == ["10.0.0.3"], 1)
        there.endpoint("c2", "front", "db", "10.0.0.4")
        wait_until(lambda: dns.ask("db").values == ["10.0.0.4"], 1)
        there.leave("c2")
        wait_until(lambda: dns.ask("db").code == dns.SERVFAIL, 1)
        there.endpoint("c1", "back", "web", "10.1.0.2")  # connected while it runs
        there.endpoint("c3", "back", "cache", "10.1.0.3")
        wait_until(lambda: dns.ask("cache").values, 1)


def test_a_container_that_was_killed_is_found_no_more_whoever_tidies_up(there: Town) -> None:
    guest, other = there.guest("c1"), there.guest("c2")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    there.endpoint("c2", "front", "db", "10.0.0.3")
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("db").values)
        other.process.kill()
        wait_until(lambda: dns.ask("db").code == dns.SERVFAIL, 1)


def test_two_hundred_addresses_of_a_name_fit_a_connection(there: Town) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "me", "10.0.0.1")
    for number in range(200):
        there.endpoint(f"n{number}", "front", f"n{number}", f"10.0.1.{number}", aliases=("all",))
    with inside(guest.namespace):
        wait_until(lambda: len(dns.ask("all", tcp=True).values) == 200)
        short = dns.ask("all")
        assert short.truncated
        assert short.size <= 512
        assert len(dns.ask("all", edns=4096).values) == 200
        if shutil.which("dig"):
            dig = ["dig", "@127.0.0.11", "+short", "+bufsize=512", "all"]
            done = subprocess.run(dig, capture_output=True, text=True, check=True)
            assert len(set(done.stdout.split())) == 200


def test_the_addresses_of_a_name_take_turns(there: Town) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "me", "10.0.0.1")
    for number in (2, 3, 4):
        there.endpoint(f"n{number}", "front", f"n{number}", f"10.0.0.{number}", aliases=("all",))
    with inside(guest.namespace):
        wait_until(lambda: len(dns.ask("all").values) == 3)
        assert {dns.ask("all").values[0] for _ in range(100)} == {
            "10.0.0.2", "10.0.0.3", "10.0.0.4"
        }  # fmt: skip


def test_what_is_not_ours_is_asked_elsewhere_the_same_way(there: Town) -> None:
    def respond(packet: bytes, how: str) -> bytes:
        if how == "udp":
            return dns.reply(packet, [], flags=0x0200)
        return dns.reply(packet, [(dns.TXT, b"\xff" + bytes(255))] * 200)

    with dns.upstream(respond) as host:
        guest = there.guest("c1", upstream=[server(host.port, host=True)])
        with inside(guest.namespace):
            assert dns.ask("large.example", dns.TXT).truncated
            whole = dns.ask("large.example", dns.TXT, tcp=True)
            assert (len(whole.values), whole.size > 50_000) == (200, True)
        assert host.asked == [("large.example", "udp"), ("large.example", "tcp")]


@pytest.mark.parametrize("tcp", [False, True])
def test_servers_in_the_containers_network_are_asked_there(there: Town, tcp: bool) -> None:
    guest = there.guest("c1")
    with (
        inside(guest.namespace),
        dns.upstream(
            lambda packet, _: dns.reply(packet, [(dns.A, bytes((192, 0, 2, 1)))])
        ) as inner,
    ):
        there.tell(guest, upstream=[{"address": "127.0.0.11"}, server(inner.port)])
        wait_until(lambda: dns.ask("example.org", tcp=tcp).code == dns.NOERROR)
        assert dns.ask("example.org", tcp=tcp).values == ["192.0.2.1"]


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("code", [dns.SERVFAIL, dns.REFUSED])
def test_a_server_that_fails_is_passed_over(there: Town, tcp: bool, code: int) -> None:
    with (
        dns.upstream(lambda packet, _: dns.reply(packet, [], code)) as bad,
        dns.upstream(lambda packet, _: dns.reply(packet, [(dns.A, b"\1\1\1\1")])) as good,
    ):
        nobody = socket.create_server(("127.0.0.1", 0))
        nobody.close()
        servers = [server(port, host=True) for port in (bad.port, 1, good.port)]
        guest = there.guest("c1", upstream=servers)
        with inside(guest.namespace):
            assert dns.ask("example.org", tcp=tcp).values == ["1.1.1.1"]
        assert len(bad.asked) == 1


def test_a_server_that_says_nothing_costs_four_seconds_and_holds_nobody_up(there: Town) -> None:
    with dns.upstream(lambda *_: None) as silent:
        guest = there.guest("c1", upstream=[server(silent.port, host=True)])
        there.endpoint("c1", "front", "web", "10.0.0.2")
        answers: list[dns.Answer] = []

        def slow() -> None:
            with inside(guest.namespace):
                answers.append(dns.ask("example.org"))

        with inside(guest.namespace):
            wait_until(lambda: dns.ask("web").values)
            thread = threading.Thread(target=slow)
            thread.start()
            wait_until(lambda: silent.asked)
            assert dns.ask("web").values == ["10.0.0.2"]
            assert not answers
        thread.join()
        assert answers[0].code == dns.SERVFAIL


def test_packets_that_are_no_answer_to_the_question_are_not_taken(there: Town) -> None:
    def respond(packet: bytes, _: str) -> bytes:
        wrong = bytes((packet[0] ^ 1,)) + packet[1:]
        liar.sendto(dns.reply(wrong, [(dns.A, b"\6\6\6\6")]), ("127.0.0.1", 9))
        return dns.reply(packet, [(dns.A, b"\1\1\1\1")])

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar,
        dns.upstream(respond) as host,
    ):
        guest = there.guest("c1", upstream=[server(host.port, host=True)])
        with inside(guest.namespace):
            assert dns.ask("example.org").values == ["1.1.1.1"]


def test_an_internal_container_does_not_use_the_hosts_servers(there: Town) -> None:
    with dns.upstream(lambda packet, _: dns.reply(packet, [])) as host:
        guest = there.guest("c1", upstream=[server(host.port, host=True)], internal=True)
        with inside(guest.namespace):
            assert dns.ask("example.org").code == dns.SERVFAIL
        assert host.asked == []


def test_single_names_stay_inside_when_ndots_was_set(there: Town) -> None:
    with dns.upstream(lambda packet, _: dns.reply(packet, [], dns.NXDOMAIN)) as host:
        guest = there.guest("c1", upstream=[server(host.port, host=True)], ndots=2)
        with inside(guest.namespace):
            assert dns.ask("single").code == dns.NOERROR
            assert dns.ask("two.parts").code == dns.NXDOMAIN
        assert host.asked == [("two.parts", "udp")]


def test_another_class_is_not_ours(there: Town) -> None:
    with dns.upstream(lambda packet, _: dns.reply(packet, [], dns.REFUSED)) as host:
        guest = there.guest("c1", upstream=[server(host.port, host=True)])
        with inside(guest.namespace):
            dns.exchange(dns.query("version.bind", dns.TXT, group=3))
        assert host.asked == [("version.bind", "udp")]


def test_hostile_packets(there: Town) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    good = dns.query("web")
    with inside(guest.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(dns.RESOLVER)
        for packet in (
            b"\0",
            good[:11],
            bytes(60000),
            os.urandom(600),
            good[:12] + b"\xc0\x0c\0\1\0\1",
        ):
            sock.send(packet)
        for cut in range(len(good)):
            sock.send(good[:cut] or b"x")
        wait_until(lambda: dns.ask("web").values)
        for rubbish in (b"\xff\xff" + bytes(9000), b"\0\0", b"\0\5abcde", b"\0"):
            with socket.create_connection(dns.RESOLVER) as stream:
                stream.settimeout(20)
                try:
                    stream.sendall(rubbish)
                    stream.shutdown(socket.SHUT_WR)
                    while stream.recv(4096):
                        continue
                except OSError as error:  # it had enough before we had done
                    assert not isinstance(error, TimeoutError)
        assert dns.ask("web", tcp=True).values == ["10.0.0.2"]
    assert "Traceback" not in there.log()


def test_many_queries_on_one_connection_and_answers_nobody_reads(there: Town) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    packet = dns.query("web")
    frame = struct.pack(">H", len(packet)) + packet
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("web").values)
        with socket.create_connection(dns.RESOLVER) as stream:
            stream.sendall(frame * 500)
            stream.shutdown(socket.SHUT_WR)
            for _ in range(500):
                assert dns.read(dns.receive(stream)).values == ["10.0.0.2"]
            assert dns.receive(stream) == b""
        with socket.create_connection(dns.RESOLVER) as greedy:
            greedy.setblocking(False)
            sent = 0
            try:
                while sent < 50_000_000:
                    sent += greedy.send(frame * 200)
            except BlockingIOError:
                pass  # it is not read from any more
            assert dns.ask("web").values == ["10.0.0.2"]
        streams = [socket.create_connection(dns.RESOLVER) for _ in range(200)]
        assert dns.ask("web").values == ["10.0.0.2"]
        for stream in streams:
            stream.close()
        wait_until(lambda: dns.ask("web", tcp=True).values)


def test_one_who_asks_much_on_many_connections_holds_nobody_up(there: Town) -> None:
    greedy, guest = there.guest("c1"), there.guest("c2")
    for each in (greedy, guest):
        there.endpoint(each.id, "front", each.id, "10.0.0.2")
    packet = dns.query("c1")
    frames = (struct.pack(">H", len(packet)) + packet) * 3000
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("c2").values)
    with ExitStack() as stack:
        with inside(greedy.namespace):
            streams = [
                stack.enter_context(socket.create_connection(dns.RESOLVER)) for _ in range(100)
            ]
        for stream in streams:
            stream.setblocking(False)
            stream.send(frames)
        with inside(guest.namespace):
            began = time.monotonic()
            assert dns.ask("c2").values == ["10.0.0.2"]
            # All that was asked at once takes more than a second.
            assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"names": 7}', '{"name": "x", "names": ["x"], "addresses": [1]}'],
)
def test_files_that_are_none_of_ours_do_no_harm(there: Town, content: str) -> None:
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    folder = Path(there.run_root, "networks")
    for name in ("id-front", "by-container"):
        (folder / name / ".new").write_text(content)
        (folder / name / ".new").rename(folder / name / "strange")
        wait_until(partial(there.says, f"{name}/strange"))
    (folder / "a file").write_text("")
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("web").values)


def test_sockets_that_are_not_two_are_refused(there: Town) -> None:
    with client.ensure(there.run_root) as held:
        assert b"error" in held.ask(b'{"container":"x"}')
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while held.ask(b"{}"):
                continue
            raise BrokenPipeError  # an end is one as well
    there.ensure()
