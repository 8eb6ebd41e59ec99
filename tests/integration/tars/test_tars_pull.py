"""Pulls of which the tars alone are kept: one copy on disk, whatever happens meanwhile."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.images import tars
from tests.integration.images.conftest import Place
from tests.integration.tars.helpers import A, B, C, is_single, packed
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry, digest_of
from tests.support.tars import directory, tar
from tests.unit.images.helpers import docker_archive, sha256, tar_of


@pytest.mark.vm
def test_a_pull_keeps_the_tars_alone(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [A, B])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    is_single(place, A, B)
    record = pulled.record
    assert place.blobs() == {record.manifest_digest, record.config_digest, sha256(A), sha256(B)}
    digest = digest_of(json.dumps(manifest).encode())
    assert place.images.inspect(record.id)["RepoDigests"] == [f"{fake.host}/app@{digest}"]
    fake.log.clear()
    (again,) = place.images.pull(f"{fake.host}/app:1")
    assert not again.is_new
    assert fake.asked("GET", "blobs") == []
    place.images.sweep()
    place.images.prune()
    is_single(place, A, B)
    usage = place.images.usage([record.id])
    on_disk = sum(blob.size for blob in place.store.walk())
    indexes = sum(map(place.driver.layer_disk, place.driver.list_layers()))
    assert usage.total == usage.images[0].size == on_disk + indexes
    place.images.remove(record.id)
    assert place.blobs() == set()
    place.images.sweep()
    assert os.listdir(f"{place.store.root}/tars") == []


def test_a_shared_layer_does_not_come_again(place: Place, fake: FakeRegistry) -> None:
    for tag, layers in (("1", [A, B]), ("2", [A, C]), ("3", [C, B]), ("4", [A, A])):
        put_image(fake, tag, layers)
    place.images.pull(f"{fake.host}/app:1")
    for tag, layers in (("2", [A, C]), ("3", [C, B]), ("4", [A, A])):
        place.images.pull(f"{fake.host}/app:{tag}")
        is_single(place, *layers)
    assert [len(fake.asked("GET", packed(each))) for each in (A, B, C)] == [1, 1, 1]


def test_a_manifest_that_lies_of_a_layer_that_is_here(
    make: Callable[..., Place], fake: FakeRegistry
) -> None:
    """That a layer unpacks to a tar is taken from nobody, also where both are known."""
    place = make()
    put_image(fake, "1", [A])
    put_image(fake, "2", [B])
    lying = put_image(fake, "3", [A, C])
    lying["layers"][0] = json.loads(fake.manifests["2"][1])["layers"][0]
    fake.add_manifest("3", lying)
    place.images.pull(f"{fake.host}/app:1")
    with pytest.raises(Exception, match="unpacks to"):
        place.images.pull(f"{fake.host}/app:3")
    place.images.pull(f"{fake.host}/app:2")
    with pytest.raises(Exception, match="unpacks to"):
        place.images.pull(f"{fake.host}/app:3")
    # Twice in one image, once rightly so, where the driver has both.
    put_image(fake, "4", [A, B])
    place.images.pull(f"{fake.host}/app:4")
    twice = put_image(fake, "5", [A, B, C])
    twice["layers"][1] = twice["layers"][0]
    fake.add_manifest("5", twice)
    with pytest.raises(Exception, match="unpacks to"):
        place.images.pull(f"{fake.host}/app:5")
    fresh = make("fresh")
    fresh.images.pull(f"{fake.host}/app:4")
    fresh.images.remove(f"{fake.host}/app:4", no_prune=True)
    tars.forget(fresh.store, set())
    with pytest.raises(Exception, match="unpacks to"):
        fresh.images.pull(f"{fake.host}/app:5")


def test_what_is_unpacked_stays_compressed(place: Place, fake: FakeRegistry) -> None:
    acl = bytes.fromhex(
        "02000000" "01000700ffffffff" "0200070001000000" "04000500ffffffff" "10000700ffffffff"
        "20000500ffffffff"
    )  # fmt: skip
    odd = tar(directory("d", xattrs={b"system.posix_acl_default": acl}))
    put_image(fake, "1", [A, odd])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    assert place.blobs() >= {sha256(A), packed(odd)}
    assert not place.store.has(sha256(odd))
    place.images.sweep()
    assert place.blobs() >= {sha256(A), packed(odd)}
    place.images.save([pulled.record.id], io.BytesIO())


def test_the_setting_keeps_both(make: Callable[..., Place], fake: FakeRegistry) -> None:
    put_image(fake, "1", [A, B])
    place = make(keep_compressed=True)
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    assert place.blobs() == set(pulled.record.blobs)
    place.images.sweep()
    assert place.blobs() == set(pulled.record.blobs)


def test_what_an_earlier_version_left_is_finished(
    make: Callable[..., Place], fake: FakeRegistry
) -> None:
    put_image(fake, "1", [A, B])
    before = make(keep_compressed=True)
    (pulled,) = before.images.pull(f"{fake.host}/app:1")
    after = make()
    after.index = before.index
    asked = after.images._context.index
    asked.records, asked.names = before.index.records, before.index.names  # type: ignore[attr-defined]
    free = sum(each.size for each in pulled.record.layers)
    assert after.images.prune(dry_run=True).reclaimed == free
    lower, upper = digests.chain_ids(pulled.record.diff_ids)
    damaged = after.driver.layer_tar(upper)
    assert damaged is not None
    os.chmod(damaged, 0o600)
    Path(damaged).write_bytes(b"other")
    after.images.sweep()
    left = {packed(B), sha256(A), pulled.record.config_digest, pulled.record.manifest_digest}
    assert after.blobs() == left, "the compressed layer stays where its tar is damaged"
    assert after.driver.has(lower)


def test_bytes_that_came_again_are_one_file_again(place: Place) -> None:
    files = docker_archive([A], ["app:1"])  # its layer is no blob by name, so it is read again
    for _ in range(2):
        place.images.load(io.BytesIO(tar_of(files)))
        place.images.unpack("app:1")
    path = place.driver.layer_tar(sha256(A))
    assert path is not None
    assert not os.path.samefile(path, place.store.path(sha256(A)))
    place.images.prune()
    assert os.path.samefile(path, place.store.path(sha256(A)))
    assert place.images.verify(files=True).is_well


def test_a_tar_that_is_gone_takes_nothing_along(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [A])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    path = place.driver.layer_tar(pulled.record.chain_id)
    assert path is not None
    os.unlink(path)
    place.images.sweep()
    place.store.verify(sha256(A))
    assert place.images.verify(repair=True).is_well
    is_single(place, A)
    # What is stored goes, and what containers see is there: it comes again.
    place.store.delete(sha256(A))
    assert not place.images.verify().is_well
    assert place.images.verify(repair=True).is_well
    place.images.sweep()
    is_single(place, A)


KILLED = """
import os, signal, sys
from pathlib import Path
from knarr.content.parts import Part
from knarr.content.store import ContentStore
from knarr.images import tars
from knarr.snapshots.drivers.erofs import Driver
from tests.integration.images.conftest import Place
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
owner, name = {"link": (ContentStore, "link"), "note": (tars, "note"), "drop": (Part, "settle")}[
    sys.argv[3]]
