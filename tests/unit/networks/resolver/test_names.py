"""Names count in the networks that the asker is in, as Docker has it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from knarr.networks.resolver import message
from knarr.networks.resolver.names import Endpoint, Names, shuffled
from tests.support import dns


def endpoint(name: str, *addresses: str, names: tuple[str, ...] = (), **more: Any) -> Endpoint:
    told = {"name": name, "names": [name, *names], "addresses": list(addresses), **more}
    return Endpoint(told)


@pytest.fixture
def names() -> Names:
    made = Names()
    made.put(
        "f",
        "1",
        endpoint("Web", "10.0.0.2/24", "fd00::2", names=("app", "c0ffee"), network="front"),
    )
    made.put("f", "2", endpoint("two", "10.0.0.3", names=("app",), network="front"))
    made.put("b", "3", endpoint("db", "10.1.0.2", network="back"))
    made.put("b", "2", endpoint("two", "10.1.0.3", network="back"))
    return made


def ask(
    names: Names, container: str, text: str, kind: int = dns.A, order: tuple[str, ...] = ()
) -> Any:
    query = message.parse(dns.query(text, kind))
    records = names.answer(names.of(container, order), query)
    if records is None:
        return None
    return dns.read(message.answer(query, records, 65535)).values


@pytest.mark.parametrize("text", ["web", "WEB", "app", "c0ffee", "web.front", "App.Front."])
def test_names_of_a_shared_network(names: Names, text: str) -> None:
    assert "10.0.0.2" in ask(names, "2", text)


def test_no_names_of_other_networks(names: Names) -> None:
    assert ask(names, "1", "db") is None
    assert ask(names, "1", "db.back") is None
    assert ask(names, "2", "db") == ["10.1.0.2"]
    assert ask(names, "nobody", "web") is None


def test_a_family_without_addresses_is_no_unknown_name(names: Names) -> None:
    assert ask(names, "1", "two", dns.AAAA) == []
    assert ask(names, "1", "web", dns.AAAA) == ["fd00::2"]
    for kind in (dns.MX, dns.TXT, dns.HTTPS):
        assert ask(names, "1", "web", kind) == []


def test_any_is_both_families(names: Names) -> None:
    assert set(ask(names, "1", "web", dns.ANY)) == {"10.0.0.2", "fd00::2"}


def test_the_first_network_that_knows_a_name_decides(names: Names) -> None:
    assert ask(names, "2", "two", order=("b", "f")) == ["10.1.0.3"]
    assert ask(names, "2", "two", order=("f", "b")) == ["10.0.0.3"]
    assert ask(names, "2", "two.back", order=("f", "b")) == ["10.1.0.3"]


def test_several_addresses_come_in_any_order(names: Names) -> None:
    found = ask(names, "1", "app")
    assert sorted(found) == ["10.0.0.2", "10.0.0.3"]
    orders = {tuple(shuffled([b"one", b"two"])) for _ in range(200)}
    assert orders == {(b"one", b"two"), (b"two", b"one")}


@pytest.mark.parametrize("count", [0, 1, 7])
def test_an_order_loses_nothing(count: int) -> None:
    values = [bytes((each,)) for each in range(count)]
    assert sorted(shuffled(values)) == values


def test_reverse(names: Names) -> None:
    for address in ("10.0.0.2", "fd00::2"):
        pointer = ipaddress.ip_address(address).reverse_pointer
        assert ask(names, "2", pointer, dns.PTR) == ["web.front"]
        assert ask(names, "3", pointer, dns.PTR) is None
    assert ask(names, "2", "9.0.0.10.in-addr.arpa", dns.PTR) is None


def test_an_alias_lasts_as_long_as_anyone_has_it(names: Names) -> None:
    names.drop("f", "1")
    assert ask(names, "2", "app") == ["10.0.0.3"]
    names.drop("f", "2")
    assert ask(names, "2", "app") is None
    assert "f" not in names.networks


def test_an_endpoint_is_replaced_as_a_whole(names: Names) -> None:
    names.put("f", "1", endpoint("other", "10.0.0.9", network="front"))
    assert ask(names, "2", "web") is None
    assert ask(names, "2", "2.0.0.10.in-addr.arpa", dns.PTR) is None
    assert ask(names, "2", "other") == ["10.0.0.9"]


def test_an_address_that_has_moved_on_keeps_its_new_name(names: Names) -> None:
    names.put("f", "9", endpoint("heir", "10.0.0.2", network="front"))
    names.drop("f", "1")
    assert ask(names, "2", "2.0.0.10.in-addr.arpa", dns.PTR) == ["heir.front"]


def test_a_life_that_has_ended_takes_only_its_own_names_along(names: Names) -> None:
    names.put("f", "4", endpoint("four", "10.0.0.4", pid=100))
    names.forget("4", 99)
    assert ask(names, "1", "four") == ["10.0.0.4"]
    names.forget("4", 100)
    assert ask(names, "1", "four") is None


def test_an_endpoint_without_names_is_not_found_by_its_address(names: Names) -> None:
    told = {"name": "quiet", "names": [], "addresses": ["10.0.0.7"], "network": "front"}
    names.put("f", "7", Endpoint(told))
    assert ask(names, "1", "quiet") is None
    assert ask(names, "1", "7.0.0.10.in-addr.arpa", dns.PTR) is None


def test_names_that_no_query_can_hold_are_left_out() -> None:
    made = endpoint("a" * 63, "10.0.0.1", names=("b" * 64, "", "x..y", "ok"), network="n" * 200)
    assert made.keys == (message.wire("a" * 63), message.wire("ok"))


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"name": "a", "names": ["a"]},
        {"name": "a", "names": None, "addresses": []},
        {"name": "a", "names": ["a"], "addresses": ["ten"]},
        {"name": "a", "names": ["a"], "addresses": [7]},
        {"name": "a", "names": ["a"], "addresses": [], "pid": "x"},
    ],
)
def test_what_is_no_endpoint(told: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, OSError)):
        Endpoint(told)
