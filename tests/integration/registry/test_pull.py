"""Pulls from a registry that does as told: cut off, lying, late, asked by several at once."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.errors import InvalidArchive, KnarrError, NotFound, Unavailable, Unsupported
from knarr.images.context import ProgressEvent, ignore_progress
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.transfer.pull import Pulled
from knarr.images.transfer.pull import pull as pull_image
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry
from tests.integration.images.conftest import Place
from tests.support.fakeimages import GZIP, MANIFEST, entry, put_image, put_index
from tests.support.fakeregistry import FakeRegistry, Request, digest_of, send, serving
from tests.unit.images.helpers import descriptor, layer, tar_of

QUICK = Patience(attempts=3, connect=5.0, stall=0.5, total=2.0, first=0.001, most=0.01)
NO_MIRRORS = Hosts(())
BIG = tar_of({"big": os.urandom(3_000_000)})


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


def pull(
    place: Place,
    fake: FakeRegistry,
    name: str = "app:1",
    platform: str | None = None,
    progress: Callable[[ProgressEvent], None] = ignore_progress,
    hosts: Hosts = NO_MIRRORS,
) -> Pulled:
    with Registry(
        fake.host, hosts, environ={"HOME": "/nonexistent"}, patience=QUICK,
        notice=lambda text: progress(ProgressEvent("Warning", text)),
    ) as asked:  # fmt: skip
        return pull_image(
            place.images._context,
            asked,
            Reference.parse(f"{fake.host}/{name}"),
            Platform.parse(platform) if platform else None,
            progress,
        )


def nothing_is_visible(place: Place) -> None:
    assert place.images.list() == []
    assert place.index.names == {}


def test_layers_are_unpacked_in_their_order(place: Place, fake: FakeRegistry) -> None:
    layers = [layer(*(f"f{n}" for n in range(count))) for count in range(1, 9)]
    put_image(fake, "1", layers)
    pulled = pull(place, fake)
    assert len(pulled.record.diff_ids) == 8
    assert pulled.record.layer_sizes == tuple(len(each) for each in layers)
    assert (place.tree(pulled.record.chain_id) / "f7").read_text() == "content of f7"


def test_a_cut_connection_goes_on(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [BIG])
    blob = gzip.compress(BIG, 1, mtime=0)
    cuts = iter([1_000_000, 2_000_000])

    def hook(request: Request) -> bool:
        cut = next(cuts, None) if digest_of(blob) in request.path else None
        if cut:
            send(request, blob, upto=cut)
        return cut is not None

    fake.hooks.append(hook)
    pull(place, fake)
    asked = [each.get("Range") for each in fake.asked("GET", digest_of(blob))]
    assert asked == [None, "bytes=1000000-", "bytes=2000000-"]


SCRIPT = """
import sys
from pathlib import Path
from tests.integration.images.conftest import Place
def report(event):
    print(event.action, event.current, flush=True)
