"""Its root file system: the driver's layers, topmost first, and what is written above them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.content import digest as digests
from knarr.engine.explain import mountinfo
from knarr.engine.inspect import root_mounts
from knarr.errors import KnarrError

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject
    from knarr.spec.mount import Mount

_COLON = ":"


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``Root``: what its root directory is made of, and how it is mounted."""
    engine = subject.engine
    mounts = root_mounts(engine, subject.record)
    found: dict[str, Any] = {
        "Driver": engine.driver.name,
        "ReadOnly": bool((subject.spec.get("root") or {}).get("readonly")),
        "Upper": "",
        "Work": "",
        "Layers": [],
        "Options": [],
        "Settings": [],
        "Device": "",
    }
    if len(mounts) == 1:
        found |= _stack(subject, mounts[0])
    if subject.running:
        for each in mountinfo.parse(subject.read("mountinfo")):
            if each.destination == "/":
                found["Options"] = list(each.options)
                found["Settings"] = list(each.settings)
                found["Device"] = each.device
    return found


def _stack(subject: Subject, mount: Mount) -> dict[str, Any]:
    """Return upper and work directory, and the layers."""
    if mount.type != "overlay":  # an image without layers
        return {"Upper": mount.source}
    pairs = [option.partition("=") for option in mount.options]
    places = [value.partition(_COLON) for key, _, value in pairs if key == "lower"]
    single = {key: f"{mount.source}/{value}" for key, _, value in pairs if key in ("upper", "work")}
    layers = []
    known = _of_image(subject, len(places))
    for (path, _, place), more in zip(places, known, strict=True):
        layers.append(
            {
                **more,
                "Path": f"{mount.source}/{path}",
                "MountedAt": place,
                "Kind": "EROFS index over the layer's tar" if place else "directory",
            }
        )
    return {
        "Upper": single.get("upper", ""),
        "Work": single.get("work", ""),
        "Layers": layers,
    }


def _of_image(subject: Subject, count: int) -> list[dict[str, Any]]:
    """Return digest, chain id, size and origin of each layer, topmost first.

    Bare members where the image is not recorded any more.
    """
    image_id = subject.record.image_id
    try:
        record = subject.engine.index.get(image_id)
        history = subject.engine.images.history(image_id)
        made_by = {each.layer: each.created_by for each in history if each.layer}
    except KnarrError:
        record, made_by = None, {}
    if record is None or len(record.diff_ids) != count:
        return [_layer("", "", None, "") for _ in range(count)]
    chain = digests.chain_ids(record.diff_ids)
    rows = zip(record.diff_ids, chain, record.layer_sizes, strict=True)
    return [
        _layer(diff_id, chain_id, size, made_by.get(diff_id, ""))
        for diff_id, chain_id, size in rows
    ][::-1]


def _layer(diff_id: str, chain_id: str, size: int | None, created_by: str) -> dict[str, Any]:
    return {"Digest": diff_id, "ChainId": chain_id, "Size": size, "CreatedBy": created_by}
