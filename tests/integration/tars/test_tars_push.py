"""Layers that are kept as their tars on their way to registries."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr.config import Settings
from tests.conftest import Command
from tests.integration.images.conftest import Place
from tests.integration.tars.helpers import A, B, is_single, packed
from tests.support import registries
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry
from tests.unit.images.helpers import tar_of
from tests.unit.images.several import several


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


def test_by_the_command(
    knarr: Command, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    def said(*words: str) -> str:
        done = knarr(*words)
        assert done.returncode == 0, done.stderr.decode()
        return (done.stdout + done.stderr).decode()

    if said("info", "-f", "{{.Driver}}") != "erofs\n":
        pytest.skip("this machine unpacks layers")
    folder = Path(settings.data_root) / "content/blobs/sha256"
    with registries.serving(str(tmp_path / "registry")) as one:
        name = f"localhost:{one.port}/team/box:1"
        said("tag", "busybox", name)
        found = re.search(r"sha256:[0-9a-f]{64}", said("push", name))
        assert found
        said("rmi", name, "busybox")
        # What is kept compressed is one file, and the tar another; else one has both names.
        for keep, links in (("true", 1), ("false", 2)):
            environment["KNARR_KEEP_COMPRESSED"] = keep
            said("pull", name)
            large = [each.stat() for each in folder.iterdir() if each.stat().st_size > 100_000]
            assert [each.st_nlink for each in large] == [links]
            assert said("run", "--rm", name, "echo", "it runs") == "it runs\n"
            assert said("image", "verify", "-q", "--files") == ""
            if keep == "true":
                said("rmi", name)
        assert found[0] in said("image", "inspect", name)
    # Compressed by the same program it is the same layer, wherever it came from.
    with registries.serving(str(tmp_path / "another")) as other:
        said("tag", name, f"localhost:{other.port}/box:1")
        text = said("push", f"localhost:{other.port}/box:1")
        assert found[0] in text
        assert "WARNING" not in text