Place(Path(sys.argv[1])).images.pull(sys.argv[2], progress=report)
"""


def start_pull(folder: Path, name: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), name], stdout=subprocess.PIPE, env=environment
    )


class Gate:
    """Holds a blob back after so many bytes until it is opened."""

    def __init__(self, fake: FakeRegistry, digest: str, after: int) -> None:
        self.open = threading.Event()
        self._digest, self._after, self._data = digest, after, fake.blobs[digest]
        fake.hooks.append(self)

    def __call__(self, request: Request) -> bool:
        if request.command != "GET" or self._digest not in request.path or self.open.is_set():
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(self._data)))
        request.end_headers()
        request.wfile.write(self._data[: self._after])
        request.wfile.flush()
        self.open.wait()
        try:
            request.wfile.write(self._data[self._after :])
        except OSError:
            request.close_connection = True  # the client was killed
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_an_ended_pull_had_is_not_fetched_again(
    tmp_path: Path, fake: FakeRegistry, number: int
) -> None:
    small = layer("small")
    put_image(fake, "1", [small, BIG])
    first, second = (digest_of(gzip.compress(each, 1, mtime=0)) for each in (small, BIG))
    gate = Gate(fake, second, 2_500_000)
    process = start_pull(tmp_path / "place", f"{fake.host}/app:1")
    assert process.stdout is not None
    said = [process.stdout.readline().decode()]
    while not {"Downloading 2097152\n", "Pull complete None\n"} <= set(said):
        said.append(process.stdout.readline().decode())
        assert said[-1], said
    process.send_signal(number)
    process.communicate()
    gate.open.set()

    place = Place(tmp_path / "place")
    nothing_is_visible(place)
    place.images.sweep()  # as recover does after a crash
    fake.log.clear()
    pulled = pull(place, fake)
    assert fake.asked("GET", first) == []
    assert [each.get("Range") for each in fake.asked("GET", second)] == ["bytes=2097152-"]
    assert pulled.is_new
    assert os.listdir(f"{place.store.root}/ingest") == []
    assert os.listdir(f"{place.store.root}/pulls") == []


def test_prune_takes_what_nobody_finished(place: Place, fake: FakeRegistry) -> None:
    small = layer("small")
    put_image(fake, "1", [small, BIG])
    blob = gzip.compress(BIG, 1, mtime=0)

    def hook(request: Request) -> bool:
        if digest_of(blob) not in request.path or request.headers["Range"]:
            return False
        send(request, blob, upto=100_000)
        return True

    fake.hooks.append(hook)
    fake.hooks.append(lambda request: digest_of(blob) in request.path and _gone(request))
    with pytest.raises(NotFound):
        pull(place, fake)
    assert place.blobs()
    place.images.sweep()
    assert place.blobs()
    place.images.prune()
    assert place.blobs() == set()
    assert place.driver.list_layers() == []
    assert os.listdir(f"{place.store.root}/ingest") == []


def test_one_layer_is_fetched_once_however_many_want_it(tmp_path: Path, fake: FakeRegistry) -> None:
    put_image(fake, "1", [BIG])
    put_image(fake, "2", [BIG, layer("more")])
    blob = digest_of(gzip.compress(BIG, 1, mtime=0))
    gate = Gate(fake, blob, 1_000_000)
    names = [f"{fake.host}/app:{tag}" for tag in ("1", "1", "2")]
    processes = [start_pull(tmp_path / "place", name) for name in names]
    for process in processes:
        assert process.stdout is not None
        while process.stdout.readline() != b"Pulling fs layer None\n":
            pass
    gate.open.set()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert len(fake.asked("GET", blob)) == 1
    assert len(Place(tmp_path / "place").index.records) == 0  # its index is in memory


def test_garbage_is_not_collected_meanwhile(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [layer("a"), BIG])
    swept: list[int] = []

    def progress(event: ProgressEvent) -> None:
        if event.action == "Pull complete":
            swept.append(place.images.prune().reclaimed)

    pull(place, fake, progress=progress)
    assert swept == [0, 0]
    place.images.prune()
    assert place.images.get(f"{fake.host}/app:1").size


def lie(manifest: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a manifest whose layer is described otherwise."""
    first = {**manifest["layers"][0], **changes}
    return {**manifest, "layers": [first, *manifest["layers"][1:]]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": 10}, "not the 10 announced"),
        ({"size": 10**9}, "not the 1000000000 announced"),
        ({"digest": "sha256:" + "0" * 64}, "blob unknown"),
        ({"digest": "sha256:zz"}, "malformed"),
        ({"size": -1}, "is not a size"),
    ],
)
def test_manifests_that_lie(
    place: Place, fake: FakeRegistry, changes: dict[str, Any], reason: str
) -> None:
    manifest = put_image(fake, "1", [layer("a")])
    fake.add_manifest("1", lie(manifest, **changes))
    with pytest.raises(KnarrError, match=reason):
        pull(place, fake)
    nothing_is_visible(place)
    assert place.driver.list_layers() == []


def test_a_blob_with_other_bytes(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [layer("a")])
    digest = manifest["layers"][0]["digest"]
    good = fake.blobs[digest]
    fake.blobs[digest] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(InvalidArchive, match="corrupt"):
        pull(place, fake)
    nothing_is_visible(place)
    assert place.driver.list_layers() == []
    fake.blobs[digest] = good
    pull(place, fake)


