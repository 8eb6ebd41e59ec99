"""The one copy of a layer: read once, and had again."""

import os
from collections.abc import Callable

import pytest

from knarr.errors import NotFound
from knarr.images.verifying import UNPACKED
from tests.integration.images.conftest import Place
from tests.integration.tars.helpers import A, B, C, is_single, packed, spoil
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry
from tests.unit.images.helpers import sha256


@pytest.mark.vm
def test_the_one_copy_is_read_once_and_comes_again(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [A, B])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    assert place.images.verify().checked == 4
    spoil(place.store.path(sha256(A)))
    result = place.images.verify()
    assert [(each.kind, each.digest) for each in result.damages] == [("layer", sha256(A))]
    result = place.images.verify(repair=True)
    assert [(each.kind, each.repaired) for each in result.damages] == [
        ("layer", True), (UNPACKED, True)
    ]  # fmt: skip
    is_single(place, A, B)
    assert place.images.verify(files=True).is_well
    assert place.images.unpack(pulled.record.id)


def test_a_tar_of_its_own_is_made_anew(make: Callable[..., Place], fake: FakeRegistry) -> None:
    put_image(fake, "1", [A])
    place = make(keep_compressed=True)
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    path = place.driver.layer_tar(pulled.record.chain_id)
    assert path is not None
    for harm in (spoil, os.unlink):
        harm(path)
        (damage,) = place.images.verify().damages
        assert (damage.kind, damage.repaired) == (UNPACKED, False)
        assert "--repair" in damage.trouble
        assert place.images.verify(repair=True).is_well
        assert place.images.verify(files=True).damages == ()
    fake.blobs.clear()
    spoil(path)
    spoil(place.store.path(packed(A)))
    result = place.images.verify(repair=True)
    assert [each.repaired for each in result.damages] == [False, False]
    with pytest.raises(NotFound):
        place.driver.mend_layer(sha256(C), None)  # type: ignore[arg-type]
