from __future__ import annotations

import pytest

from knarr.engine.security.capabilities import effective, normalize
from knarr.errors import InvalidArgument
from knarr.spec import capabilities

DEFAULT = list(capabilities.DEFAULT)
ALL = list(capabilities.NAMES)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT),
        (("SYS_ADMIN",), (), [*DEFAULT, "CAP_SYS_ADMIN"]),
        (("cap_sys_admin", "CHOWN"), (), [*DEFAULT, "CAP_SYS_ADMIN"]),
        ((), ("CAP_CHOWN",), [name for name in DEFAULT if name != "CAP_CHOWN"]),
        ((), ("ALL",), []),
        (("net_raw",), ("all",), ["CAP_NET_RAW"]),
        (("ALL",), (), ALL),
        (("ALL",), ("sys_admin",), [name for name in ALL if name != "CAP_SYS_ADMIN"]),
        (("ALL",), ("ALL",), ALL),
        (("KILL",), ("KILL",), [*(n for n in DEFAULT if n != "CAP_KILL"), "CAP_KILL"]),
    ],
)
def test_dockers_rules(add: tuple[str, ...], drop: tuple[str, ...], expected: list[str]) -> None:
    assert effective(add, drop) == expected


def test_privileged_takes_all_there_are() -> None:
    assert effective((), ("ALL",), privileged=True) == ALL
    available = capabilities.ALL_MASK & ~(1 << capabilities.NUMBERS["CAP_SYS_RESOURCE"])
    assert "CAP_SYS_RESOURCE" not in effective(privileged=True, available=available)


def test_unknown_name() -> None:
    for add, drop in ((("WHAT",), ()), ((), ("what",))):
        with pytest.raises(InvalidArgument) as caught:
            effective(add, drop)
        assert str(caught.value) == 'unknown capability: "CAP_WHAT"'


def test_unavailable_name() -> None:
    with pytest.raises(InvalidArgument) as caught:
        normalize(["SYS_RESOURCE"], available=1)
    assert str(caught.value) == (
        "capability not supported by your kernel or not available in the current environment:"
        ' "CAP_SYS_RESOURCE"'
    )
    assert effective((), ("SYS_RESOURCE",), available=1) == DEFAULT  # dropping it is no wish
