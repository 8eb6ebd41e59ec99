"""Which range, gateway and further address belongs to which subnet."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.errors import InvalidArgument
from knarr.networks.definition import Pool
from knarr.networks.pools import of_texts


def test_each_goes_to_its_subnet() -> None:
    assert of_texts(
        ["10.1.0.0/16", "fd00::/64"],
        ["fd00::8:0/112", "10.1.4.0/24"],
        ["10.1.0.254", "fd00::fe"],
        {"printer": "10.1.0.9"},
    ) == (
        Pool("10.1.0.0/16", "10.1.4.0/24", "10.1.0.254", {"printer": "10.1.0.9"}),
        Pool("fd00::/64", "fd00::8:0/112", "fd00::fe"),
    )
    assert of_texts([]) == ()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (([], ["10.1.0.0/24"]), "every ip-range or gateway must have a corresponding subnet"),
        (([], [], ["10.1.0.1"]), "every ip-range or gateway must have a corresponding subnet"),
        ((["10.1.0.0/16", "10.1.2.0/24"],), "multiple overlapping subnet configuration is not"),
        ((["banana"],), "invalid subnet banana: invalid CIDR block notation"),
        ((["10.1.0.0/16"], ["10.2.0.0/24"]), "no matching subnet for range 10.2.0.0/24"),
        ((["10.1.0.0/16"], [], ["10.2.0.1"]), "no matching subnet for gateway 10.2.0.1"),
        ((["10.1.0.0/16"], [], ["here"]), "gateway here: 'here' is no IP address"),
        ((["10.1.0.0/16"], [], [], {"a": "10.2.0.1"}), "no matching subnet for aux-address 10.2"),
        ((["10.1.0.0/16", "10.2.0.0/16"], ["10.1.1.0/24", "10.1.2.0/24"]),
         r"cannot configure multiple ranges \(10.1.2.0/24, 10.1.1.0/24\) on the same subnet"),
        ((["10.1.0.0/16", "10.2.0.0/16"], [], ["10.1.1.1", "10.1.1.2"]),
         r"cannot configure multiple gateways \(10.1.1.2, 10.1.1.1\) for the same subnet"),
    ],
)  # fmt: skip
def test_what_belongs_to_none(given: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        of_texts(*given)
