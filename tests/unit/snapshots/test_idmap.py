from __future__ import annotations

import pytest

from knarr.errors import InvalidArgument
from knarr.snapshots.idmap import IdMap, IdRange, acting_as_root_of


def test_id_maps() -> None:
    idmap = IdMap((IdRange(0, 1000, 10), IdRange(10, 5000, 5)), (IdRange(0, 2000, 10),))
    assert idmap.to_host(0, 9) == (1000, 2009)
    assert idmap.to_host(14, 0) == (5004, 2000)
    assert idmap.to_container(5004, 2000) == (14, 0)
    assert idmap.to_container(0, 1000) == (65534, 65534)
    for ids in ((15, 0), (0, 10)):
        with pytest.raises(InvalidArgument):
            idmap.to_host(*ids)


def test_acting_as_oneself_changes_nothing() -> None:
    with (
        acting_as_root_of(None),
        acting_as_root_of(IdMap((IdRange(0, 0, 1),) * 1, (IdRange(0, 0, 1),))),
    ):
        pass  # needs no privilege
