"""The client with the registry that knarr itself serves."""

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.errors import KnarrError, NotFound
from knarr.registry import uploads
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry
from knarr.registryd.service import Options
from knarr.registryd.tagrules import TagRules
from tests.integration.images.conftest import Place
from tests.support.registries import serving
from tests.unit.images.helpers import Layout, layer, sha256, tar_of
from tests.unit.images.several import several

ARTIFACT = "application/vnd.oci.image.manifest.v1+json"
QUICK = Patience(attempts=4, connect=5.0, stall=5.0, first=0.001, most=0.01)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    with serving(str(tmp_path / "served")) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def registry(host: str) -> Iterator[Registry]:
    with Registry(host, Hosts(()), environ={"HOME": "/nonexistent"}, patience=QUICK) as made:
        yield made


def test_all_platforms_there_and_back(place: Place, elsewhere: Place, host: str) -> None:
    place.images.load(io.BytesIO(tar_of(several().done())))
    place.images.tag("app:1", f"{host}/team/app:1")
    (pushed,) = place.images.push(f"{host}/team/app:1")
    for platform in ("linux/amd64", "linux/arm64", "linux/s390x"):
        (pulled,) = elsewhere.images.pull(f"{host}/team/app:1", platform=platform)
        assert pulled.digest == pushed.digest
        assert str(pulled.record.platform) == platform
    # What was pulled can be given on, index and all: the attestation was not pulled, but is taken
    # over within the registry.
    elsewhere.images.tag(f"{host}/team/app:1", f"{host}/other/app:1")
    whole = elsewhere.images.push(f"{host}/other/app:1")[0]
    assert whole.digest == pushed.digest


def test_what_a_repository_has(registry: Registry) -> None:
    repository = registry.repository("team/app")
    data = os.urandom(100_000)
    digest = sha256(data)
    repository.push_blob(digest, len(data), lambda offset: io.BytesIO(data[offset:]))
    assert repository.has_blob(digest) == len(data)
    assert registry.repository("other").mount(digest, "team/app")
    with repository_stream(repository, digest, 1000) as read:
        assert read == data[1000:]
    empty = b"{}"
    repository.push_blob(sha256(empty), 2, lambda offset: io.BytesIO(empty[offset:]))
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(empty), "size": 2}
    body = json.dumps({"schemaVersion": 2, "mediaType": ARTIFACT, "config": config,
                       "layers": []}).encode()  # fmt: skip
    subject = repository.put_manifest("1", ARTIFACT, body)
    described = {"mediaType": ARTIFACT, "digest": subject, "size": len(body)}
    about = json.dumps({"schemaVersion": 2, "mediaType": ARTIFACT, "artifactType": "text/sbom",
                        "config": config, "layers": [], "subject": described}).encode()  # fmt: skip
    repository.put_manifest(sha256(about), ARTIFACT, about)
    assert [each["digest"] for each in repository.referrers(subject)] == [sha256(about)]
    assert repository.referrers(subject, "text/other") == []
    assert list(repository.tags()) == ["1"]  # no list is kept as a tag where there is the API
    assert list(registry.catalog()) == ["team/app"]
    found = repository.head_manifest("1", (ARTIFACT,))
    assert found is not None
    assert (found.digest, found.size) == (subject, len(body))
    repository.delete_manifest("1")
    assert repository.head_manifest("1", (ARTIFACT,)) is None


class repository_stream:  # noqa: N801 - reads as a function where it is used
    """All of a blob from an offset."""

    def __init__(self, repository: object, digest: str, offset: int) -> None:
        self._stream = repository.blob(digest, offset=offset)  # type: ignore[attr-defined]

    def __enter__(self) -> bytes:
        parts = []
        while piece := self._stream.read(65536):
            parts.append(piece)
        return b"".join(parts)

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def test_an_upload_that_is_cut_off_goes_on(
    host: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE", 500_000)
    data = os.urandom(3_000_000)
    told: list[int] = []

    class Cut(io.BytesIO):
        """Ends the connections when it has been read so far, once."""

        def read(self, size: int | None = -1) -> bytes:
            if not told and self.tell() >= 1_500_000:
                told.append(self.tell())
                for each in registry.transport.connections._busy:
                    each.break_off()
            return super().read(size)

    def opened(offset: int) -> io.BytesIO:
        source = Cut(data)
        source.seek(offset)
        return source

    registry.repository("app").push_blob(sha256(data), len(data), opened)
    assert told
    assert registry.repository("app").has_blob(sha256(data)) == len(data)


def test_a_tag_that_cannot_move(place: Place, tmp_path: Path) -> None:
    options = Options(rules=TagRules(("v*",)))
    for name in ("a", "b"):
        layout = Layout()
        layout.image([layer(name)], f"docker.io/library/{name}:1")
        place.images.load(io.BytesIO(tar_of(layout.done())))
    with serving(str(tmp_path / "fixed"), options) as server:
        target = f"127.0.0.1:{server.port}/app:v1"
        place.images.tag("a:1", target)
        place.images.push(target)
        place.images.push(target)
        place.images.tag("b:1", target)
        with pytest.raises(KnarrError, match="is immutable here"):
            place.images.push(target)


def test_many_pull_and_push_at_once(tmp_path: Path, place: Place, host: str) -> None:
    for number in range(4):
        layout = Layout()
        layout.image([layer("shared"), layer(f"own {number}")], f"docker.io/library/a:{number}")
        place.images.load(io.BytesIO(tar_of(layout.done())))
        place.images.tag(f"a:{number}", f"{host}/a{number}:1")
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            place.images.push(f"{host}/a{number}:1")
            Place(tmp_path / str(number)).images.pull(f"{host}/a{number}:1")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []


def test_what_is_not_there(place: Place, host: str) -> None:
    for name in ("nothing", "nothing:1"):
        with pytest.raises(NotFound, match="not found"):
            place.images.pull(f"{host}/{name}")
    with pytest.raises(NotFound):
        place.images.pull(f"{host}/nothing", all_tags=True)
