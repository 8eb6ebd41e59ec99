"""Which snapshot driver an engine takes, and that data roots are not tied to one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr import Engine, errors
from knarr.config import Settings
from knarr.engine.model import ContainerConfig
from knarr.snapshots.drivers import erofs, overlay

SAY = ContainerConfig("busybox", ("sh", "-c", "cat /said 2>/dev/null; echo once >/said"))


@pytest.fixture
def with_driver(settings: Settings) -> Callable[[str], Settings]:
    """The test's settings with a storage driver."""
    fields = {name: getattr(settings, name) for name in Settings.__slots__}
    return lambda name: Settings(**{**fields, "storage_driver": name})


def test_the_setting_decides(with_driver: Callable[[str], Settings], busybox_archive: Path) -> None:
    with Engine(with_driver("overlay")) as engine:
        engine.images.load(str(busybox_archive))
        assert engine.info()["Driver"] == "overlay"
        assert engine.info()["DriverStatus"] == []
        container = engine.containers.create(SAY)
        assert os.listdir(f"{engine.settings.data_root}/snapshots/l/1/fs")
        container.remove()
    with Engine(with_driver("no-such")) as engine, pytest.raises(errors.NotFound, match="no-such"):
        _ = engine.driver


def test_a_kernel_without_erofs_unpacks_and_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(self: erofs.Driver) -> None:
        tried.append(self)
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(erofs.Driver, "_try_image", refuse)
    with Engine(settings) as engine:
        assert engine.driver.name == "overlay"
        [[label, reason]] = engine.info()["DriverStatus"]
        assert label == "Layers Unpacked"
        assert "No such device" in reason
    count = len(tried)
    with Engine(settings) as engine:
        assert type(engine.driver) is overlay.Driver
    assert len(tried) == count, "what a kernel can do is tried once"


@pytest.mark.vm
@pytest.mark.parametrize(("first", "second"), [("overlay", "auto"), ("auto", "overlay")])
def test_containers_go_on_with_another_driver(
    first: str, second: str, with_driver: Callable[[str], Settings], busybox_archive: Path
) -> None:
    with Engine(with_driver(first)) as engine:
        engine.images.load(str(busybox_archive))
        container = engine.containers.create(SAY)
        attachment = container.start(attach=True)
        assert attachment is not None
        with attachment:
            while attachment.receive() is not None:
                continue
    with Engine(with_driver(second)) as engine:
        again = engine.containers.get(container.id)
        assert [(each.kind, each.path) for each in again.diff()] == [("A", "/said")]
        again.start()
        again.wait()
        assert b"".join(each.data for each in again.logs()) == b"once\n"
        engine.containers.get(container.id).commit("mine")
        result = engine.containers.run(ContainerConfig("mine", ("cat", "/said"), auto_remove=True))
        assert result.text == "once\n"
        again.remove()
