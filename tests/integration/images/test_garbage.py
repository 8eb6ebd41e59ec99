"""Garbage is collected while other processes pull, and takes nothing that they want."""

import contextlib
import io
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.images import tars
from knarr.images.context import ProgressEvent
from tests.integration.images.conftest import Place
from tests.support import dockerregistry
from tests.unit.images.helpers import Layout, tar_of

IMAGES, ROUNDS = 4, 8
PULLER = """\
import sys
from knarr.config import Settings
from knarr import Engine
from knarr.errors import NotFound
from knarr.images import tars
root, host, number, rounds = sys.argv[1:]
settings = Settings(data_root=root + "/d", run_root=root + "/r")
with Engine(settings) as engine:
    for turn in range(int(rounds)):
        name = f"{host}/app:{(turn + int(number)) % 4}"
        (pulled,) = engine.images.pull(name)
        for digest in pulled.record.blobs:
            try:
                engine.content.verify(tars.held(engine.content, digest))
            except NotFound:  # another process has removed the image again
                assert not engine.index.find(pulled.record.id), digest
                break
        try:
            engine.images.remove(name)
        except NotFound:
            pass
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A registry with images that share some of their layers."""
    with dockerregistry.running(tmp_path) as found:
        chance = random.Random(7)
        layers = [tar_of({f"{n}": chance.randbytes(60_000)}) for n in range(IMAGES + 3)]
        layout = Layout()
        for number in range(IMAGES):
            layout.image(layers[number : number + 4], f"{found}/app:{number}")
        archive = tmp_path / "images.tar"
        archive.write_bytes(tar_of(layout.done()))
        place = Place(tmp_path / "elsewhere")
        place.images.load(str(archive))
        for number in range(IMAGES):
            place.images.push(f"{found}/app:{number}")
        yield found


def test_collecting_while_others_pull(host: str, tmp_path: Path) -> None:
    root = tmp_path / "engine"
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    pullers = [
        subprocess.Popen(
            [sys.executable, "-c", PULLER, str(root), host, str(number), str(ROUNDS)],
            env=environment, stderr=subprocess.PIPE,
        )
        for number in range(3)
    ]  # fmt: skip
    from knarr import Engine
    from knarr.config import Settings

    with contextlib.ExitStack() as stack:
        for each in pullers:
            stack.callback(each.kill)  # where they did not end by themselves
        engine = stack.enter_context(Engine(Settings(data_root=f"{root}/d", run_root=f"{root}/r")))
        swept = 0
        while any(each.poll() is None for each in pullers):
            engine.images.prune()
            swept += 1
        problems = [each.communicate()[1].decode() for each in pullers]
        assert problems == ["", "", ""]
        assert swept > ROUNDS
        for number in range(IMAGES):
            (pulled,) = engine.images.pull(f"{host}/app:{number}")
            for digest in pulled.record.blobs:
                engine.content.verify(tars.held(engine.content, digest))
            assert engine.driver.has(pulled.record.chain_id)
        engine.images.prune(all=True)
        assert list(engine.content.walk()) == []
        assert list(engine.driver.list_layers()) == []
        assert os.listdir(f"{root}/d/content/pulls") == []


def test_what_nobody_needs_goes_while_a_pull_runs(host: str, tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    garbage = place.store.add(b"nobody's")
    freed: list[int] = []

    def collect(event: ProgressEvent) -> None:
        if event.action in ("Downloading", "Download complete", "Extracting"):
            freed.append(place.images.prune().reclaimed)

    (pulled,) = place.images.pull(f"{host}/app:0", progress=collect)
    assert sum(freed) == garbage.size
    assert not place.store.has(garbage.digest)
    for digest in pulled.record.blobs:
        place.store.verify(digest)
    saved = io.BytesIO()
    place.images.save([f"{host}/app:0"], saved)
