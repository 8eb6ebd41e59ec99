"""Containers of an image that is still on its way: what they read, and what they never read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from concurrent.futures import Future
from pathlib import Path

import pytest

from knarr import ContainerConfig, Engine
from knarr.config import Settings
from knarr.engine.model import RunResult
from knarr.errors import KnarrError, Unsupported
from knarr.images.context import ProgressEvent
from knarr.images.lazy import expected, stargz
from tests.conftest import Command
from tests.integration.lazy.conftest import BIG, OTHER, Local, Remote
from tests.support.chunked import PREFIX, Chunked, finished, packed
from tests.support.fakeimages import put_image, put_tabled
from tests.support.fakeregistry import Request, serving
from tests.support.stargz import Stargz
from tests.support.tars import directory, file, tar
from tests.support.waiting import wait_until

BIG_SUM = hashlib.md5(BIG, usedforsecurity=False).hexdigest()


def run(local: Local, *command: str) -> RunResult:
    config = ContainerConfig(local.remote.name, command, auto_remove=True, pull="never")
    return local.engine.containers.run(config)


def code_of(reading: Future[bytes]) -> int | None:
    """Return the errno that a read ended with."""
    error = reading.exception(60)
    assert isinstance(error, OSError)
    return error.errno


def test_a_container_runs_before_its_image_is_here(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    assert run(local, "cat", "/etc/small7", "/etc/last").stdout == b"small 7last"
    assert local.is_coming()
    assert not local.engine.content.has(remote.digest)
    remote.let.set()
    assert run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM
    local.arrive()
    (layer,) = Path(local.settings.data_root, "snapshots", "l").iterdir()
    assert sorted(os.listdir(layer)) == ["fs", "index.erofs", "layer.tar", "meta.json"]
    assert local.engine.images.verify([remote.name]).is_well
    assert run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM
    wait_until(lambda: not local.is_watched())


def test_who_reads_what_has_not_come_waits_for_it(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    readings = [local.reading("big") for _ in range(3)]
    wait_until(lambda: remote.held)
    assert not any(each.done() for each in readings)
    remote.let.set()
    assert all(each.result(60) == BIG for each in readings)


def test_a_container_goes_on_when_the_last_has_come(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    script = "head -c 1 /etc/small1; read line; md5sum /big /other"
    container, attachment = local.engine.containers.launch(
        ContainerConfig(remote.name, ("sh", "-c", script), open_stdin=True)
    )
    assert attachment is not None
    with attachment:
        remote.let.set()
        local.arrive()
        attachment.write(b"\n")
        assert container.wait().exit_code == 0
    told = b"".join(entry.data for entry in container.logs())
    assert BIG_SUM.encode() in told
    assert hashlib.md5(OTHER, usedforsecurity=False).hexdigest().encode() in told


def test_a_killed_fetcher_is_replaced_and_readers_wait(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    reading = local.reading("big")
    wait_until(lambda: remote.held)
    first = local.fetcher
    local.kill(first)
    wait_until(lambda: local.fetcher != first)
    assert not reading.done()
    remote.let.set()
    assert reading.result(60) == BIG
    local.arrive()


def test_a_killed_watcher_gives_errors_and_no_zeros(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    reading = local.reading("big")
    wait_until(lambda: remote.held)
    first = local.watcher
    local.kill(first)
    assert code_of(reading) == errno.EIO
    # Its child takes its place; whoever reads then gets what is right, by the same mount.
    wait_until(lambda: _succeeded(local, first))
    again = local.reading("big")
    remote.let.set()
    assert again.result(60) == BIG
    local.arrive()


def _succeeded(local: Local, first: int) -> bool:
    try:
        return local.watcher not in (0, first)
    except OSError:
        return False


def test_nobody_left_gives_errors_and_no_zeros(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    assert local.reading("etc/small3").result(60) == b"small 3"
    reading = local.reading("big")
    wait_until(lambda: remote.held)
    local.kill(local.fetcher, local.watcher)
    assert code_of(reading) == errno.EIO
    for name in ("big", "other"):
        seen = local.reading(name)
        if seen.exception(60) is None:  # this one has come before
            assert seen.result() == (BIG if name == "big" else OTHER)
        else:
            assert code_of(seen) == errno.EIO
    assert local.reading("etc/small9").result(60) == b"small 9"  # it came with small3
    remote.let.set()
    local.engine.recover()
    assert local.reading("big").result(60) == BIG
    local.arrive()


def test_a_start_brings_somebody_back(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    local.kill(local.fetcher, local.watcher)
    remote.let.set()
    assert run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM
    local.arrive()


def test_deaths_at_any_moment_show_no_wrong_byte(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    remote.slow = 0.2
    remote.let.set()
    local.engine.containers.create(ContainerConfig(remote.name, ("true",)))  # keeps the mount
    for turn in range(30):
        try:
            reading = local.reading("big" if turn % 2 else "other")
            local.kill(local.watcher if turn % 3 else local.fetcher)
        except (OSError, ValueError):
            break  # the last has come
        if reading.exception(60) is None:
            assert reading.result() == (BIG if turn % 2 else OTHER)
        else:
            assert code_of(reading) == errno.EIO
        local.engine.recover()
    local.engine.recover()
    local.arrive()
    assert run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM


def test_a_registry_that_is_gone_is_an_error_for_who_reads(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    remote.gone = True
    remote.let.set()
    assert code_of(local.reading("big")) == errno.EIO
    assert "reads of layer" in local.log()
    lines = Path(local.settings.run_root, "events").read_text().splitlines()
    assert "fetch-failed" in [json.loads(each)["Action"] for each in lines]
    remote.gone = False
    local.arrive()
    wait_until(lambda: run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM)


@pytest.mark.slow  # as long as the fetcher is patient
def test_a_reader_that_waits_too_long_gets_an_error(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    reading = local.reading("big")
    assert code_of(reading) == errno.EIO


def test_a_reader_that_is_killed_is_no_trouble(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    container, _ = local.engine.containers.launch(
        ContainerConfig(remote.name, ("md5sum", "/big")), attach=False
    )
    wait_until(lambda: remote.held)
    container.kill()
    assert container.wait().exit_code == 137
    remote.let.set()
    local.arrive()


def test_bytes_that_are_not_the_layer_are_found_out(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    wrong = bytearray(remote.layer)
    wrong[remote.place + 1_000_000] ^= 1
    remote.fake.blobs[remote.digest] = bytes(wrong)
    remote.let.set()
    wait_until(lambda: "is corrupt" in local.log())
    if remote.kind != "plain":  # where each part has a digest
        assert run(local, "cat", "/etc/last").stdout == b"last"
        assert code_of(local.reading("big")) == errno.EIO
        return
    with pytest.raises(KnarrError, match="not the layer that it should be"):
        run(local, "true")
    local.engine.images.remove(remote.name)
    remote.fake.blobs[remote.digest] = remote.layer
    local.engine.images.pull(remote.name)
    assert run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM


def test_a_plain_pull_brings_the_rest(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    remote.gives_whole = True
    local.engine.images.pull(remote.name)
    assert local.engine.content.has(remote.digest)
    local.arrive()
    assert run(local, "md5sum", "/big").stdout.decode().split()[0] == BIG_SUM


def test_what_cannot_be_left_to_come_comes_at_once(local: Local, remote: Remote) -> None:
    put_image(remote.fake, "2", [remote.plain])
    told: list[ProgressEvent] = []
    name = f"{remote.fake.host}/app:2"
    local.engine.images.pull(name, lazy=True, progress=told.append)
    (line,) = [each.subject for each in told if each.action == "Warning"]
    assert "comes as a whole: it is packed (gzip), so it is read from front to back" in line
    assert not local.is_coming()


def test_a_registry_that_gives_no_parts(local: Local, remote: Remote) -> None:
    def deaf(request: Request) -> bool:
        del request.headers["Range"]
        return False

    remote.fake.hooks.insert(0, deaf)
    told: list[ProgressEvent] = []
    local.engine.images.pull(remote.name, lazy=True, progress=told.append)
    (line,) = [each.subject for each in told if each.action == "Warning"]
    assert "gives blobs only as a whole" in line
    assert not local.is_coming()


def test_an_image_that_is_removed_comes_no_more(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    local.engine.images.remove(remote.name)
    wait_until(lambda: not local.is_watched())
    assert not local.engine.content.has(remote.digest)


def test_two_layers_of_which_one_was_begun_before(local: Local, remote: Remote) -> None:
    remote.hold()
    local.pull()
    local.pull()
    assert local.is_coming()
    assert len(list(Path(local.settings.data_root, "snapshots", "l").iterdir())) == 1


def test_another_driver_says_so(settings: Settings, remote: Remote) -> None:
    chosen = Settings(
        default_network="none",
        data_root=settings.data_root,
        run_root=settings.run_root,
        storage_driver="overlay",
    )
    with Engine(chosen) as engine, pytest.raises(Unsupported, match="storage driver erofs"):
        engine.images.pull(remote.name, lazy=True)


@pytest.mark.vm
@pytest.mark.parametrize("remote", ["plain"], indirect=True)
def test_a_machine_that_cannot_says_what_is_missing(engine: Engine, remote: Remote) -> None:
    try:
        expected.check(engine.driver)
    except Unsupported as error:
        reason = str(error)
    else:
        pytest.skip("this one can")
    assert re.match("layers that are still to come need (Linux 6.14|the storage driver)", reason)
    before = len(engine.images.list())
    with pytest.raises(Unsupported, match=re.escape(reason)):
        engine.images.pull(remote.name, lazy=True)
    cat = ("cat", "/etc/last")
    with pytest.raises(Unsupported, match=re.escape(reason)):
        engine.containers.run(ContainerConfig(remote.name, cat, pull="lazy"))
    assert len(engine.images.list()) == before
    config = ContainerConfig(remote.name, cat, pull="missing", auto_remove=True)
    assert engine.containers.run(config).stdout == b"last"


def test_the_command(local: Local, remote: Remote, knarr: Command) -> None:
    remote.hold()
    done = knarr("run", "--rm", "--pull", "lazy", remote.name, "cat", "/etc/last")
    assert done.stdout == b"last"
    assert b": Arriving" in done.stderr
    assert local.is_coming()
    refused = knarr("save", "-o", "/dev/null", remote.name)
    assert b"has not arrived yet" in refused.stderr
    assert knarr("pull", "--lazy", remote.name).returncode == 0
    remote.let.set()
    local.arrive()
    assert knarr("save", "-o", "/dev/null", remote.name).returncode == 0


@pytest.mark.parametrize(
    ("kind", "name", "called"),
    [
        (Stargz, stargz.TABLE_DIGEST, "an eStargz"),
        (Chunked, f"{PREFIX}manifest-checksum", "a zstd:chunked"),
    ],
)
def test_a_table_that_is_wrong_is_not_believed(
    settings: Settings, kind: type[Stargz | Chunked], name: str, called: str
) -> None:
    wrong = kind(tar(directory("d"), file("d/f", BIG)))
    wrong.annotations = {**wrong.annotations, name: f"sha256:{'0' * 64}"}
    told: list[ProgressEvent] = []
    with serving() as fake, Engine(settings) as engine:
        try:
            expected.check(engine.driver)
        except Unsupported as error:
            pytest.skip(str(error))
        put_tabled(fake, "1", [wrong])
        engine.images.pull(f"{fake.host}/app:1", lazy=True, progress=told.append)
        (line,) = [each.subject for each in told if each.action == "Warning"]
        assert f"comes as a whole: the table of {called} layer has digest" in line
        assert engine.images.verify().is_well


def test_a_table_that_says_something_else_than_the_tar_is_told(settings: Settings) -> None:
    made = Chunked(tar(directory("d"), file("d/f", BIG), file("d/g", b"g")))
    next(each for each in made.entries if each["name"] == "d/g")["mode"] = 0o4755
    layer = made.blob[: made.entries[-1]["endOffset"]] + packed(made.tar[-1024 - 511 :])
    made.blob, made.annotations = finished(layer, made.entries)
    with serving() as fake, Engine(settings) as engine:
        try:
            expected.check(engine.driver)
        except Unsupported as error:
            pytest.skip(str(error))
        put_tabled(fake, "1", [made])
        name = f"{fake.host}/app:1"
        engine.images.pull(name, lazy=True)
        events = Path(settings.run_root, "events")
        wait_until(lambda: '"broken"' in events.read_text())
        assert "has /d/g otherwise than its table said" in events.read_text()
        with pytest.raises(KnarrError, match="not the layer that it should be"):
            engine.containers.run(ContainerConfig(name, ("/d/g",), auto_remove=True))
        engine.images.remove(name, force=True)
