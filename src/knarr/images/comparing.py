"""``knarr image diff``: what of an image's files and configuration is otherwise in another."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knarr.images import layers, records
from knarr.images.contents import Contents, LayerEntries, Node, read_layer
from knarr.images.context import Context, Progress, ProgressEvent, told_of, translated
from knarr.snapshots import tarentry

if TYPE_CHECKING:
    from knarr.images.index import ImageRecord

ADDED, CHANGED, REMOVED = "A", "C", "D"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path. kind: as ``docker diff`` has it; what: of a changed one, in words.

    Sizes in bytes of the contents before and after, of a directory that went with all in it.
    path: absolute, bytes that are no UTF-8 by surrogateescape.
    """

    kind: str
    path: str
    before: int
    after: int
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One setting, such as ``Env PATH``; None where it is not set."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is otherwise in the second of two images.

    shared: how many layers both have, from the lowest up. layers: how many each has.
    """

    files: tuple[FileChange, ...]
    config: tuple[ConfigChange, ...]
    shared: int
    layers: tuple[int, int]


def compare(
    context: Context, first: ImageRecord, second: ImageRecord, progress: Progress
) -> Comparison:
    """Return what is otherwise in the second image. Raises NotFound, InvalidArchive.

    A layer that both have is read once. Times of files are not compared, nor is history.
    """
    with context.lock.shared(), translated("diff"):
        read: dict[str, LayerEntries] = {}
        trees = [_tree(context, record, read, progress) for record in (first, second)]
        configs = [records.read_config(context, each.config_digest).document
                   for each in (first, second)]  # fmt: skip
    pairs = zip(first.diff_ids, second.diff_ids, strict=False)
    shared = 0
    for one, other in pairs:
        if one != other:
            break
        shared += 1
    return Comparison(
        tuple(_files(trees[0], trees[1], b"")),
        tuple(_settings(*map(_flat, configs))),
        shared,
        (len(first.diff_ids), len(second.diff_ids)),
    )


def _tree(
    context: Context, record: ImageRecord, read: dict[str, LayerEntries], progress: Progress
) -> Node:
    contents = Contents()
    for layer, diff_id in zip(record.layers, record.diff_ids, strict=True):
        with told_of(f"image {record.id[:19]}: layer {layer.digest[:19]}"):
            if diff_id not in read:
                progress(ProgressEvent("Reading", layer.digest))
                with layers.open_layer(context.store, layer.digest) as stream:
                    read[diff_id] = read_layer(stream)
            contents.apply(read[diff_id])
    return contents.root


def _files(before: Node, after: Node, path: bytes) -> Iterator[FileChange]:
    """Yield what is otherwise below a directory, itself included, sorted by path."""
    what = tuple(_differences(before, after))
    if what:
        shown = (path or b"/").decode(errors="surrogateescape")
        yield FileChange(CHANGED, shown, before.size, after.size, what)
    if not (before.is_directory and after.is_directory):
        if before.is_directory:
            for name in sorted(before.children):
                yield _removed(before.children[name], path + b"/" + name)
        for name in sorted(after.children):
            yield from _added(after.children[name], path + b"/" + name)
        return
    for name in sorted({*before.children, *after.children}):
        inner, one, other = path + b"/" + name, before.children.get(name), after.children.get(name)
        if one is None:
            assert other is not None
            yield from _added(other, inner)
        elif other is None:
            yield _removed(one, inner)
        elif one is not other:
            yield from _files(one, other, inner)


def _added(node: Node, path: bytes) -> Iterator[FileChange]:
    yield FileChange(ADDED, path.decode(errors="surrogateescape"), 0, node.size)
    for name in sorted(node.children):
        yield from _added(node.children[name], path + b"/" + name)


def _removed(node: Node, path: bytes) -> FileChange:
    return FileChange(REMOVED, path.decode(errors="surrogateescape"), node.total(), 0)


def _differences(before: Node, after: Node) -> Iterator[str]:
    if before.kind != after.kind:
        yield f"{before.kind} -> {after.kind}"
    elif before.content != after.content:
        yield "content"
    elif before.target != after.target:
        yield "target"
    elif before.device != after.device and before.kind != tarentry.FILE:
        yield "device"
    if before.mode != after.mode and after.kind != tarentry.SYMLINK:
        yield f"mode {stat.S_IMODE(before.mode):04o} -> {stat.S_IMODE(after.mode):04o}"
    if before.owner != after.owner:
        yield "owner {}:{} -> {}:{}".format(*before.owner, *after.owner)
    if before.xattrs != after.xattrs:
        yield "extended attributes"


def _flat(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of an image config by name, variables and labels each by their own."""
    found = {
        name: str(document[name])
        for name in ("architecture", "os", "variant", "author")
        if document.get(name)
    }
    for name, value in (document.get("config") or {}).items():
        if name == "Env" and isinstance(value, list):
            for entry in value:
                key, _, text = str(entry).partition("=")
                found[f"Env {key}"] = text
        elif isinstance(value, dict):
            for key, inner in value.items():
                found[f"{name} {key}"] = _text(inner)
        elif value not in (None, "", [], False):
            found[name] = _text(value)
    return found


def _text(value: object) -> str:
    import json

    if value == {} or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _settings(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[ConfigChange]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield ConfigChange(name, before.get(name), after.get(name))
