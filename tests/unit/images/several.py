"""What tests of images for several platforms stand on: one made by hand, and short ways to it."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

import pytest

from tests.unit.images.helpers import Layout, Room, config_of, layer, tar_of

A = layer("a")


def machine(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    uname = os.uname_result(("Linux", "host", "6", "1", name))
    monkeypatch.setattr("knarr.images.platform.os.uname", lambda: uname)


def load(room: Room, layout: Layout, **options: Any) -> Any:
    return room.images.load(io.BytesIO(tar_of(layout.done())), **options)


def image(layout: Layout, architecture: str, *own: bytes, **fields: Any) -> dict[str, Any]:
    layers = [A, *own]
    platform = {"os": "linux", "architecture": architecture} | fields
    config = config_of(layers, architecture=architecture)
    return layout.image(layers, config=config, top=False, platform=platform)


def several(name: str = "docker.io/library/app:1", **own: bytes) -> Layout:
    """A layout with an image of three platforms that share a layer, and an attestation."""
    layout = Layout()
    images = [
        image(layout, each, *([own[each]] if each in own else []))
        for each in ("arm64", "amd64", "s390x")
    ]
    layout.index([*images, layout.attestation(images[1])], name)
    return layout


def saved(room: Room, *names: str, **options: Any) -> dict[str, bytes]:
    out = io.BytesIO()
    room.images.save(names, out, **options)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def blobs_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("blobs/")}


def platforms(room: Room, name: str) -> list[str]:
    return [str(each.platform) for each in room.images.platforms(name)]
