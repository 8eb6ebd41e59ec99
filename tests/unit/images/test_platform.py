import os

import pytest

from knarr.errors import InvalidArchive, InvalidArgument
from knarr.images.platform import Platform, host, rank


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/i686", "linux/386"),
        ("LINUX/AMD64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("windows/amd64", "windows/amd64"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)
def test_spellings_are_normalised(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux/", "linux/amd 64", "linux/amd64/v1/x"])
def test_malformed_platforms_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid platform"):
        Platform.parse(text)


def test_an_operating_system_alone_takes_the_machine_of_the_host() -> None:
    assert Platform.parse("linux") == host()
    assert host().os == "linux"
    if os.uname().machine == "x86_64":
        assert host().architecture == "amd64"


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64/v3", "linux/amd64", 2),
        ("linux/amd64/v3", "linux/amd64/v2", 1),
        ("linux/amd64", "linux/amd64/v2", None),
        ("linux/arm/v7", "linux/arm/v6", 1),
        ("linux/arm/v7", "linux/arm/v5", 2),
        ("linux/arm/v5", "linux/arm/v7", None),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm64/v9", "linux/arm64", 1),
        ("linux/arm64", "linux/arm/v7", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/ppc64le", "linux/ppc64le", 0),
        ("linux/riscv64/rva20u64", "linux/riscv64", 100),
        ("linux/riscv64", "linux/riscv64/rva20u64", None),
    ],
)
def test_rank(wanted: str, offered: str, expected: int | None) -> None:
    assert rank(Platform.parse(wanted), Platform.parse(offered)) == expected


def test_os_version_and_features_narrow_the_choice() -> None:
    wanted = Platform("windows", "amd64", os_version="10.0.1")
    assert rank(wanted, Platform("windows", "amd64", os_version="10.0.2")) is None
    assert rank(wanted, Platform("windows", "amd64", os_version="10.0.1")) == 0
    features = Platform("windows", "amd64", os_features=("win32k",))
    assert rank(features, Platform("windows", "amd64", os_features=("other",))) is None


def test_json_round_trip_and_mistyped_fields() -> None:
    platform = Platform("windows", "amd64", "v2", "10.0", ("win32k",))
    assert Platform.from_dict(platform.to_dict()) == platform
    for value in ("linux", {"os": 1}, {"os": "linux", "os.features": "x"}):
        with pytest.raises(InvalidArchive):
            Platform.from_dict(value)


def test_unknown_is_what_attestations_are_for() -> None:
    assert Platform("unknown", "unknown").is_unknown
    assert not Platform("linux", "unknown").is_unknown
