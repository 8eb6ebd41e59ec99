from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.registry.credentials import Credentials
from knarr.registry.hosts import Hosts
from knarr.registry.patience import Patience
from knarr.registry.repository import Registry
from tests.support.fakeregistry import FakeRegistry, serving

# No test waits for long; a pause is still one.
QUICK = Patience(attempts=4, connect=5.0, stall=0.5, total=2.0, first=0.001, most=0.01)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another server: a mirror, a token server, where blobs are redirected to."""
    with serving() as registry:
        yield registry


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose user has no credentials."""
    return {"HOME": str(tmp_path / "home"), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}


@pytest.fixture
def registry(fake: FakeRegistry, home: dict[str, str], tmp_path: Path) -> Iterator[Registry]:
    hosts = Hosts((str(tmp_path / "certs.d"),))
    with Registry(fake.host, hosts, Credentials(home), environ=home, patience=QUICK) as made:
        yield made
