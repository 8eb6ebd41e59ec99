"""What listings and ``inspect`` say a container runs when knarr's init runs before it."""

from __future__ import annotations

from knarr import ContainerConfig, Engine


def test_the_init_is_not_part_of_the_command(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sleep", "100"), init=True)
    container = engine.containers.create(config)
    assert container.arguments == ["sleep", "100"]
    shown = container.inspect()
    assert (shown["Path"], shown["Args"]) == ("sleep", ["100"])
    assert shown["HostConfig"]["Init"] is True
