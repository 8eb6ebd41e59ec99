"""Media types of manifests, configs and layers, and what knarr does with each.

Sources: OCI image spec ``media-types.md`` and Docker's "Image Manifest Version
2, Schema 2". Both families describe the same things, so callers ask for the
role (``is_index``, ``is_layer``) and not for the name.
"""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_LAYER_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_GZIP = DOCKER_FOREIGN + ".gzip"

DOCKER_SCHEMA1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
FOREIGN_LAYERS = frozenset(
    {
        OCI_LAYER_NONDISTRIBUTABLE,
        OCI_LAYER_NONDISTRIBUTABLE + "+gzip",
        OCI_LAYER_NONDISTRIBUTABLE + "+zstd",
        DOCKER_FOREIGN,
        DOCKER_FOREIGN_GZIP,
    }
)
LAYERS = FOREIGN_LAYERS | {
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
}


# Docker's names for what OCI has other names for.
_AS_OCI = {
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_FOREIGN: OCI_LAYER_NONDISTRIBUTABLE,
    DOCKER_FOREIGN_GZIP: OCI_LAYER_NONDISTRIBUTABLE + "+gzip",
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_INDEX: OCI_INDEX,
}


def as_oci(media_type: str) -> str:
    """Return OCI's name for a media type of Docker's, others as they are."""
    return _AS_OCI.get(media_type, media_type)


def as_docker(media_type: str) -> str:
    """Return Docker's name for a layer's media type of OCI's, others as they are."""
    return {new: old for old, new in _AS_OCI.items()}.get(media_type, media_type)


def is_index(media_type: str) -> bool:
    """Return whether the media type is an OCI index or a Docker manifest list."""
    return media_type in INDEXES


def is_manifest(media_type: str) -> bool:
    """Return whether the media type is an OCI or Docker (schema 2) image manifest."""
    return media_type in MANIFESTS


def is_layer(media_type: str) -> bool:
    """Return whether the media type is a file system layer that can be applied."""
    return media_type in LAYERS


def is_foreign(media_type: str) -> bool:
    """Return whether a layer's bytes come from its ``urls`` and must never be pushed."""
    return media_type in FOREIGN_LAYERS
