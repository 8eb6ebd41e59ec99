"""Compressed layers whose tar is kept in their place: one copy on disk, for whatever wants it."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.content import compression
from knarr.content import digest as digests
from knarr.errors import NotFound, Unsupported
from knarr.images import tars
from knarr.images.verifying import UNPACKED
from knarr.snapshots.drivers.erofs import Driver
from tests.integration.images.conftest import Place
from tests.support import leftovers, registries
from tests.support.dockerregistry import skopeo
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry, digest_of
from tests.support.fakeregistry import serving as fake_serving
from tests.support.tars import directory, tar
from tests.unit.images.helpers import Layout, docker_archive, layer, sha256, tar_of
from tests.unit.images.several import several

A, B, C = layer("a"), layer("b"), layer("c")


def packed(data: bytes) -> str:
    """The digest of a layer as ``put_image`` packs it."""
    return digest_of(gzip.compress(data, 1, mtime=0))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Make places whose driver keeps tars; each name is one folder."""

    def made(name: str = "place", **options: Any) -> Place:
        place = Place(tmp_path / name, Driver, **options)
        try:
            place.driver.probe()
        except Unsupported as error:
            pytest.skip(str(error))
        return place

    yield made
    for name in os.listdir(tmp_path):
        if os.path.isdir(tmp_path / name / "snapshots"):
            Driver(str(tmp_path / name / "snapshots")).cleanup()
    assert leftovers.mounts(str(tmp_path)) == []


@pytest.fixture
def place(make: Callable[..., Place]) -> Place:
    return make()


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_serving() as registry:
        yield registry


def is_single(place: Place, *layers: bytes) -> None:
    """Of these layers there is one copy, which is content and what containers see."""
    store = place.store
    record = next(r for r in place.index.list() if r.diff_ids == tuple(map(sha256, layers)))
    for descriptor, diff_id, chain_id in zip(
        record.layers, record.diff_ids, digests.chain_ids(record.diff_ids), strict=True
    ):
        path = place.driver.layer_tar(chain_id)
        assert path is not None
        assert os.path.samefile(path, store.path(diff_id))
        assert store.has(descriptor.digest) == (descriptor.digest == diff_id)
        store.verify(diff_id)
    assert os.listdir(f"{store.root}/ingest") == []


# --- pull --------------------------------------------------------------------------


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
    after.images._context.index.records = before.index.records  # type: ignore[attr-defined]
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


# --- load, commit, save ----------------------------------------------------------------


def test_a_loaded_layer_is_decompressed_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    layout.image([A, B], "docker.io/library/app:1")
    archive = io.BytesIO(tar_of(layout.done()))
    decoders: list[compression._Gzip] = []

    def decoder() -> compression._Gzip:
        decoders.append(compression._Gzip())
        return decoders[-1]

    monkeypatch.setitem(compression._DECODERS, "gzip", decoder)
    place.images.load(archive)
    place.images.unpack("app:1")
    assert len(decoders) == 2
    is_single(place, A, B)
    archive.seek(0)
    place.images.load(archive)
    assert len(decoders) == 2
    is_single(place, A, B)


def test_a_bad_layer_leaves_nothing_of_a_load(place: Place) -> None:
    layout = Layout()
    layout.image([A, b"no tar at all"], "docker.io/library/app:1")
    with pytest.raises(Exception, match="tar"):
        place.images.load(io.BytesIO(tar_of(layout.done())))
    assert place.blobs() == set()
    assert place.driver.list_layers() == []