def test_a_right_blob_that_is_another_layer(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "other", [layer("b")])
    manifest = put_image(fake, "1", [layer("a")])
    packed = gzip.compress(layer("b"), 1, mtime=0)
    fake.add_manifest("1", {**manifest, "layers": [descriptor(packed, GZIP)]})
    with pytest.raises(InvalidArchive, match="is corrupt: its bytes have digest"):
        pull(place, fake)
    nothing_is_visible(place)
    assert place.driver.list_layers() == []


def test_bytes_left_of_an_earlier_pull_that_are_damaged(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [BIG])
    digest = manifest["layers"][0]["digest"]
    part = Path(place.store.root) / "ingest" / f"{digest.replace(':', '-')}.part"
    part.write_bytes(b"\x1f\x8b" + b"x" * 100_000)
    pull(place, fake)
    assert [each.get("Range") for each in fake.asked("GET", digest)] == ["bytes=100002-", None]


def test_more_than_announced(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [layer("a")])
    digest = manifest["layers"][0]["digest"]

    def hook(request: Request) -> bool:
        if digest not in request.path:
            return False
        request.send_response(200)
        request.end_headers()
        request.close_connection = True
        try:
            while True:  # without a length and without an end
                request.wfile.write(fake.blobs[digest])
        except OSError:
            return True

    fake.hooks.append(hook)
    with pytest.raises(InvalidArchive, match=r"longer than|corrupt"):
        pull(place, fake)
    nothing_is_visible(place)


def test_a_blob_that_stops_coming(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [BIG])
    Gate(fake, manifest["layers"][0]["digest"], 1000).open.clear()
    gates = [hook for hook in fake.hooks if isinstance(hook, Gate)]
    try:
        with pytest.raises(KnarrError, match="does not answer"):
            pull(place, fake)
    finally:
        gates[0].open.set()
    nothing_is_visible(place)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"<html>", "not valid JSON"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (b'{"schemaVersion": 2}', "has the media type|which is no image"),
        (b'{"schemaVersion": 2, "layers": [], "manifests": []}', "at once"),
        (b" " * 5_000_000, "longer than 4194304 bytes"),
        (b"[" * 100_000, "not valid JSON|nests too deep"),
    ],
)
def test_manifests_that_are_none(
    place: Place, fake: FakeRegistry, body: bytes, reason: str
) -> None:
    fake.add_manifest("1", body, "application/json")
    with pytest.raises(KnarrError, match=reason):
        pull(place, fake)
    nothing_is_visible(place)


def test_an_artifact_is_no_image(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [layer("a")], artifactType="application/vnd.example")
    with pytest.raises(Unsupported, match=r"is an artifact of type application/vnd\.example"):
        pull(place, fake)


def test_the_platform_of_this_machine_or_the_one_asked_for(
    place: Place, fake: FakeRegistry
) -> None:
    for architecture in ("arm64", "amd64", "s390x"):
        put_image(fake, architecture, [layer(architecture)])
    entries = [entry(fake, each, architecture=each) for each in ("arm64", "amd64", "s390x")]
    attestation = {"vnd.docker.reference.type": "attestation-manifest"}
    entries.append(entry(fake, "s390x", "unknown", "unknown", annotations=attestation))
    inner = put_index(fake, "inner", entries[:2])
    body = fake.manifests[inner][1]
    nested = [descriptor(body, fake.manifests[inner][0]), *entries[2:]]
    digest = put_index(fake, "1", nested)
    for platform in ("linux/s390x", "linux/amd64"):
        pulled = pull(place, fake, platform=platform)
        assert pulled.digest == digest
        name = platform.partition("/")[2]
        assert (place.tree(pulled.record.chain_id) / name).exists()
    assert [str(each.platform) for each in place.images.platforms(f"{fake.host}/app:1")] == [
        "linux/amd64", "linux/s390x"
    ]  # fmt: skip
    with pytest.raises(NotFound, match="no matching manifest in the manifest list entries"):
        pull(place, fake, platform="linux/riscv64")


def test_an_index_without_end(place: Place, fake: FakeRegistry) -> None:
    fake.add_manifest("1", b"{}")
    digest = "1"
    for _ in range(7):
        media_type, body = fake.manifests[digest]
        digest = put_index(fake, "1", [descriptor(body, media_type)])
    with pytest.raises(InvalidArchive, match="nested too deep"):
        pull(place, fake)


