"""What listings and ``inspect`` say a container runs when knarr's init runs before it."""

from __future__ import annotations

import pytest

from knarr import ContainerConfig, Engine, errors
from knarr.engine import initprogram
from knarr.runtime import init


def test_the_init_is_not_part_of_the_command(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "100"), init=True)
    container = engine.containers.create(config)
    assert container.arguments == ["sleep", "100"]
    shown = container.inspect()
    assert (shown["Path"], shown["Args"]) == ("sleep", ["100"])
    assert shown["HostConfig"]["Init"] is True


def test_the_hosts_init_where_knarr_brings_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(machine: str) -> bytes:
        raise LookupError(machine)

    monkeypatch.setattr(init, "blob", absent)
    try:
        initprogram.find("")
    except errors.Unsupported:
        with pytest.raises(errors.Unsupported, match="install tini"):
            engine.containers.create(ContainerConfig("busybox", ("true",), init=True))
        pytest.skip("this host has no static init")
    script = "cat /proc/1/comm; (sleep 0 &); exit 7"
    config = ContainerConfig("busybox", ("sh", "-c", script), init=True, auto_remove=True)
    result = engine.containers.run(config)
    assert (result.exit_code, result.stdout != b"sh\n") == (7, True)
    with pytest.raises(errors.Unsupported, match="sandbox"):
        engine.containers.create(ContainerConfig("busybox", sandbox=True))