def files_of(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return {m.name: found.extractfile(m).read() for m in found if m.isfile()}  # type: ignore[union-attr]


def saved(place: Place, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    place.images.save([name], out, **options)
    return out.getvalue()


@pytest.mark.parametrize("archive_format", ["docker-archive", "oci"])
def test_saved_and_loaded(
    make: Callable[..., Place], fake: FakeRegistry, archive_format: str
) -> None:
    put_image(fake, "1", [A, B])
    here, there = make(), make("there")
    (pulled,) = here.images.pull(f"{fake.host}/app:1")
    archive = saved(here, f"{fake.host}/app:1", format=archive_format)
    assert archive == saved(here, f"{fake.host}/app:1", format=archive_format)
    files = files_of(archive)
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name.endswith(sha256(data)[7:])
    entry = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'][7:]}"])
    assert [each["digest"] for each in manifest["layers"]] == [sha256(A), sha256(B)]
    assert [len(files[f"blobs/sha256/{each['digest'][7:]}"]) == each["size"]
            for each in manifest["layers"]] == [True, True]  # fmt: skip
    (loaded,) = there.images.load(io.BytesIO(archive)).images
    assert loaded.id == pulled.record.id
    there.images.unpack(loaded.id)
    is_single(there, A, B)
    assert saved(there, f"{fake.host}/app:1", format=archive_format) == archive


@pytest.mark.peer
def test_saved_for_others(place: Place, fake: FakeRegistry, tmp_path: Path) -> None:
    put_image(fake, "1", [A, B])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    for archive_format, transport in (("docker-archive", "docker-archive"), ("oci", "oci-archive")):
        path = tmp_path / f"{archive_format}.tar"
        place.images.save([f"{fake.host}/app:1"], path, format=archive_format)
        target = tmp_path / f"copy-{archive_format}"
        skopeo("copy", f"{transport}:{path}", f"dir:{target}")
        config = target / pulled.record.config_digest[7:]
        assert digest_of(config.read_bytes()) == pulled.record.id
        skopeo("copy", f"{transport}:{path}", f"oci:{target}-oci:app")
    place.images.save([f"{fake.host}/app:1"], tmp_path / "layout", format="oci-dir")
    skopeo("copy", f"oci:{tmp_path / 'layout'}:1", f"dir:{tmp_path / 'copy-dir'}")


def test_an_index_with_what_is_kept_of_it(make: Callable[..., Place]) -> None:
    here, there = make(), make("there")
    here.images.load(io.BytesIO(tar_of(several(amd64=B).done())))
    archive = saved(here, "app:1")
    there.images.load(io.BytesIO(archive))
    platforms = [str(each.platform) for each in there.images.platforms("app:1")]
    assert platforms == ["linux/arm64", "linux/amd64", "linux/s390x"]
    assert there.images.get("app:1").id == here.images.get("app:1").id
    there.images.inspect("app:1")
    index = json.loads(there.store.read(there.index.indexes()[0].digest))
    assert len(index["manifests"]) == 3, "an attestation is about a manifest and its digest"


def test_since_in_whatever_form_the_base_is_there(
    make: Callable[..., Place], fake: FakeRegistry
) -> None:
    put_image(fake, "1", [A])
    put_image(fake, "2", [A, B])
    here = make()
    for tag in ("1", "2"):
        here.images.pull(f"{fake.host}/app:{tag}")
    archive = saved(here, f"{fake.host}/app:2", since=[f"{fake.host}/app:1"])
    assert f"blobs/sha256/{sha256(A)[7:]}" not in files_of(archive)
    for number, keep_compressed in enumerate((False, True)):
        there = make(f"there-{number}", keep_compressed=keep_compressed)
        there.images.pull(f"{fake.host}/app:1")
        (loaded,) = there.images.load(io.BytesIO(archive)).images
        assert there.images.unpack(loaded.id) == digests.chain_ids([sha256(A), sha256(B)])[-1]


def test_images_above_and_comparisons(place: Place, fake: FakeRegistry) -> None:
    from knarr.images.committing import HistoryNote

    put_image(fake, "1", [A])
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    note = HistoryNote("sh", "me", "")
    child = place.images.commit(pulled.record.id, [B], {}, "child:1", note=note)
    assert [each.digest for each in child.record.layers] == [packed(A), sha256(B)]
    place.images.unpack("child:1")
    assert [each.path for each in place.images.diff(pulled.record.id, "child:1").files] == ["/b"]
    assert place.images.verify(files=True).is_well
    place.images.remove(f"{fake.host}/app:1")
    assert place.images.verify(files=True).is_well
    saved(place, "child:1")


# --- push ---------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[str]]:
    """The hosts of two registries."""
    with (
        registries.serving(str(tmp_path / "one")) as one,
        registries.serving(str(tmp_path / "two")) as other,
    ):
        yield [f"localhost:{each.port}" for each in (one, other)]


def pushed(place: Place, name: str) -> tuple[str, list[str], list[str]]:
    """Push; return the digest, what was done to layers, and the warnings."""
    said: list[str] = []
    warnings: list[str] = []

    def note(event: Any) -> None:
        if event.action == "Warning":
            warnings.append(event.subject)
        elif event.action and (event.current is None or event.current == event.total):
            said.append(event.action)

    (done,) = place.images.push(name, progress=note)
    return done.digest, said, warnings


def test_pushed_to_where_it_is_and_to_where_it_is_not(
    make: Callable[..., Place], fake: FakeRegistry, two: list[str]
) -> None:
    put_image(fake, "1", [A, B])
    place, far = make(), make("far")
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    place.images.tag(f"{fake.host}/app:1", f"{fake.host}/app:2")
    digest, said, warnings = pushed(place, f"{fake.host}/app:2")
    assert (digest, said.count("Layer already exists"), warnings) == (pulled.digest, 2, [])
    # To a registry that has not got it, as it was, from where it came.
    place.images.tag(f"{fake.host}/app:1", f"{two[0]}/team/app:1")
    digest, said, warnings = pushed(place, f"{two[0]}/team/app:1")
    assert (digest, said.count("Fetching"), warnings) == (pulled.digest, 2, [])
    assert (far.images.pull(f"{two[0]}/team/app:1")[0]).digest == pulled.digest
    is_single(far, A, B)
    # Within that registry it is mounted.
    place.images.tag(f"{fake.host}/app:1", f"{two[0]}/other:1")
    digest, said, warnings = pushed(place, f"{two[0]}/other:1")
    assert (digest, said.count("Mounted from team/app"), warnings) == (pulled.digest, 2, [])
    assert os.listdir(f"{place.store.root}/ingest") == []


def test_compressed_anew_where_nobody_has_it(
    make: Callable[..., Place], fake: FakeRegistry, two: list[str]
) -> None:
    big = tar_of({"big": b"x" * 200_000})
    put_image(fake, "1", [A, big])
    place, far = make(), make("far")
    (pulled,) = place.images.pull(f"{fake.host}/app:1")
    del fake.blobs[packed(big)]
    name = f"{two[0]}/team/app:1"
    place.images.tag(f"{fake.host}/app:1", name)
    digest, said, warnings = pushed(place, name)
    assert digest != pulled.digest
    assert ("Fetching" in said, "Compressing" in said) == (True, True)
    (warning,) = warnings
    assert warning.startswith("1 layer is neither there nor where the image came from as it was")
    assert warning.endswith(f"the digest is now {digest}, no longer {pulled.digest}")
    (arrived,) = far.images.pull(name)
    assert (arrived.record.id, arrived.digest) == (pulled.record.id, digest)
    assert arrived.record.layers[0].digest == packed(A)
    # Again, elsewhere: it is known what it became.
    place.images.tag(name, f"{two[0]}/again:1")
    again, said, _ = pushed(place, f"{two[0]}/again:1")
    assert again == digest
    assert "Compressing" not in said


def test_an_index_of_which_a_layer_is_compressed_anew(
    make: Callable[..., Place], two: list[str]
) -> None:
    place, far = make(), make("far")
    place.images.load(io.BytesIO(tar_of(several(amd64=B).done())))
    old = place.index.indexes()[0].digest
    name = f"{two[0]}/many:1"
    place.images.tag("app:1", name)
    digest, _, (warning,) = pushed(place, name)
    assert f"the digest is now {digest}, no longer {old}" in warning
    ours = {each.record.id for each in place.images.platforms("app:1")}
    for platform in ("linux/amd64", "linux/arm64"):
        (pulled,) = far.images.pull(name, platform=platform)
        assert pulled.digest == digest
        assert pulled.record.id in ours


# --- verify -------------------------------------------------------------------------------


def spoil(path: str) -> None:
    os.chmod(path, 0o600)
    Path(path).write_bytes(b"other")


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
