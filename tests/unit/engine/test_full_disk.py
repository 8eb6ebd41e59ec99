"""A disk that fills up while a file of a container is written: no half of it takes its place."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knarr import ContainerConfig, Settings
from knarr.engine import hostfiles
from knarr.engine.create import write_spec
from knarr.engine.paths import Paths
from knarr.runtime.seccomp.cache import Cache

ROOM = 4096  # bytes


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """Paths of a container; no file can have more than ``ROOM`` bytes, as on a full disk."""
    found = Paths(Settings(data_root=str(tmp_path), run_root=str(tmp_path / "run")), "a" * 64)
    os.makedirs(found.data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield found
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fails(act: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        act()
    assert caught.value.errno == errno.EFBIG


def test_its_spec(paths: Paths) -> None:
    write_spec(paths, "{}", durable=False)
    fails(lambda: write_spec(paths, '{"a":"' + "x" * ROOM + '"}', durable=False))
    assert Path(paths.spec).read_text() == "{}"


def test_its_hosts(paths: Paths) -> None:
    config = ContainerConfig("busybox", extra_hosts=tuple(f"h{n}:10.0.0.1" for n in range(500)))
    fails(lambda: hostfiles.write(paths.data, config, "a" * 64))


def test_its_filter(paths: Paths) -> None:
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": number % 100 + 1,
         "args": [{"index": 0, "value": number, "op": "SCMP_CMP_EQ"}]}
        for number in range(300)
    ]  # fmt: skip
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    cache = Cache(paths.data + "/filters")
    fails(lambda: cache.file(profile, "x86_64"))
    assert os.listdir(paths.data + "/filters") == []