def test_layers_of_every_kind(place: Place, fake: FakeRegistry) -> None:
    from knarr.content.compression import zstd_module

    plain, packed = layer("plain"), layer("zstd")
    manifest = put_image(fake, "1", [plain, packed])
    squeezed = zstd_module().compress(packed)
    fake.add_blob(plain)
    fake.add_blob(squeezed)
    layers = [descriptor(plain, "application/vnd.oci.image.layer.v1.tar"),
              descriptor(squeezed, "application/vnd.oci.image.layer.v1.tar+zstd")]  # fmt: skip
    fake.add_manifest("1", {**manifest, "layers": layers})
    pulled = pull(place, fake)
    assert {"plain"} <= set(os.listdir(place.tree(pulled.record.chain_id).parent.parent / "1/fs"))


def test_foreign_layers_come_by_their_address(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [layer("a")])
    digest = manifest["layers"][0]["digest"]
    with serving() as elsewhere:
        elsewhere.blobs[digest] = fake.blobs.pop(digest)
        url = f"http://{elsewhere.host}/v2/x/blobs/{digest}"
        kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        fake.add_manifest("1", lie(manifest, urls=[url], mediaType=kind))
        pull(place, fake)
        assert elsewhere.asked("GET", digest)


def test_a_manifest_without_a_type(place: Place, fake: FakeRegistry) -> None:
    manifest = put_image(fake, "1", [layer("a")])
    del manifest["mediaType"]
    fake.add_manifest("1", json.dumps(manifest).encode(), MANIFEST)
    pull(place, fake)
    assert not pull(place, fake).is_new


def test_a_tag_that_moved(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [layer("a")])
    old = pull(place, fake).record.id
    put_image(fake, "1", [layer("a"), layer("b")])
    fake.log.clear()
    new = pull(place, fake)
    assert new.is_new
    assert new.record.id != old
    assert place.images.get(old).tags == ()
    shared = new.record.layers[0].digest
    assert fake.asked("GET", shared) == []


def test_an_up_to_date_image_costs_one_look(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [layer("a")])
    pull(place, fake)
    fake.log.clear()
    pull(place, fake)
    assert [(method, path) for method, path, _ in fake.log if path != "/v2/"] == [
        ("HEAD", "/v2/app/manifests/1")
    ]


def test_a_registry_that_is_gone_in_between(place: Place, fake: FakeRegistry) -> None:
    put_image(fake, "1", [BIG])
    fake.hooks.append(lambda request: "/blobs/" in request.path and _hang_up(request))
    with pytest.raises(Unavailable, match=r"pull 127\.0\.0\.1:\d+/app:1: .*"):
        pull(place, fake)


def _gone(request: Request) -> bool:
    request.reply(404)
    return True


def _hang_up(request: Request) -> bool:
    request.close_connection = True
    return True


def test_digests_of_a_repository_go_with_its_last_tag(place: Place, fake: FakeRegistry) -> None:
    for tag in ("1", "2"):
        put_image(fake, tag, [layer("a")])
    canonical = f"{fake.host}/app@{digest_of(fake.manifests['1'][1])}"
    pulled = pull(place, fake)
    pull(place, fake, "app:2")
    place.images.tag(pulled.record.id, "mine:1")
    name = f"{fake.host}/app"
    assert place.images.remove(f"{name}:1") == [("Untagged", f"{name}:1")]
    assert place.images.inspect("mine:1")["RepoDigests"] == [canonical]
    assert place.images.remove(f"{name}:2") == [
        ("Untagged", f"{name}:2"), ("Untagged", canonical)
    ]  # fmt: skip
    assert place.images.inspect("mine:1")["RepoDigests"] == []
    pull(place, fake)
    place.images.remove("mine:1")
    assert place.images.remove(f"{name}:1")[:2] == [
        ("Untagged", f"{name}:1"), ("Untagged", canonical)
    ]  # fmt: skip


# --- mirrors ------------------------------------------------------------------------------------


@pytest.fixture
def mirror(fake: FakeRegistry, tmp_path: Path) -> Iterator[FakeRegistry]:
    """A mirror of the registry, for ``mirrored``."""
    with serving() as made:
        folder = tmp_path / "certs.d" / fake.host
        folder.mkdir(parents=True)
        (folder / "hosts.toml").write_text(
            f'server = "http://{fake.host}"\n[host."http://{made.host}"]\n'
        )
        yield made


