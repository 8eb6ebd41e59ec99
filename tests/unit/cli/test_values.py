"""Sizes, durations, rates and keys as Docker's command reads them."""

from __future__ import annotations

import pytest

from knarr.cli import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("512", 512),
        ("64k", 64 * 1024),
        ("64K", 64 * 1024),
        ("256m", 256 * 1024**2),
        ("1g", 1024**3),
        ("1.5g", 3 * 512 * 1024**2),
        ("2GiB", 2 * 1024**3),
        ("1 mb", 1024**2),
        ("10b", 10),
        (".5k", 512),
        ("1t", 1024**4),
        ("1p", 1024**5),
    ],
)
def test_size(text: str, expected: int) -> None:
    assert values.size(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "-1", "1x", "1ib", "1..5m", "m", "1e3", "٣", "9" * 30])
def test_size_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid (size|suffix)"):
        values.size(text)


def test_only_swap_may_be_unlimited() -> None:
    assert values.size_or_unlimited("-1") == -1
    assert values.size_or_unlimited("1k") == 1024


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 10**9), ("1.5", 15 * 10**8), ("3/2", 15 * 10**8), ("0.001", 10**6)]
)
def test_cpus(text: str, expected: int) -> None:
    assert values.nano_cpus(text) == expected


@pytest.mark.parametrize("text", ["x", "1/0", "0.0000000001", "10000000000000", ""])
def test_cpus_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"rational|precise|range"):
        values.nano_cpus(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("10s", 10), ("1h2m3s", 3723), ("1.5h", 5400), ("300ms", 0.3), ("-1m", -60)],
)
def test_duration(text: str, seconds: float) -> None:
    assert values.duration(text) == int(seconds * 10**9)


@pytest.mark.parametrize("text", ["", "10", "s", "1h 2m", "1d", "-"])
def test_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        values.duration(text)


@pytest.mark.parametrize(("text", "expected"), [("7", 7), ("-1", -1), ("0x10", 16), ("010", 8)])
def test_integer(text: str, expected: int) -> None:
    assert values.integer(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1.5", "99999999999999999999", "08"])
def test_integer_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|range"):
        values.integer(text)


def test_boolean_takes_what_go_takes() -> None:
    assert [values.boolean(text) for text in ("1", "t", "TRUE", "0", "f", "False")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="neither"):
        values.boolean("yes")


def test_device_rates() -> None:
    assert values.device_rate("/dev/sda:1mb") == ("/dev/sda", 1024**2)
    assert values.device_operations("/dev/sda:100") == ("/dev/sda", 100)


@pytest.mark.parametrize(
    "text", ["x", "/dev/sda", "sda:1", "/dev/sda:0", "/dev/sda:1z", "/dev/a:1:2"]
)
def test_device_rates_refuse(text: str) -> None:
    with pytest.raises(ValueError, match=r"bad format|invalid rate"):
        values.device_rate(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a,b", b"ab"), ("ctrl-@", b"\0"), ("CTRL-]", b"\x1d")],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert values.detach_keys(text) == keys


@pytest.mark.parametrize("text", ["", "foo", "ctrl-", "ctrl-1", "a,,b", "é"])
def test_detach_keys_refuse(text: str) -> None:
    with pytest.raises(ValueError, match="detach keys"):
        values.detach_keys(text)
