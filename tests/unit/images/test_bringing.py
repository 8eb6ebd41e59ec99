"""Copies within a registry, of indexes that list one another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.content.store import ContentStore
from knarr.errors import InvalidArchive
from knarr.images.descriptor import Descriptor
from knarr.images.transfer.bringing import bring
from knarr.images.transfer.lists import ManifestLists
from knarr.registry.hosts import Hosts
from knarr.registry.repository import Registry, Repository
from tests.support.fakeregistry import OCI_INDEX, FakeRegistry, serving


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def both(fake: FakeRegistry, tmp_path: Path) -> Iterator[tuple[Repository, Repository]]:
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin"}
    with Registry(fake.host, Hosts(()), environ=home) as registry:
        yield registry.repository("from"), registry.repository("to")


def index(fake: FakeRegistry, entries: list[Descriptor]) -> Descriptor:
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX,
             "manifests": [each.to_dict() for each in entries]}  # fmt: skip
    digest = fake.add_manifest("x", value, OCI_INDEX)
    return Descriptor(OCI_INDEX, digest, len(fake.manifests[digest][1]))


def test_indexes_that_multiply_are_brought_once(
    fake: FakeRegistry, both: tuple[Repository, Repository]
) -> None:
    entry = index(fake, [])
    for _ in range(4):
        entry = index(fake, [entry] * 50)
    bring(*both, entry)
    assert len(fake.asked("GET", "/v2/from/manifests/")) == 5
    assert len(fake.asked("PUT", "/v2/to/manifests/")) == 5


def test_an_index_beyond_reason(fake: FakeRegistry, both: tuple[Repository, Repository]) -> None:
    kind = "application/vnd.example+json"
    entries = []
    for number in range(1001):
        digest = fake.add_manifest("x", {"n": number}, kind)
        entries.append(Descriptor(kind, digest, len(fake.manifests[digest][1])))
    with pytest.raises(InvalidArchive, match="leads to more than 1000 manifests"):
        bring(*both, index(fake, entries))


def test_a_list_of_more_than_can_be_held(
    fake: FakeRegistry, both: tuple[Repository, Repository], tmp_path: Path
) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    entries = [Descriptor(kind, "sha256:" + "0" * 64, 2**22) for _ in range(17)]
    fake.manifests["v1"] = fake.manifests[index(fake, entries).digest]
    registry = both[0].registry
    assert isinstance(registry, Registry)
    lists = ManifestLists(ContentStore(str(tmp_path / "store")), lambda _host, _insecure: registry)
    with pytest.raises(InvalidArchive, match="more than 67108864 bytes"):
        lists.inspect(f"{fake.host}/from:v1")
    assert len(fake.asked("GET", "/manifests/sha256:")) == 0
