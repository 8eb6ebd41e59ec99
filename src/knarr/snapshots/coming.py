"""Layers that are mounted while their bytes are still on their way: what they are on disk.

    ROOT/l/N/coming/index.erofs   the image over the pieces (see ``erofs.pieces``)
    ROOT/l/N/coming/0, 1, ...     the pieces; of each what has come, from its start on
    ROOT/l/N/coming/origin.json   what the layer is, where its pieces begin, where they come from
    ROOT/l/N/coming/broken        there when the bytes that came are not the layer: why
    ROOT/coming/N                 there while there is the directory above

How much of a piece has come is the length of its file and is noted nowhere else. Whoever watches
over a layer (answers those who read what has not come) holds a flock on its directory. When
everything has come and is right, the layer gets the form that all others have, and the
directory goes: containers that run go on with the pieces, which are nameless then.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from knarr.content import digest as digests
from knarr.content import durable
from knarr.errors import InvalidArchive, Unsupported
from knarr.kernel import fanotify
from knarr.runtime.imagemount import BROKEN, COMING, INDEX
from knarr.snapshots.erofs import format as disk
from knarr.snapshots.erofs import index, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from knarr.snapshots.erofs.index import Planned
    from knarr.snapshots.erofs.walk import Walk

NEEDS = "layers that are still to come need"
ORIGIN = "origin.json"
_STEP = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Coming(NamedTuple):
    """A layer on its way. path: its directory ``coming``; starts: where its pieces begin, bytes."""

    path: str
    chain_id: str
    diff_id: str
    size: int
    starts: list[int]
    origin: dict[str, Any]

    def length(self, number: int) -> int:
        """Return the bytes of a piece when all of it is there, in whole blocks as it is mounted."""
        end = self.starts[number + 1] if number + 1 < len(self.starts) else self.size
        return end - self.starts[number] + -end % disk.BLOCK

    def here(self, number: int) -> int:
        """Return the bytes of a piece that have come. Raises OSError."""
        return os.stat(f"{self.path}/{number}").st_size

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes out of the pieces, fewer where they have not come. Raises OSError."""
        found = b""
        while count > 0:
            number = bisect_right(self.starts, offset) - 1
            end = self.starts[number + 1] if number + 1 < len(self.starts) else self.size
            with open(f"{self.path}/{number}", "rb", buffering=0) as piece:
                data = os.pread(
                    piece.fileno(), min(count, end - offset), offset - self.starts[number]
                )
            if not data:
                break
            found += data
            offset, count = offset + len(data), count - len(data)
        return found

    def reason(self) -> str:
        """Return why the layer is broken, "" when it is not."""
        try:
            with open(f"{self.path}/{BROKEN}", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def missing(self) -> list[int]:
        """Return the numbers of the pieces that are not whole. Raises OSError."""
        return [n for n in range(len(self.starts)) if self.here(n) < self.length(n)]


def check_machine(root: str) -> None:
    """Return when reads of files below ``root`` can wait for bytes; raise Unsupported if not."""
    too_old = Unsupported(
        f"{NEEDS} Linux 6.14 with CONFIG_FANOTIFY_ACCESS_PERMISSIONS; this is {os.uname().release}"
    )
    try:
        group = fanotify.init()
    except OSError as error:
        if error.errno == errno.EPERM:
            raise Unsupported(f"{NEEDS} root (CAP_SYS_ADMIN)") from None
        raise too_old from None
    try:
        fd = os.open(root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fanotify.mark(group, fanotify.ADD, fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno == errno.EINVAL:  # an event that it does not know
            raise too_old from None
        raise Unsupported(
            f"{NEEDS} a file system that waits for contents (ext4, xfs, btrfs), not that of"
            f" {root}: {error.strerror}"
        ) from None
    finally:
        os.close(group)


def lay_out(
    half: int, planned: Planned, walk: Walk | None, scratch: int, uuid: bytes, note: dict[str, Any]
) -> None:
    """Make the directory in that of a half-made layer, with what a walk fetched to plan it.

    note: ``chain_id``, ``diff_id``, ``size`` and ``origin``. All is on disk afterwards but the
    bytes of the pieces. Raises CannotIndex, OSError.
    """
    size = int(note["size"])
    os.mkdir(COMING, 0o700, dir_fd=half)
    with _directory(COMING, half) as fd:
        starts = pieces.cut(planned.tree.root, size)
        with open(os.open(INDEX, _NEW, 0o600, dir_fd=fd), "wb") as output:
            index.write_in_pieces(planned, uuid, starts, size, output)
            output.flush()
            os.fsync(output.fileno())
        for number, start in enumerate(starts):
            end = starts[number + 1] if number + 1 < len(starts) else size
            known = start if walk is None else walk.known_from(start, end)
            _begin(fd, number, scratch, start, known, size)
        with open(os.open(ORIGIN, _NEW, 0o600, dir_fd=fd), "w", encoding="utf-8") as file:
            json.dump({**note, "starts": starts}, file)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(fd)


def _begin(directory: int, number: int, scratch: int, start: int, known: int, size: int) -> None:
    """Make a piece, with what is known of it already."""
    fd = os.open(str(number), _NEW, 0o600, dir_fd=directory)
    try:
        if known > start:
            fill(fd, 0, os.pread(scratch, known - start, start), last=known == size)
    finally:
        os.close(fd)


def fill(fd: int, offset: int, data: bytes, *, last: bool = False) -> None:
    """Write the next bytes of a piece; last: they may be the tar's, which need not end on a block.

    Its file is never longer than what was written of it, whenever this process is killed.
    """
    if last and len(data) % disk.BLOCK:
        data += bytes(-(offset + len(data)) % disk.BLOCK)
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        offset += count
        view = view[count:]


def read(path: str) -> Coming:
    """Return what a directory ``coming`` says. Raises OSError, ValueError."""
    with open(f"{path}/{ORIGIN}", encoding="utf-8") as file:
        note = json.load(file)
    return Coming(
        path, note["chain_id"], note["diff_id"], note["size"], note["starts"], note["origin"]
    )


def numbers(root: str) -> list[str]:
    """Return the numbers of the layers below a driver's root that are on their way."""
    try:
        return sorted(os.listdir(f"{root}/{COMING}"))
    except FileNotFoundError:
        return []


def note(root: str, number: str) -> None:
    """Have a layer among those that are on their way; durable (OSError)."""
    os.makedirs(f"{root}/{COMING}", mode=0o700, exist_ok=True)
    os.close(os.open(f"{root}/{COMING}/{number}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def forget(root: str, number: str) -> None:
    """Take a layer from these; it may not be among them (OSError)."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{root}/{COMING}/{number}")
    with contextlib.suppress(OSError):  # there are others
        os.rmdir(f"{root}/{COMING}")


def condemn(coming: Coming, reason: str) -> None:
    """Note why a layer is not what it should be; durable (OSError)."""
    durable.replace(f"{coming.path}/{BROKEN}", reason.encode())
    durable.sync_directory(coming.path)


def join(coming: Coming, directory: int, name: str, tar: BinaryIO | None) -> None:
    """Write the tar that the pieces are, all of which have come, and have it on disk.

    tar: where it comes from when the pieces are not all of it. It gets its name when it is whole
    and right. Raises InvalidArchive when it has another digest than the layer.
    """
    algorithm, _ = digests.parse(coming.diff_id)
    hasher = digests.hasher(algorithm)
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with open(fd, "wb") as output:
        for data in _joined(coming) if tar is None else iter(lambda: tar.read(_STEP), b""):
            hasher.update(data)
            output.write(data)
        output.flush()
        found = f"{algorithm}:{hasher.hexdigest()}"
        if found != coming.diff_id:
            raise InvalidArchive(
                f"layer with diff id {coming.diff_id} is corrupt: the bytes that came have digest"
                f" {found}; remove its image"
            )
        os.fsync(fd)
        temporary = f"{name}~"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        # With a descriptor beside it the link in /proc is followed (linkat(2), AT_SYMLINK_FOLLOW).
        source = f"/proc/self/fd/{fd}"
        os.link(source, temporary, src_dir_fd=fd, dst_dir_fd=directory, follow_symlinks=True)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _joined(coming: Coming) -> Iterator[bytes]:
    for number, start in enumerate(coming.starts):
        end = coming.starts[number + 1] if number + 1 < len(coming.starts) else coming.size
        left = end - start
        with open(f"{coming.path}/{number}", "rb", buffering=0) as piece:
            while left and (data := piece.read(min(left, _STEP))):
                yield data
                left -= len(data)


@contextlib.contextmanager
def _directory(name: str, parent: int) -> Iterator[int]:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