def mirrored(tmp_path: Path) -> Hosts:
    return Hosts((str(tmp_path / "certs.d"),))


def blob_of(tar: bytes) -> str:
    return digest_of(gzip.compress(tar, 1, mtime=0))


def damaged(data: bytes, how: str) -> bytes:
    if how == "short":
        return data[:-10]
    if how == "long":
        return data + b"x"
    place = {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[how]
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("how", ["first", "middle", "last", "short", "long"])
@pytest.mark.parametrize("what", ["config", "layer", "manifest"])
def test_a_mirror_with_wrong_bytes_is_left(
    place: Place, fake: FakeRegistry, mirror: FakeRegistry, tmp_path: Path, what: str, how: str
) -> None:
    layers = [layer("below"), BIG, layer("above")]
    put_image(fake, "1", layers)
    mirror.blobs, mirror.manifests = dict(fake.blobs), dict(fake.manifests)
    if what == "manifest":
        kind, body = mirror.manifests["1"]
        for name in list(mirror.manifests):
            mirror.manifests[name] = (kind, damaged(body, how))
        top = digest_of(body)

        def claim(request: Request) -> bool:
            if request.command not in ("GET", "HEAD") or "/manifests/" not in request.path:
                return False
            request.reply(200, mirror.manifests["1"][1],
                          {"Content-Type": kind, "Docker-Content-Digest": top})  # fmt: skip
            return True

        mirror.hooks.append(claim)
    else:
        manifest = json.loads(fake.manifests["1"][1])
        digest = blob_of(BIG) if what == "layer" else manifest["config"]["digest"]
        mirror.blobs[digest] = damaged(mirror.blobs[digest], how)
    told: list[ProgressEvent] = []
    pulled = pull(place, fake, progress=told.append, hosts=mirrored(tmp_path))
    assert (place.tree(pulled.record.chain_id) / "above").read_text() == "content of above"
    assert len(pulled.record.diff_ids) == 3
    said = [each.subject for each in told if each.action == "Warning"]
    assert len(said) == 1
    assert said[0].startswith(f"mirror {mirror.host} gives wrong bytes and is not asked any more: ")
    assert "\n" not in said[0]
    assert not place.images.verify().damages


def test_a_mirror_with_wrong_bytes_is_left_for_the_next(
    place: Place, fake: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    put_image(fake, "1", [BIG])
    with serving() as second:
        with (tmp_path / "certs.d" / fake.host / "hosts.toml").open("a") as file:
            file.write(f'[host."http://{second.host}"]\n')
        for each in (mirror, second):
            each.blobs, each.manifests = dict(fake.blobs), dict(fake.manifests)
        mirror.blobs[blob_of(BIG)] = damaged(mirror.blobs[blob_of(BIG)], "middle")
        pull(place, fake, hosts=mirrored(tmp_path))
        assert len(mirror.asked("GET", blob_of(BIG))) == 1
        assert len(second.asked("GET", blob_of(BIG))) == 1
    assert not fake.asked("GET", "/blobs/")


def test_what_the_registry_itself_has_wrong_fails(
    place: Place, fake: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    put_image(fake, "1", [BIG])
    fake.blobs[blob_of(BIG)] = damaged(fake.blobs[blob_of(BIG)], "last")
    mirror.blobs, mirror.manifests = dict(fake.blobs), dict(fake.manifests)
    with pytest.raises(InvalidArchive, match="is corrupt"):
        pull(place, fake, hosts=mirrored(tmp_path))
    nothing_is_visible(place)


def test_a_layer_that_makes_no_sense_fails_whoever_gave_it(
    place: Place, fake: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    """Its bytes are the ones that were announced: no mirror is to blame."""
    put_image(fake, "1", [b"this is no tar" * 5000])
    mirror.blobs, mirror.manifests = dict(fake.blobs), dict(fake.manifests)
    told: list[ProgressEvent] = []
    with pytest.raises(InvalidArchive):
        pull(place, fake, progress=told.append, hosts=mirrored(tmp_path))
    assert not [each for each in told if each.action == "Warning"]
    nothing_is_visible(place)
