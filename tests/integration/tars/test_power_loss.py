"""The plug is pulled when a pull is done, or while a layer has both forms: one is on the disk."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.content.parts import Part
from knarr.errors import Unsupported
from knarr.images import tars
from knarr.snapshots.drivers.erofs import Driver
from tests.integration.images.conftest import Place
from tests.integration.snapshots.test_power_loss import disk
from tests.support import leftovers
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry
from tests.unit.images.helpers import sha256, tar_of

pytestmark = pytest.mark.skipif(
    shutil.which("mkfs.ext4") is None or not os.path.exists("/dev/loop-control"),
    reason="needs mkfs.ext4 and loop devices",
)


def erofs(root: str) -> Driver:
    # Its mounts are not on the disk.
    return Driver(root, f"{root.partition('/disk/')[0]}/run")


@pytest.mark.parametrize("when", ["drop", "done"])
def test_either_form_is_on_the_disk(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    layers = [tar_of({f"f{n}": os.urandom(300_000)}) for n in range(2)]
    put_image(fake, "1", layers)
    before, after, folder = tmp_path / "before", tmp_path / "after", tmp_path / "disk"
    with before.open("wb") as opened:
        opened.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", before], check=True)

    def lose_power(act: Callable[..., None]) -> Callable[..., None]:
        def done(*words: object, **more: object) -> None:
            act(*words, **more)
            shutil.copyfile(before, after)

        return done

    with disk(before, folder):
        place = Place(folder / "place", erofs)
        try:
            place.driver.probe()
        except Unsupported as error:
            pytest.skip(str(error))
        if when == "drop":
            monkeypatch.setattr(Part, "settle", lose_power(Part.settle))
        (pulled,) = place.images.pull(f"{fake.host}/app:1")
        if when == "done":
            shutil.copyfile(before, after)
        place.driver.cleanup()
    with disk(after, folder):
        place = Place(folder / "place", erofs)
        place.driver.cleanup()
        chain = digests.chain_ids(pulled.record.diff_ids)
        assert place.driver.list_layers() == sorted(chain)
        for data, layer, chain_id in zip(layers, pulled.record.layers, chain, strict=True):
            assert tars.of(place.store, layer.digest) == sha256(data)
            place.store.verify(sha256(data))
            place.driver.verify_layer(chain_id)
            path = place.driver.layer_tar(chain_id)
            assert path is not None
            assert os.path.samefile(path, place.store.path(sha256(data)))
        fake.log.clear()
        place.images.pull(f"{fake.host}/app:1")
        assert fake.asked("GET", "blobs/" + pulled.record.layers[0].digest) == []
        place.driver.cleanup()
    assert leftovers.mounts(str(tmp_path)) == []
