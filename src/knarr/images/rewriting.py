"""Manifests and indexes whose layers go out otherwise packed than they came.

What names a layer by its digest has to change with it, and what names that again, up to the top.
All else stays as it was: configs, and so the ids of images, platforms, annotations, and what an
index lists beside the images that are here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from knarr.content import digest as digests
from knarr.images import documents, mediatypes
from knarr.images.descriptor import Descriptor
from knarr.images.manifest import Index, Manifest, is_attestation, parse

_ABOUT = "vnd.docker.reference.digest"


class Rewriter:
    """Puts other layers into documents.

    read: returns the bytes of a document by its digest, or None where it is not here. layers: what
    stands for a layer, by the digest that it had; media types are OCI's. as_ours: documents that
    change become OCI's, as knarr writes them for images that it makes.
    documents: those that were made, by digest. replaced: what stands for a document that was
    there, by its digest.
    """

    def __init__(
        self,
        read: Callable[[str], bytes | None],
        layers: Mapping[str, Descriptor],
        *,
        as_ours: bool = False,
    ) -> None:
        self._read = read
        self._layers = layers
        self._as_ours = as_ours
        self.documents: dict[str, bytes] = {}
        self.replaced: dict[str, Descriptor] = {}

    def entry(self, entry: Descriptor) -> Descriptor:
        """Return what refers to the same image or index with the other layers.

        That is ``entry`` itself where nothing changes. Raises InvalidArchive for no document.
        """
        if entry.digest not in self.replaced:
            changed = self._changed(entry)
            if changed is None:
                return entry
            digest = digests.of(changed)
            self.documents[digest] = changed
            kind = mediatypes.as_oci(entry.media_type) if self._as_ours else entry.media_type
            self.replaced[entry.digest] = Descriptor(kind, digest, len(changed))
        new = self.replaced[entry.digest]
        return replace(
            entry, media_type=new.media_type, digest=new.digest, size=new.size, data=None
        )

    def reached(self, entry: Descriptor) -> set[str]:
        """Return the digests of all that an image or index leads to, itself included."""
        found = {entry.digest}
        body = self.documents.get(entry.digest) or self._known(entry)
        if body is None:
            return found
        document = parse(body, entry.media_type)
        if isinstance(document, Index):
            return found.union(*(self.reached(each) for each in document.manifests))
        return found | {each.digest for each in (document.config, *document.layers)}

    def _known(self, entry: Descriptor) -> bytes | None:
        kind = entry.media_type
        if mediatypes.is_manifest(kind) or mediatypes.is_index(kind):
            return self._read(entry.digest)
        return None

    def _changed(self, entry: Descriptor) -> bytes | None:
        body = self._known(entry)
        if body is None:
            return None
        value = documents.parse_object(body, entry.digest)
        change = self._index if mediatypes.is_index(entry.media_type) else self._manifest
        if not change(value, entry):
            return None
        made = documents.dump(value)
        if self._as_ours and mediatypes.is_manifest(entry.media_type):
            return _ours(made, entry)
        return made

    def _manifest(self, value: dict[str, Any], entry: Descriptor) -> bool:
        layers = documents.objects(value, "layers", entry.digest)
        if not any(layer.get("digest") in self._layers for layer in layers):
            return False
        is_dockers = entry.media_type == mediatypes.DOCKER_MANIFEST
        for position, layer in enumerate(layers):
            new = self._layers.get(layer.get("digest", ""))
            if new is not None:
                kind = mediatypes.as_docker(new.media_type) if is_dockers else new.media_type
                layers[position] = replace(new, media_type=kind).to_dict()
        return True

    def _index(self, value: dict[str, Any], entry: Descriptor) -> bool:
        entries = documents.objects(value, "manifests", entry.digest)
        listed = [Descriptor.from_dict(each, entry.digest) for each in entries]
        changed = [self.entry(each) for each in listed]
        if changed == listed:
            return False
        kept = []
        for raw, old, new in zip(entries, listed, changed, strict=True):
            if is_attestation(old) and old.annotations.get(_ABOUT) in self.replaced:
                continue  # what it says is said of another manifest
            if new is not old:
                raw |= {"mediaType": new.media_type, "digest": new.digest, "size": new.size}
                raw.pop("data", None)
            kept.append(raw)
        value["manifests"] = kept
        if self._as_ours and "mediaType" in value:
            value["mediaType"] = mediatypes.as_oci(entry.media_type)
        return True


def _ours(body: bytes, entry: Descriptor) -> bytes:
    """Return a manifest as knarr would have written it, with OCI's media types."""
    manifest = parse(body, entry.media_type)
    assert isinstance(manifest, Manifest)
    return Manifest(
        mediatypes.OCI_MANIFEST,
        _as_oci(manifest.config),
        tuple(_as_oci(layer) for layer in manifest.layers),
        manifest.annotations,
    ).to_bytes()


def _as_oci(blob: Descriptor) -> Descriptor:
    return replace(blob, media_type=mediatypes.as_oci(blob.media_type))
