"""``knarr image inspect``: an image in the JSON that Docker's API gives, field for field.

Source: Docker Engine API, ``GET /images/{name}/json`` (ImageInspect and ImageConfig).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from knarr.images import tars
from knarr.images.descriptor import Descriptor
from knarr.images.reference import Reference

if TYPE_CHECKING:
    from knarr.images.config import ImageConfig
    from knarr.images.context import Context
    from knarr.images.index import ImageRecord
    from knarr.images.target import Target

_NEVER = "0001-01-01T00:00:00Z"


def inspect(
    record: ImageRecord, config: ImageConfig, tags: Iterable[str], driver: str
) -> dict[str, Any]:
    """Return Docker's ImageInspect object; ``tags`` are canonical names, sizes are bytes.

    ``one`` or ``whole`` add what its names stand for.
    """
    document = config.document
    history = config.history
    return {
        "Id": record.id,
        "RepoTags": [Reference.parse(tag).familiar() for tag in tags],
        "RepoDigests": [Reference.parse(name).familiar() for name in record.repo_digests],
        "Parent": "",
        "Comment": history[-1].comment if history else str(document.get("comment") or ""),
        "Created": record.created or _NEVER,
        "DockerVersion": str(document.get("docker_version") or ""),
        "Author": str(document.get("author") or ""),
        "Config": container_config(config.config),
        "Architecture": record.platform.architecture,
        **_optional("Variant", record.platform.variant),
        "Os": record.platform.os,
        **_optional("OsVersion", record.platform.os_version),
        "Size": record.size,
        "VirtualSize": record.size,
        "GraphDriver": {"Data": None, "Name": driver},
        "RootFS": {"Type": "layers", "Layers": list(record.diff_ids)},
        "Metadata": {"LastTagTime": _NEVER},
    }


def one(record: ImageRecord, manifest_size: int) -> dict[str, Any]:
    """Return the fields of an image of one platform; ``manifest_size`` is in bytes."""
    descriptor = Descriptor(record.manifest_media_type, record.manifest_digest, manifest_size)
    return {"Descriptor": descriptor.to_dict()}


def whole(target: Target, context: Context) -> dict[str, Any]:
    """Return the fields of an image for several platforms: its index, and what is here of it."""
    index = target.whole
    assert index is not None
    return {
        "Descriptor": Descriptor(index.media_type, index.digest, index.size).to_dict(),
        "Manifests": [
            {
                "ID": member.manifest.digest,
                "Descriptor": member.manifest.to_dict(),
                "Available": True,
                "Kind": "image",
                "Size": {
                    "Content": sum(
                        context.store.stat(tars.held(context.store, blob))
                        for blob in set(member.blobs)
                    )
                    + member.manifest.size,
                    "Total": record.size,
                },
                "ImageData": {
                    "Platform": member.platform.to_dict(),
                    "Containers": context.index.in_use(record.id),
                    "Size": {"Unpacked": record.size},
                },
            }
            for member, record in target.members
        ],
    }


def container_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return an image config's ``config`` in the shape of Docker's ContainerConfig."""
    return {
        "Hostname": config.get("Hostname") or "",
        "Domainname": config.get("Domainname") or "",
        "User": config.get("User") or "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        **_optional("ExposedPorts", config.get("ExposedPorts")),
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": config.get("Env"),
        "Cmd": config.get("Cmd"),
        **_optional("Healthcheck", config.get("Healthcheck")),
        **_optional("ArgsEscaped", config.get("ArgsEscaped")),
        "Image": config.get("Image") or "",
        "Volumes": config.get("Volumes"),
        "WorkingDir": config.get("WorkingDir") or "",
        "Entrypoint": config.get("Entrypoint"),
        "OnBuild": config.get("OnBuild"),
        "Labels": config.get("Labels"),
        **_optional("StopSignal", config.get("StopSignal")),
        **_optional("Shell", config.get("Shell")),
    }


def _optional(key: str, value: Any) -> dict[str, Any]:
    return {key: value} if value else {}
