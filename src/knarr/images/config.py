"""The image config: what a root file system is for and how it came to be.

Source: OCI image spec ``config.md``. Docker adds HEALTHCHECK, ONBUILD and SHELL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knarr.content import digest as digests
from knarr.errors import InvalidArchive
from knarr.images import documents
from knarr.images.platform import Platform

_STRINGS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
_MAPS = ("Volumes", "ExposedPorts")
_TEXTS = ("User", "WorkingDir", "StopSignal", "Image", "Hostname", "Domainname")
# What shells out of old builders and by hand left as one string; Docker reads both.
_LENIENT = ("Cmd", "Entrypoint")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of an image's history; ``empty_layer`` when it changed only the config."""

    created: str
    created_by: str
    author: str
    comment: str
    empty_layer: bool


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """A checked image config. ``document`` is the whole JSON, with fields knarr does not know."""

    document: dict[str, Any]
    platform: Platform
    created: str
    diff_ids: tuple[str, ...]
    history: tuple[HistoryEntry, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The part that a container inherits: Env, Cmd, Entrypoint, User and so on."""
        value = self.document.get("config")
        return value if isinstance(value, dict) else {}


def parse(data: bytes, what: str = "image config") -> ImageConfig:
    """Return the checked config. Raises InvalidArchive naming the first field that is wrong."""
    document = documents.parse_object(data, what)
    rootfs = documents.mapping(document, "rootfs", what)
    if documents.text(rootfs, "type", what, "layers") != "layers":
        raise InvalidArchive(f"{what}: rootfs.type is not layers")
    if document.get("config") is not None:
        document["config"] = _runtime(documents.mapping(document, "config", what), what)
    platform = Platform.from_dict(document, what)
    if not platform.os or not platform.architecture:
        platform = Platform(platform.os or "linux", platform.architecture or "unknown")
    return ImageConfig(
        document=document,
        platform=platform,
        created=documents.text(document, "created", what),
        diff_ids=_diff_ids(rootfs, what),
        history=tuple(_entry(item, what) for item in documents.objects(document, "history", what)),
    )


def _diff_ids(rootfs: dict[str, Any], what: str) -> tuple[str, ...]:
    diff_ids = documents.strings(rootfs, "diff_ids", what)
    if not all(digests.is_valid(diff_id) for diff_id in diff_ids):
        raise InvalidArchive(f"{what}: rootfs.diff_ids has a malformed digest")
    return diff_ids


def _entry(value: dict[str, Any], what: str) -> HistoryEntry:
    where = f"{what}: history"
    empty = value.get("empty_layer")
    if empty is not None and not isinstance(empty, bool):
        raise InvalidArchive(f"{where}: empty_layer is not a boolean")
    return HistoryEntry(
        created=documents.text(value, "created", where),
        created_by=documents.text(value, "created_by", where),
        author=documents.text(value, "author", where),
        comment=documents.text(value, "comment", where),
        empty_layer=bool(empty),
    )


def _runtime(config: dict[str, Any], what: str) -> dict[str, Any]:
    where = f"{what}: config"
    for key in _LENIENT:
        if isinstance(config.get(key), str):
            config[key] = [config[key]]
    for key in _STRINGS:
        documents.strings(config, key, where)
    for key in _MAPS:
        documents.mapping(config, key, where)
    for key in _TEXTS:
        documents.text(config, key, where)
    documents.string_map(config, "Labels", where)
    _check_healthcheck(documents.mapping(config, "Healthcheck", where), f"{where}.Healthcheck")
    return config


def _check_healthcheck(value: dict[str, Any], where: str) -> None:
    documents.strings(value, "Test", where)
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        if value.get(key) is not None:
            documents.integer(value, key, where)
