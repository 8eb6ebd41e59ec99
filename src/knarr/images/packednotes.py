"""What plain layers became when they were packed for a registry.

    CONTENT/packed/HEX.json   {"digest", "size"}, by the layer's diff id

What is known so need not be packed again to see that a registry has it.
"""

from __future__ import annotations

import contextlib
import json
import os

from knarr.content import digest as digests
from knarr.content import durable
from knarr.content.store import ContentStore
from knarr.images import mediatypes
from knarr.images.descriptor import Descriptor


def known(store: ContentStore, diff_id: str) -> Descriptor | None:
    """Return what the layer was packed to the last time, or None."""
    try:
        with open(_path(store, diff_id), "rb") as file:
            value = json.loads(file.read())
        digests.parse(value["digest"])
        return Descriptor(mediatypes.OCI_LAYER_GZIP, value["digest"], int(value["size"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # cut off by a loss of power: packing it again is all it takes


def forget(store: ContentStore, diff_ids: set[str]) -> None:
    """Drop the notes of layers other than these (OSError)."""
    keep = {os.path.basename(_path(store, each)) for each in diff_ids}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(os.path.join(store.root, "packed")):
            if name not in keep:
                os.unlink(os.path.join(store.root, "packed", name))


def note(store: ContentStore, diff_id: str, packed: Descriptor) -> None:
    """Note what a layer was packed to (OSError)."""
    path = _path(store, diff_id)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    value = {"digest": packed.digest, "size": packed.size}
    durable.replace(path, json.dumps(value).encode())


def _path(store: ContentStore, diff_id: str) -> str:
    return os.path.join(store.root, "packed", f"{digests.parse(diff_id)[1]}.json")
