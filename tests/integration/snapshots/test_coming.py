"""A layer in pieces is the same tree as the layer, and never shows what has not come."""

from __future__ import annotations

import errno
import fcntl
import io
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
from knarr.snapshots.tarentry import CHARACTER, FILE, Entry
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

    def table(self) -> list[tuple[Entry, int]] | None:
        return None

    def read_at(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


class Tabled(Here):
    """The contents of a layer's files one after the other, and a table of them."""

    def __init__(self, *members: tars.Member) -> None:
        data, self.entries = bytearray(), []
        for entry, contents in members:
            self.entries.append((entry, len(data)))
            data += contents + bytes(-len(contents) % 512)
        super().__init__(bytes(data))

    def table(self) -> list[tuple[Entry, int]]:
        return self.entries


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


def arrive(driver: Driver, source: Tabled, tar: bytes) -> str:
    """Have a layer come by its table, and then be what its tar is; return its chain id."""
    chain_id = expect(driver, source, digests.of(tar))
    (coming,) = driver.coming()
    bring(coming, source.data, coming.missing())
    driver.settle(coming, lambda _path: None, io.BytesIO(tar), source.table())
    return chain_id


def test_a_table_that_says_what_the_tar_does(driver: Driver) -> None:
    # As an eStargz is, whose table is in its tar.
    tar = tars.tar(*MEMBERS, file("stargz.index.json", b"{}"))
    chain_id = arrive(driver, Tabled(*MEMBERS), tar)
    driver.verify_layer(chain_id)
    with tars.mounted(driver.view(chain_id)) as seen:
        assert (seen / "a/big").read_bytes() == BIG


LONG = BIG[:-1] + bytes([BIG[-1] ^ 1])


@pytest.mark.parametrize(
    ("number", "members", "path"),
    [
        (0, [directory("a", mode=0o755)], "/a"),
        (1, [file("a/big", LONG)], "/a/(big|link)"),
        (1, [file("a/big", BIG + b"1")], "/a/(big|link)"),
        (1, [file("a/big", BIG, mode=0o4755)], "/a/(big|link)"),
        (1, [file("a/big", BIG, uid=5)], "/a/(big|link)"),
        (1, [file("a/big", BIG, xattrs={b"user.y": b"1"})], "/a/(big|link)"),
        (1, [file("a/big", BIG), file("a/more")], "/a/more"),
        (1, [file("a/big", BIG), file("a/stargz.index.json")], "/a/stargz.index.json"),
        (-2, [], "/b"),
        (-2, [directory("b")], "/b"),
        (-2, [tars.node("b", CHARACTER, major=1, minor=3)], "/b"),
        (-3, [symlink("a/soft", "../b")], "/a/soft"),
        (-1, [file("end", b"End")], "/end"),
        (-1, [file(".wh.end")], "/end"),
    ],
)
def test_a_table_that_says_something_else(
    driver: Driver, number: int, members: list[tars.Member], path: str
) -> None:
    said = list(MEMBERS)
    said[number % len(said) : number % len(said) + 1] = members
    with pytest.raises(InvalidArchive, match=f" has {path} otherwise than its table said"):
        arrive(driver, Tabled(*said), tars.tar(*MEMBERS))


def test_a_table_with_a_file_that_its_format_has_not(driver: Driver) -> None:
    said = Tabled(*MEMBERS, file("stargz.index.json", b"x"))
    with pytest.raises(InvalidArchive, match=r" has /stargz\.index\.json otherwise"):
        arrive(driver, said, tars.tar(*MEMBERS))


def test_a_tar_of_sparse_files_under_a_table_without(driver: Driver) -> None:
    sparse = Entry(b"b", FILE, size=100_000, sparse=[(0, 5)]), b"12345"
    said = Tabled(file("b", b"12345" + bytes(99_995)), file("end", BIG))
    with pytest.raises(InvalidArchive, match="sparse files otherwise than its table said"):
        arrive(driver, said, tars.tar(sparse, file("end", BIG)))


def test_files_that_are_in_memory_do_not_wait(driver: Driver) -> None:
    driver.probe_afar()  # it does on a disk
    with pytest.raises(Unsupported, match=r"\(ext4, xfs, btrfs\), not that of /dev/shm"):
        comings.check_machine("/dev/shm")
