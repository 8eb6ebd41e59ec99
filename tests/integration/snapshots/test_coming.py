"""A layer in pieces is the same tree as the layer, and never shows what has not come."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, NotFound, Unsupported
from knarr.snapshots import coming as comings
from knarr.snapshots.driver import LayerSource
from knarr.snapshots.drivers.erofs import Driver
from tests.support import tars
from tests.support.tars import directory, file, hardlink, symlink

BIG = os.urandom(1_500_000)
MEMBERS = (
    directory("a", mode=0o700),
    file("a/big", BIG),
    *(file(f"a/{n}", os.urandom(n * 700)) for n in range(60)),
    hardlink("a/link", "a/big"),
    symlink("a/soft", "big"),
    file("b", os.urandom(300_000), xattrs={b"user.x": b"1"}),
    file("end", b"end"),
)


class Here:
    """A tar in memory as one that is elsewhere."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.origin: dict[str, Any] = {"from": "memory"}
        self.asked: list[tuple[int, int]] = []

    def table(self) -> None:
        return None

    def read_at(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


@pytest.fixture
def driver() -> Iterator[Driver]:
    with tempfile.TemporaryDirectory(prefix="kt-", dir="/var/tmp") as name:
        folder = Path(name)
        made = Driver(str(folder / "s"), str(folder / "r"))
        try:
            made.probe_afar()
        except Unsupported as error:
            pytest.skip(str(error))
        with tars.nothing_mounted_after(made, folder):
            yield made


def expect(driver: Driver, source: Here, diff_id: str, parent: str | None = None) -> str:
    chain_id = digests.chain_id(parent, diff_id)
    driver.commit_layer(chain_id, parent, LayerSource(diff_id, _never, afar=source))
    return chain_id


def _never(*_: object) -> Any:
    raise AssertionError("a layer that is to come is not read")


def bring(coming: comings.Coming, data: bytes, numbers: list[int]) -> None:
    for number in numbers:
        fd = os.open(f"{coming.path}/{number}", os.O_WRONLY)
        here, start = coming.here(number), coming.starts[number]
        end = min(start + coming.length(number), coming.size)
        comings.fill(fd, here, data[start + here : end], last=end == coming.size)
        os.close(fd)


def test_the_same_tree(driver: Driver, tmp_path: Path) -> None:
    data = tars.tar(*MEMBERS)
    source = Here(data)
    chain_id = expect(driver, source, digests.of(data))
    assert sum(length for _, length in source.asked) < len(data) - 1_000_000
    (coming,) = driver.coming()
    assert (coming.chain_id, coming.size, coming.origin) == (chain_id, len(data), source.origin)
    with pytest.raises(OSError, match="nobody brings it"), tars.mounted(driver.view(chain_id)):
        pass
    bring(coming, data, coming.missing())
    held = os.open(coming.path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with tars.mounted(driver.view(chain_id)) as seen:
        in_pieces = tars.tree(seen)
    os.close(held)
    kept: list[str] = []
    driver.settle(coming, kept.append)
    assert [Path(each).read_bytes() for each in kept] == [data]
    assert driver.coming() == []
    driver.verify_layer(chain_id)
    with tars.mounted(driver.view(chain_id)) as seen:
        assert tars.tree(seen) == in_pieces
    other = Driver(str(tmp_path / "s"), str(tmp_path / "r"))
    with tars.nothing_mounted_after(other, tmp_path):
        top = tars.commit(other, data)
        with tars.mounted(other.view(top)) as seen:
            assert tars.tree(seen) == in_pieces


def test_what_has_not_come_is_an_error(driver: Driver) -> None:
    data = tars.tar(*MEMBERS)
    chain_id = expect(driver, Here(data), digests.of(data))
    (coming,) = driver.coming()
    held = os.open(coming.path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with tars.mounted(driver.view(chain_id)) as seen:
        assert (seen / "end").read_bytes() == b"end"  # it came with the entries
        with pytest.raises(OSError) as caught:
            (seen / "a/big").read_bytes()
        assert caught.value.errno == errno.EIO
        bring(coming, data, coming.missing())
        assert (seen / "a/big").read_bytes() == BIG
    os.close(held)


def test_wrong_bytes_are_found_out(driver: Driver) -> None:
    data = tars.tar(*MEMBERS)
    chain_id = expect(driver, Here(data), digests.of(data))
    (coming,) = driver.coming()
    at = data.index(BIG) + 700_000
    bring(coming, data[:at] + b"?" + data[at + 1 :], coming.missing())
    with pytest.raises(InvalidArchive, match="is corrupt"):
        driver.settle(coming, _never)
    driver.condemn(coming, "wrong")
    assert driver.coming() == []
    assert coming.reason() == "wrong"
    with pytest.raises(OSError, match="not the layer"), tars.mounted(driver.view(chain_id)):
        pass


def test_what_was_removed_is_forgotten(driver: Driver) -> None:
    data = tars.tar(*MEMBERS)
    chain_id = expect(driver, Here(data), digests.of(data))
    (coming,) = driver.coming()
    bring(coming, data, coming.missing())
    driver.remove_layer(chain_id)
    with pytest.raises(NotFound):
        driver.settle(coming, _never)
    assert driver.coming() == []
    driver.purge_trash()


def test_a_layer_on_one_that_is_to_come(driver: Driver) -> None:
    lower = tars.tar(*MEMBERS)
    upper = tars.tar(file("a/new", b"new"), file("a/.wh.3"))
    parent = expect(driver, Here(lower), digests.of(lower))
    (coming,) = driver.coming()
    held = os.open(coming.path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    top = digests.chain_id(parent, digests.of(upper))
    driver.commit_layer(top, parent, tars.source(upper))
    bring(coming, lower, coming.missing())
    with tars.mounted(driver.view(top)) as seen:
        assert (seen / "a").stat().st_mode & 0o777 == 0o700
        assert not (seen / "a/3").exists()
        assert (seen / "a/big").read_bytes() == BIG
    os.close(held)


def test_sparse_files_cannot_be_left_to_come(driver: Driver) -> None:
    lower = tars.tar(file("x", b"1" * 5000))
    parent = tars.commit(driver, lower)
    upper = tars.tar(hardlink("y", "x"), file("big", BIG))
    with pytest.raises(Unsupported, match="links to files of other layers"):
        expect(driver, Here(upper), digests.of(upper), parent)
    assert driver.coming() == []
