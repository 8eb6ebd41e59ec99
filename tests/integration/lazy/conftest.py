"""An image in a registry that gives what it is told to, and the engine that uses it meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from knarr import Engine
from knarr.config import Settings
from knarr.errors import KnarrError, Unsupported
from knarr.images import tars
from knarr.images.lazy import expected
from tests.support import busybox
from tests.support.chunked import Chunked
from tests.support.fakeimages import put_image, put_tabled
from tests.support.fakeregistry import FakeRegistry, Request, digest_of, serving
from tests.support.processes import children, listener
from tests.support.stargz import Stargz
from tests.support.tars import file, tar
from tests.support.waiting import wait_until

END = bytes(1024)  # of a tar
BIG = os.urandom(3_000_000)
OTHER = os.urandom(2_000_000)


def layer() -> bytes:
    """A plain tar: busybox, small files between, two big ones."""
    base = busybox.layer().rstrip(b"\0")
    base += bytes(-len(base) % 512)
    small = [file(f"etc/small{n}", b"small %d" % n) for n in range(20)]
    rest = tar(file("big", BIG), *small, file("other", OTHER), file("etc/last", b"last"))
    return base + rest


class Remote:
    """The registry, which holds back what is in the middle of the first big file."""

    def __init__(self, fake: FakeRegistry, kind: str) -> None:
        self.fake = fake
        self.kind = kind
        self.layer = self.plain = layer()
        self.place = self.layer.index(BIG)
        self.name = f"{fake.host}/app:1"
        if kind != "plain":
            made = Chunked(self.layer) if kind == "chunked" else Stargz(self.layer, together=1000)
            self.layer = made.blob
            self.place = next(e["offset"] for e in made.entries if e["name"] == "big")
            put_tabled(fake, "1", [made])
        else:
            put_image(fake, "1", [self.layer], plain=True)
        self.digest = digest_of(self.layer)
        self.let = threading.Event()
        self.let.set()
        self.gone = False
        self.slow = 0.0  # seconds for each part
        self.gives_whole = False  # who asks for all of it is not held back
        self._never = threading.Event()
        self.held: list[int] = []
        fake.hooks.append(self._hook)

    def _hook(self, request: Request) -> bool:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "bytes=0-")
        if self.digest not in request.path or wanted is None or request.command != "GET":
            return False
        if not wanted[2] and self.gives_whole:
            return False
        first, last = int(wanted[1]), int(wanted[2] or len(self.layer))
        # What the walk over the headers asks for ends before; behind it is a piece with others.
        if last >= self.place + 1_500_000 and first < self.place + 2_000_000:
            self.held.append(first)
            self.let.wait()
        if self.slow:
            self._never.wait(self.slow)
        if self.gone:
            request.close_connection = True
        return self.gone

    def hold(self) -> None:
        """Hold it back from now on."""
        self.let.clear()


class Local:
    """The engine's side: files of the layer as containers see them, and who brings them."""

    def __init__(self, engine: Engine, remote: Remote) -> None:
        self.engine = engine
        self.remote = remote
        self.settings = engine.settings
        self.pool = ThreadPoolExecutor(8)

    def pull(self) -> None:
        self.engine.images.pull(self.remote.name, lazy=True)

    def path(self, name: str) -> Path:
        """Return where a file is to be seen on the host."""
        (place,) = Path(self.settings.run_root, "layers").iterdir()
        return place / name

    def reading(self, name: str, count: int = -1) -> Future[bytes]:
        """Read the start of a file in a thread."""
        return self.pool.submit(_read, self.path(name), count)

    @property
    def watcher(self) -> int:
        return listener(f"{self.settings.run_root}/lazy.sock")

    @property
    def fetcher(self) -> int:
        found: list[int] = []

        def look() -> bool:
            found[:] = children(self.watcher)  # none while one is being replaced
            return bool(found)

        wait_until(look)
        return found[0]

    def kill(self, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def is_coming(self) -> bool:
        return os.path.exists(f"{self.settings.data_root}/snapshots/coming")

    def arrive(self) -> None:
        """Wait until the whole image is here, like any other."""
        wait_until(lambda: not self.is_coming())
        assert tars.has(self.engine.content, self.remote.digest)

    def is_watched(self) -> bool:
        """Return whether there is a watcher."""
        try:
            return bool(self.watcher)
        except OSError:
            return False

    def log(self) -> str:
        return Path(self.settings.run_root, "lazy.log").read_text()


def _read(path: Path, count: int) -> bytes:
    with path.open("rb", buffering=0) as opened:
        found = bytearray()
        while count < 0 or len(found) < count:
            data = opened.read(65536)
            if not data:
                break
            found += data
        return bytes(found)


@pytest.fixture(params=["plain", "stargz", "chunked"])
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    with serving() as fake:
        made = Remote(fake, request.param)
        yield made
        made.let.set()


@pytest.fixture
def local(settings: Settings, remote: Remote) -> Iterator[Local]:
    with Engine(settings) as engine:
        try:
            expected.check(engine.driver)
        except Unsupported as error:
            pytest.skip(str(error))
        made = Local(engine, remote)
        yield made
        remote.let.set()
        for container in engine.containers.list(all=True):
            container.remove(force=True)
        with contextlib.suppress(KnarrError):
            engine.images.remove(remote.name, force=True)
        made.pool.shutdown()
    wait_until(lambda: not made.is_watched())
