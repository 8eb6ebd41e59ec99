"""What messages for nf_tables look like; that the kernel takes them is tested with networks."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from knarr.kernel import nfnotices
from knarr.kernel import nftables as nft
from knarr.kernel.netlink import attrs
from knarr.kernel.nftables import ADDRESS4, INTERFACE, PORT, PROTOCOL, Element, Nftables, Set
from tests.support.processes import refused


def test_parts_of_a_key_fill_four_bytes_each() -> None:
    assert nft.pack(b"\x06", b"\x1f\x90") == bytes.fromhex("06000000 1f900000")
    home = Set("home", (ADDRESS4, INTERFACE), interval=True)
    assert home.packed(bytes((10, 0, 0, 0)), b"br-a") == b"\x0a\0\0\0br-a" + bytes(12)


def test_a_map_says_how_long_keys_and_values_are() -> None:
    maps = Set("any4", (PROTOCOL, PORT), (ADDRESS4, PORT))
    parts = attrs(bytes(nft.new_set(nft.INET, "t", maps)), 20)
    assert parts[4] == (12 << 6 | 13).to_bytes(4, "big")
    assert (parts[5], parts[7]) == ((8).to_bytes(4, "big"),) * 2


def test_an_element_is_read_as_it_was_written() -> None:
    raw = nft.element(b"key1", data=nft.value(b"value"), end=b"key2", comment="network")
    found = Element(attrs(raw)[1])
    assert (found.key, found.end, found.value, found.comment) == (
        b"key1",
        b"key2",
        b"value",
        "network",
    )
    assert Element(attrs(nft.element(b"\0\0\0\0", flags=nft.INTERVAL_END))[1]).flags == 1


def test_many_elements_are_several_messages() -> None:
    elements = [nft.element(number.to_bytes(4, "big")) for number in range(600)]
    messages = nft.add(nft.INET, "t", "s", elements)
    assert len(messages) == 3
    assert all(len(each) < 1 << 16 for each in messages)


def test_only_losses_of_the_own_table_count() -> None:
    deletion = nft.delete_table(nft.INET, "knarr")
    kind, body = int.from_bytes(deletion[4:6], sys.byteorder), bytes(deletion[16:])
    assert nfnotices.loses(kind, body, nft.INET, "knarr")
    assert not nfnotices.loses(kind, body, nft.INET, "knar")
    assert not nfnotices.loses(kind, body, nft.IPV4, "knarr")
    made = nft.table(nft.INET, "knarr")
    assert not nfnotices.loses(
        int.from_bytes(made[4:6], sys.byteorder), bytes(made[16:]), nft.INET, "knarr"
    )


@pytest.mark.root
def test_who_has_no_power_over_the_network_is_told_so() -> None:
    def act() -> None:
        os.setresgid(1, 1, 1)
        os.setresuid(1, 1, 1)
        with Nftables() as link:
            link.commit([nft.table(nft.INET, "knarr")])

    said = refused(act)
    assert said.startswith(f"{errno.EPERM} ")
    assert "CAP_NET_ADMIN" in said