setattr(owner, name, die)
Place(Path(sys.argv[1]), Driver).images.pull(sys.argv[2])
"""


@pytest.mark.parametrize("where", ["link", "note", "drop"])
def test_killed_between_the_two_copies(
    make: Callable[..., Place], fake: FakeRegistry, tmp_path: Path, where: str
) -> None:
    put_image(fake, "1", [A, B])
    place = make()
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "place"), f"{fake.host}/app:1", where],
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}"}, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert place.driver.list_layers() == [sha256(A)]
    place.images.sweep()
    fake.log.clear()
    place.images.pull(f"{fake.host}/app:1")
    assert fake.asked("GET", packed(A)) == [], "the bytes were here in one form at least"
    place.images.sweep()
    is_single(place, A, B)


PULLS = """
import sys
from pathlib import Path
from knarr.snapshots.drivers.erofs import Driver
from tests.integration.images.conftest import Place
place = Place(Path(sys.argv[1]), Driver)
for name in sys.argv[2:]:
    place.images.pull(name)
"""


def test_pulls_of_the_same_layers_in_other_orders(
    make: Callable[..., Place], fake: FakeRegistry, tmp_path: Path
) -> None:
    """A pull waits with nothing in hand that another one waits for."""
    layers = [tar_of({f"f{n}": os.urandom(300_000)}) for n in range(6)]
    put_image(fake, "1", layers)
    put_image(fake, "2", layers[::-1])
    place = make()
    root = Path(__file__).resolve().parents[3]
    names = [f"{fake.host}/app:{tag}" for tag in ("1", "2")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PULLS, str(tmp_path / "place"), *order],
            env=os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}"},
        )
        for order in (names, names[::-1], names)
    ]
    try:
        assert [process.wait(60) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [len(fake.asked("GET", packed(each))) for each in layers] == [1] * 6
    assert os.listdir(f"{place.store.root}/ingest") == []
    assert place.blobs() >= set(map(sha256, layers))
    assert not place.blobs() & set(map(packed, layers))
