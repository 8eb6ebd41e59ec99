"""The files of an image, read from the tars of its layers without unpacking them.

The rules are those of the OCI image spec (layer.md, "Applying Changesets"): whiteouts hide what is
below, wherever in a layer they stand; a directory over a directory keeps its children; what else
comes replaces what was there. Contents are known by their digest, times are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from knarr.errors import InvalidArchive
from knarr.snapshots import tarentry, whiteouts
from knarr.snapshots.apply import clean_parts
from knarr.snapshots.tarentry import Entry
from knarr.snapshots.tarstream import TarReader

_MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
_HOLE = bytes(1024 * 1024)
# A hole longer than this is not read as zeros: it is known by its length.
_LONGEST_HOLE = 1024**3
# Directories within each other: whoever walks a tree goes down with it.
_DEEPEST = 400
Path = tuple[bytes, ...]
_NO_XATTRS: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True, eq=False)
class Node:
    """A file of any kind. size: bytes; content: digest of a regular file's, "" for others."""

    kind: str
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)
    size: int = 0
    content: str = ""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = _NO_XATTRS
    children: dict[bytes, Node] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether it has children."""
        return self.kind == tarentry.DIRECTORY

    def total(self) -> int:
        """Return the bytes in it and in all below."""
        return self.size + sum(child.total() for child in self.children.values())


@dataclass(frozen=True, slots=True)
class LayerEntries:
    """What a layer says, in the order in which it counts: first what it hides."""

    opaque: tuple[Path, ...]
    removed: tuple[Path, ...]
    entries: tuple[tuple[Path, Node, Path | None], ...]


def read_layer(stream: BinaryIO) -> LayerEntries:
    """Return what an uncompressed layer says. Raises InvalidArchive for what is no layer."""
    opaque: list[Path] = []
    removed: list[Path] = []
    entries: list[tuple[Path, Node, Path | None]] = []
    reader = TarReader(stream)
    for entry in reader:
        path = tuple(clean_parts(entry.name))
        hidden = whiteouts.meaning(list(path)) if path else None
        if hidden is not None:
            kind, name = hidden
            if kind == whiteouts.OPAQUE:
                opaque.append(path[:-1])
            elif kind == whiteouts.HIDE:
                removed.append((*path[:-1], name))
            continue
        if entry.kind == tarentry.HARDLINK:
            entries.append((path, Node(tarentry.HARDLINK), tuple(clean_parts(entry.link))))
        else:
            entries.append((path, _node(entry, reader), None))
    return LayerEntries(tuple(opaque), tuple(removed), tuple(entries))


class Contents:
    """The tree of an image, layer by layer; ``root`` is its top."""

    def __init__(self) -> None:
        self.root = Node(tarentry.DIRECTORY)

    def apply(self, layer: LayerEntries) -> None:
        """Put a layer above those that are there. Raises InvalidArchive."""
        for path in layer.opaque:
            node = self._at(path)
            if node is not None:
                node.children.clear()
        for path in layer.removed:
            parent = self._at(path[:-1])
            if parent is not None:
                parent.children.pop(path[-1], None)
        for path, node, link in layer.entries:
            self._put(path, node, link)

    def _put(self, path: Path, node: Node, link: Path | None) -> None:
        if link is not None:
            found = self._at(link)
            if found is None or found.is_directory:
                raise InvalidArchive(f"a hard link to {_shown(link)}, which is no file")
            node = found
        if not path:
            if node.is_directory:
                self.root = _own(node, self.root)
            return
        parent = self._directory(path[:-1])
        before = parent.children.get(path[-1])
        parent.children[path[-1]] = _own(node, before) if node.is_directory else node

    def _directory(self, path: Path) -> Node:
        """Return the directory at a path, made where it is missing."""
        node = self._walk(path, make=True)
        assert node is not None
        return node

    def _at(self, path: Path) -> Node | None:
        """Return what is at a path, links followed in its directories, None for nothing."""
        if not path:
            return self.root
        parent = self._walk(path[:-1], make=False)
        return None if parent is None else parent.children.get(path[-1])

    def _walk(self, path: Path, *, make: bool) -> Node | None:
        trail, left, links = [self.root], list(reversed(path)), 0
        while left:
            name = left.pop()
            if name == b"..":
                trail = trail[:-1] or [self.root]
                continue
            child = trail[-1].children.get(name)
            if child is not None and child.kind == tarentry.SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    raise InvalidArchive(f"{_shown(path)}: too many links")
                if child.target.startswith(b"/"):
                    trail = [self.root]
                left += [
                    part for part in reversed(child.target.split(b"/")) if part not in (b"", b".")
                ]
                continue
            if child is None or not child.is_directory:
                if not make:
                    return None
                child = trail[-1].children[name] = Node(tarentry.DIRECTORY)
            trail.append(child)
            if len(trail) > _DEEPEST:
                raise InvalidArchive(f"more than {_DEEPEST} directories within each other")
        return trail[-1]


def _own(directory: Node, before: Node | None) -> Node:
    """Return a directory for one tree, with the children of the one that was there before.

    What a layer says is put into several trees, and children are each tree's own.
    """
    children = before.children if before is not None and before.is_directory else {}
    return Node(
        directory.kind, directory.mode, directory.owner, xattrs=directory.xattrs, children=children
    )


def _node(entry: Entry, reader: TarReader) -> Node:
    return Node(
        entry.kind,
        entry.mode,
        (entry.uid, entry.gid),
        entry.size if entry.kind == tarentry.FILE else 0,
        _digest(entry, reader) if entry.kind == tarentry.FILE else "",
        entry.link if entry.kind == tarentry.SYMLINK else b"",
        (entry.major, entry.minor),
        tuple(sorted(entry.xattrs.items())) if entry.xattrs else _NO_XATTRS,
    )


def _digest(entry: Entry, reader: TarReader) -> str:
    """Return the digest of a file's contents, holes read as the zeros that they are."""
    hasher = hashlib.sha256()
    position = 0
    for offset, data in reader.segments():
        for zeros in _zeros(offset - position):
            hasher.update(zeros)
        hasher.update(data)
        position = offset + len(data)
    for zeros in _zeros(entry.size - position):
        hasher.update(zeros)
    return hasher.hexdigest()


def _zeros(length: int) -> Iterator[bytes]:
    if length > _LONGEST_HOLE:
        yield b"hole %d" % length
        return
    while length > 0:
        yield _HOLE[: min(length, len(_HOLE))]
        length -= len(_HOLE)


def _shown(path: Path) -> str:
    return "/" + b"/".join(path).decode(errors="replace")
