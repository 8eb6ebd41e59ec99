"""A resolver begins when it is needed, comes back when it is killed, ends when nothing is left."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knarr.kernel.process import pidfd_open, start_time
from knarr.networks.resolver import client
from knarr.runtime import resolving
from tests.support import dns, processes
from tests.support.nethost import inside
from tests.support.resolving import Guest, Town, await_end, kill, town
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Town]:
    root = tmp_path / "r"
    root.mkdir(mode=0o700)
    with town(root) as made:
        yield made


def test_whoever_comes_first_starts_it_and_there_is_one(there: Town) -> None:
    with ThreadPoolExecutor(8) as pool:
        all_of_them = list(pool.map(lambda _: client.ensure(there.run_root), range(8)))
    pids = set()
    for held in all_of_them:
        with held:
            pids.add(json.loads(held.ask(b'{"hello":1}'))["pid"])
    assert pids == {there.worker()}
    assert processes.name(there.resolver()) == processes.name(there.worker()) == "knarr-resolver"
    assert os.getpid() not in (parent_of(there.resolver()), parent_of(there.worker()))


def parent_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


@pytest.mark.vm
def test_one_that_is_killed_is_replaced_and_finds_all_again(there: Town) -> None:
    there.ensure()
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("web").values)
        for _ in range(3):
            before = there.worker()
            kill(before)
            wait_until(lambda: found_again("web"))
            assert there.worker() != before
            assert dns.ask("web", tcp=True).values == ["10.0.0.2"]


def found_again(name: str) -> bool:
    try:
        return bool(dns.read(dns.exchange(dns.query(name), patience=0.3)).values)
    except TimeoutError:
        return False  # its socket is not there yet


def test_nobody_is_refused_while_one_is_replaced(there: Town) -> None:
    there.ensure()
    kill(there.worker())
    guest = there.guest("c1")  # at once
    there.endpoint("c1", "front", "web", "10.0.0.2")
    with inside(guest.namespace):
        wait_until(lambda: found_again("web"))


def test_without_its_keeper_it_goes_on_and_without_both_the_next_one_finds_all(there: Town) -> None:
    there.ensure()
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    worker = there.worker()
    kill(there.resolver())
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("web").values)
        there.ensure()
        kill(worker)
        with pytest.raises(ConnectionRefusedError):
            dns.ask("web", tcp=True)
        there.ensure()
        wait_until(lambda: found_again("web"))


def test_a_program_that_takes_the_port_meanwhile_does_not_keep_it_from_the_names(
    there: Town,
) -> None:
    there.ensure()
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    path = Path(resolving.sockets_file(there.run_root, "c1"))
    port = json.loads(path.read_text())["port"]
    keeper, worker = there.resolver(), there.worker()
    kill(keeper)
    kill(worker)
    with inside(guest.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.bind((resolving.ADDRESS, port))
        there.ensure()
        wait_until(lambda: found_again("web"))
    wait_until(lambda: json.loads(path.read_text())["port"] != port)
    assert [each.name for each in path.parent.iterdir()] == ["c1"]
    kill(there.worker())
    with inside(guest.namespace):
        wait_until(lambda: found_again("web"))


def test_one_that_has_run_and_ended_before_we_come_to_it_is_not_refused(there: Town) -> None:
    there.ensure()
    short = there.guests["c1"] = Guest.begin("c1")
    began = start_time(short.process.pid)
    short.process.kill()
    there.serve(short, pid_start=began)  # its parent has not looked yet
    short.process.wait()
    there.serve(short, pid_start=began)


def test_containers_that_ended_meanwhile_are_not_found_again(there: Town) -> None:
    there.ensure()
    guest, other = there.guest("c1"), there.guest("c2")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    there.endpoint("c2", "front", "db", "10.0.0.3")
    keeper, worker = there.resolver(), there.worker()
    kill(keeper)
    kill(worker)
    other.process.kill()
    other.process.wait()
    there.ensure()
    with inside(guest.namespace):
        wait_until(lambda: found_again("web"))
        assert dns.ask("db").code == dns.SERVFAIL


def test_the_next_life_of_a_container_has_its_names(there: Town) -> None:
    there.ensure()
    guest = there.guest("c1")
    first = there.guest("c2")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    there.endpoint("c2", "front", "db", "10.0.0.3")
    there.leave("c2")
    second = there.guest("c2")
    there.endpoint("c2", "front", "db", "10.0.0.4")
    first.end()
    with inside(guest.namespace):
        wait_until(lambda: dns.ask("db").values == ["10.0.0.4"])
    with inside(second.namespace):
        assert dns.ask("web").values == ["10.0.0.2"]


def test_it_ends_when_nothing_is_left_to_serve(there: Town) -> None:
    with client.ensure(there.run_root, 0.05):
        handle = pidfd_open(there.resolver())
        there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    assert not select.select([handle], [], [], 0.3)[0]
    there.leave("c1")
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)
    assert not Path(there.run_root, resolving.SOCKET).exists()


def test_what_the_dead_left_behind_keeps_nobody(there: Town) -> None:
    with client.ensure(there.run_root, 0.05):
        handle = pidfd_open(there.resolver())
        there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    there.endpoint("c2", "front", "db", "10.0.0.3")  # one that never got so far
    there.guests.pop("c1").end()
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)


def test_it_does_not_end_while_somebody_counts_on_it(there: Town) -> None:
    link = client.ensure(there.run_root, 0.05)
    handle = pidfd_open(there.resolver())
    assert not select.select([handle], [], [], 0.3)[0]
    link.close()
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)


def test_who_has_it_started_finds_it_however_little_patience_it_has(there: Town) -> None:
    for _ in range(5):
        with client.ensure(there.run_root, 0.0):
            handle = pidfd_open(there.resolver())
        assert select.select([handle], [], [], PATIENCE)[0]
        os.close(handle)


def test_a_container_that_has_ended_meanwhile_is_no_failure(there: Town) -> None:
    """It runs while the resolver is asked, and may be short."""
    there.ensure()
    child = subprocess.Popen(["sleep", "1000"])
    told = {"container": "c1", "pid": child.pid, "pid_start": start_time(child.pid),
            "networks": [], "upstream": [], "internal": False, "ndots": 0}  # fmt: skip
    child.kill()
    child.wait()
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        for _ in range(2):
            resolving.hand_over(there.run_root, told, [udp.fileno(), tcp.fileno()])


def test_starts_and_ends_at_the_same_time_lose_nobody(there: Town) -> None:
    """With next to no patience it ends between any two of these."""
    for number in range(15):
        link = client.ensure(there.run_root, 0.03)
        guest = there.guest(f"c{number}")
        there.endpoint(guest.id, "front", "web", "10.0.0.2")
        link.close()
        with inside(guest.namespace):
            wait_until(lambda: found_again("web"))
        there.leave(guest.id)
        there.guests.pop(guest.id).end()


def test_one_of_another_version_is_replaced(there: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    there.ensure()
    guest = there.guest("c1")
    there.endpoint("c1", "front", "web", "10.0.0.2")
    keeper = there.resolver()
    asked: list[bytes] = []

    def ask(held: client.Held, request: bytes) -> bytes:
        asked.append(request)
        answer = real(held, request)
        return b'{"version":"0.0.0-other"}' if len(asked) == 1 else answer

    real = client.Held.ask
    monkeypatch.setattr(client.Held, "ask", ask)
    there.ensure()
    assert asked[1] == b'{"quit":1}'
    await_end(keeper)
    assert there.resolver() != keeper
    with inside(guest.namespace):
        wait_until(lambda: found_again("web"))


def test_a_root_where_nothing_can_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(client.Unavailable, match="no DNS server for containers"):
        client.ensure(str(tmp_path / "none"))


def test_a_stranger_does_not_get_in(there: Town) -> None:
    there.ensure()
    assert Path(there.run_root, resolving.SOCKET).stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_hundred_containers(there: Town) -> None:
    there.ensure()
    for number in range(100):
        there.guest(f"c{number}")
        there.endpoint(f"c{number}", "front", f"n{number}", f"10.0.0.{number}", aliases=("all",))
    for number in range(100):
        with inside(there.guests[f"c{number}"].namespace):
            wait_until(lambda: len(dns.ask("all", edns=4096).values) == 100)
            other = (number + 1) % 100
            assert dns.ask(f"n{other}").values == [f"10.0.0.{other}"]
    before = descriptors(there.worker())
    kill(there.worker())
    began = time.monotonic()
    for guest in there.guests.values():
        with inside(guest.namespace):
            wait_until(lambda: found_again("n7"))
    assert time.monotonic() - began < PATIENCE
    assert descriptors(there.worker()) <= before + 2
    for number in range(100):
        there.leave(f"c{number}")
    wait_until(lambda: descriptors(there.worker()) < 30)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_descriptors_do_not_grow_with_queries(there: Town) -> None:
    there.ensure()
    with dns.upstream(lambda packet, _: dns.reply(packet, [], dns.NXDOMAIN)) as host:
        servers = [{"address": "127.0.0.1", "port": host.port, "host": True}]
        guest = there.guest("c1", upstream=servers)
        with inside(guest.namespace):
            dns.ask("first.example")
            before = descriptors(there.worker())
            for number in range(50):
                assert dns.ask(f"n{number}.example", tcp=bool(number % 2)).code == dns.NXDOMAIN
            wait_until(lambda: descriptors(there.worker()) <= before)


def test_signals_of_a_terminal_do_not_end_it(there: Town) -> None:
    there.ensure()
    worker = there.worker()
    for pid in (worker, there.resolver()):
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    there.ensure()
    assert there.worker() == worker
