"""The directory that holds layers and writable directories, and its crash-safe life.

    ROOT/l/N/fs            the tree of layer N (a short base-36 number); empty where the layer
                           is an image, whose files then stand beside it
    ROOT/l/N/meta.json     {"chain_id","parent","diff_id","size","entries","lowers"}, and where
                           there are images "images": names by number, "root": what the root is
    ROOT/l/N/parent        symlink to the parent, ../M
    ROOT/l/N~/             the same, half made; its maker holds a flock on it
    ROOT/chains/CHAIN_ID   symlink whose text is N: the index, rebuilt from meta.json
    ROOT/c/KEY/{fs,work}   writable directory of a container
                           and N, the layer it stands on, as the attribute user.knarr.layer
                           of KEY; a symlink ``layer`` to ../../l/N where there are none
    ROOT/trash/            renamed here first, deleted later
    ROOT/locks/all         shared: uses layers; exclusive: takes layers away

A layer is committed by renaming ``N~`` to ``N`` after one syncfs, or after a sync of each
file where these are few: no crash can leave a layer that looks whole and is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.content import digest as digests
from knarr.errors import Conflict, InvalidArgument, NotFound
from knarr.kernel.files import syncfs
from knarr.runtime.removal import remove_tree
from knarr.snapshots import locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_HALF = "~"
_LAYER = "user.knarr.layer"


class Layer(NamedTuple):
    """A present layer: its number, and its own and all lower numbers, topmost first."""

    number: str
    stack: tuple[str, ...]
    meta: dict[str, Any]

    def image(self, number: str) -> str | None:
        """Return under which name a layer of the stack is mounted; None: it is a tree."""
        name = self.meta.get("images", {}).get(number)
        return None if name is None else str(name)


class HalfMade(NamedTuple):
    """A layer being made: descriptor of its directory, which ``commit`` gives its name."""

    number: str
    fd: int


def image_name(number: str, chain_id: str) -> str:
    """Return the name under which an image is mounted: no other layer ever has it."""
    return f"{number}-{chain_id.partition(':')[2][:32]}"


class LayerDirectory:
    """The files above; knows nothing of tar or overlayfs."""

    def __init__(self, root: str) -> None:
        """Open the directory, making it where it is missing (OSError)."""
        self.root = os.path.abspath(root)
        for name in ("l", "c", "chains", "trash", "locks"):
            os.makedirs(os.path.join(self.root, name), mode=0o700, exist_ok=True)
        # Setuid programs of images lie in there: nobody else on the host may reach them.
        os.chmod(self.root, 0o700)
        # What was read of layers: they do not change, and another of the same number is another
        # file. By number, with the file's identity beside.
        self._known: dict[str, tuple[tuple[int, int, int], Layer]] = {}
        self._all = os.path.join(self.root, "locks", "all")
        with locks.shared(self._all):
            pass  # made now, so that no later call is the first to write here

    # Layers

    def find(self, chain_id: str) -> Layer | None:
        """Return the layer of that chain id, None when it is absent."""
        digests.parse(chain_id)
        try:
            return self._read(os.readlink(f"{self.root}/chains/{chain_id}"))
        except FileNotFoundError:
            return None

    def _read(self, number: str) -> Layer:
        """Return the layer of that number; raises FileNotFoundError."""
        path = f"{self.root}/l/{number}/meta.json"
        info = os.stat(path)
        identity = (info.st_dev, info.st_ino, info.st_ctime_ns)
        known = self._known.get(number)
        if known is not None and known[0] == identity:
            return known[1]
        with open(path, "rb") as file:
            meta = json.loads(file.read())
        layer = Layer(number, (number, *meta["lowers"]), meta)
        self._known[number] = (identity, layer)
        return layer

    def get(self, chain_id: str) -> Layer:
        """Return the layer of that chain id; raises NotFound."""
        layer = self.find(chain_id)
        if layer is None:
            raise NotFound(f"layer {chain_id} is not unpacked here")
        return layer

    def chain_ids(self) -> list[str]:
        """Return the chain ids of all layers, sorted."""
        names = sorted(os.listdir(os.path.join(self.root, "chains")))
        return [name for name in names if digests.is_valid(name)]

    @contextlib.contextmanager
    def making(self, chain_id: str, parent: str | None) -> Iterator[HalfMade | None]:
        """Make a layer: yields its half-made directory, or None when it is there already.

        Only one caller at a time, in all processes, gets to make a layer; the
        others wait and find it. Leaving the block without ``commit`` drops it.
        """
        name = chain_id.replace(":", "-")
        with locks.exclusive_once(os.path.join(self.root, "locks", name)):
            if self.find(chain_id) is not None:
                yield None
                return
            half = self._begin(parent)
            try:
                yield half
            finally:
                if os.path.exists(self._half_path(half.number)):
                    self._drop(self._half_path(half.number))
                os.close(half.fd)

    def commit(self, half: HalfMade, meta: dict[str, Any], files: Sequence[str] = ()) -> None:
        """Make the half-made layer durable and visible under ``meta["chain_id"]``.

        files: all that it consists of, if they are few; without them all that is written
        on this file system is synced.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open("meta.json", flags, 0o600, dir_fd=half.fd)
        with open(fd, "wb") as file:
            file.write(json.dumps(meta).encode())
        if files:
            for name in (*files, "meta.json", "."):
                _sync(name, half.fd)
        else:
            syncfs(half.fd)
        layers = os.path.join(self.root, "l")
        os.rename(self._half_path(half.number), os.path.join(layers, half.number))
        _sync(layers)
        self._index(meta["chain_id"], half.number)

    def shed(self, layer: HalfMade, files: Sequence[str], name: str) -> None:
        """Put what a layer has under a name into the trash, once files of it are on disk.

        Raises NotFound when the layer itself has been removed.
        """
        for each in files:
            _sync(each, layer.fd)
        with locks.shared(self._all):
            path = os.path.join(self.root, "l", layer.number)
            try:
                there = os.path.samestat(os.stat(path), os.fstat(layer.fd))
            except FileNotFoundError:
                there = False
            if not there:
                raise NotFound(f"layer {layer.number} was removed")
            self._discard(os.path.join(path, name))
            _sync(path)

    def remove_layer(self, chain_id: str) -> None:
        """Rename a layer into the trash; raises NotFound, Conflict while it is used."""
        with locks.exclusive(self._all):
            layer = self.get(chain_id)
            user = self._user_of(layer.number)
            if user:
                raise Conflict(f"layer {chain_id} is in use by {user}")
            os.unlink(os.path.join(self.root, "chains", chain_id))
            self._discard(os.path.join(self.root, "l", layer.number))
            _sync(os.path.join(self.root, "l"))

    def _begin(self, parent: str | None) -> HalfMade:
        """Return a new half-made layer that holds on to its parent."""
        with locks.shared(self._all):
            below = self.get(parent) if parent is not None else None
            number = self._number()
            path = self._half_path(number)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            locks.try_exclusive(fd)
            if below is not None:
                os.symlink(f"../{below.number}", "parent", dir_fd=fd)
            os.mkdir("fs", 0o700, dir_fd=fd)
        return HalfMade(number, fd)

    def _number(self) -> str:
        """Reserve the shortest free number by making its ``N~`` directory."""
        taken = {name.rstrip(_HALF) for name in os.listdir(os.path.join(self.root, "l"))}
        value = 0
        while True:
            value += 1
            number = _base36(value)
            if number in taken:
                continue
            try:
                os.mkdir(self._half_path(number), 0o700)
            except FileExistsError:
                continue
            # Committed by another between our listing and our mkdir?
            if not os.path.exists(os.path.join(self.root, "l", number)):
                return number
            os.rmdir(self._half_path(number))

    def _half_path(self, number: str) -> str:
        return os.path.join(self.root, "l", number + _HALF)

    def _index(self, chain_id: str, number: str) -> None:
        chains = os.path.join(self.root, "chains")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(chains, chain_id))
        os.symlink(number, os.path.join(chains, chain_id))
        _sync(chains)

    def used_images(self) -> set[str]:
        """Return the names of all images that writable directories stand on."""
        found: set[str] = set()
        for number in {_standing(self.key_path(key)) for key in self.keys()} - {None}:
            with contextlib.suppress(FileNotFoundError):
                found.update(self._read(str(number)).meta.get("images", {}).values())
        return found

    def _user_of(self, number: str) -> str:
        """Return who stands on a layer: a container's or another layer's name, or ""."""
        for key in self.keys():
            if _standing(self.key_path(key)) == number:
                return f"container {key}"
        for name in os.listdir(os.path.join(self.root, "l")):
            with contextlib.suppress(FileNotFoundError):
                below = os.readlink(os.path.join(self.root, "l", name, "parent"))
                if os.path.basename(below) == number:
                    return f"layer {name}"
        return ""

    # Writable directories

    def prepare(self, key: str, chain_id: str | None) -> Layer | None:
        """Make ``c/KEY`` and return the layer it stands on; raises Conflict, NotFound."""
        path = self.key_path(key)
        with locks.shared(self._all):
            layer = self.get(chain_id) if chain_id is not None else None
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                raise Conflict(f"container {key} already has a file system") from None
            if layer is not None:
                _stand(path, layer.number)
            os.mkdir(path + "/work", 0o700)
            # Last: a directory without ``fs`` counts as one that is not there.
            os.mkdir(path + "/fs", 0o755)
        return layer

    def standing_on(self, key: str) -> Layer | None:
        """Return the layer below a writable directory, None without one; raises NotFound."""
        path = self.key_path(key)
        if not os.path.isdir(path + "/fs"):
            raise NotFound(f"container {key} has no file system here")
        number = _standing(path)
        if number is None:
            return None
        try:
            return self._read(number)
        except FileNotFoundError:
            raise NotFound(f"container {key}: the layer {number} below it is gone") from None

    def key_path(self, key: str) -> str:
        """Return the path of ``c/KEY``; raises InvalidArgument for a bad key."""
        if not _KEY.match(key):
            raise InvalidArgument(f"snapshot key {key[:200]!r} must be letters, digits, '_.-'")
        return f"{self.root}/c/{key}"

    def keys(self) -> list[str]:
        """Return the keys of all writable directories, sorted."""
        return sorted(os.listdir(os.path.join(self.root, "c")))

    def remove(self, key: str) -> None:
        """Rename a writable directory into the trash; an absent one is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._discard(self.key_path(key))

    # Rubbish

    def purge_trash(self) -> None:
        """Delete the trash. Goes on past errors and raises the first OSError at the end."""
        failed: OSError | None = None
        trash = os.open(os.path.join(self.root, "trash"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in map(os.fsencode, os.listdir(trash)):
                try:
                    remove_tree(trash, name)
                except OSError as error:
                    failed = failed or error
        finally:
            os.close(trash)
        if failed is not None:
            raise failed

    def cleanup(self) -> None:
        """Drop half-made layers of dead processes, mend the index, empty the trash."""
        with locks.exclusive(self._all):
            layers = os.path.join(self.root, "l")
            for name in sorted(os.listdir(layers)):
                if name.endswith(_HALF):
                    self._drop_if_dead(os.path.join(layers, name))
                else:
                    self._mend_index(name)
            for chain_id in self.chain_ids():
                if self.find(chain_id) is None:
                    os.unlink(os.path.join(self.root, "chains", chain_id))
            for key in self.keys():
                if not os.path.isdir(self.key_path(key) + "/fs"):
                    self.remove(key)
        self.purge_trash()

    def _mend_index(self, number: str) -> None:
        """Index a committed layer whose maker died right after the rename."""
        try:
            with open(os.path.join(self.root, "l", number, "meta.json"), "rb") as file:
                chain_id = json.loads(file.read())["chain_id"]
        except (FileNotFoundError, NotADirectoryError):
            return
        if self.find(chain_id) is None:
            self._index(chain_id, number)

    def _drop_if_dead(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if locks.try_exclusive(fd):
                self._discard(path)
        finally:
            os.close(fd)

    def _drop(self, path: str) -> None:
        """Rename into the trash and delete at once."""
        name = self._discard(path)
        trash = os.open(os.path.join(self.root, "trash"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            remove_tree(trash, name)
        finally:
            os.close(trash)

    def _discard(self, path: str) -> bytes:
        """Rename path into the trash and return its name there; raises FileNotFoundError."""
        name = secrets.token_hex(8)
        os.rename(path, os.path.join(self.root, "trash", name))
        return name.encode()


def _stand(path: str, number: str) -> None:
    """Note which layer a writable directory stands on. An attribute costs no inode."""
    try:
        os.setxattr(path, _LAYER, number.encode())
    except OSError:
        os.symlink(f"../../l/{number}", path + "/layer")


def _standing(path: str) -> str | None:
    """Return the number of the layer below a writable directory, None without one."""
    try:
        return os.getxattr(path, _LAYER).decode()
    except OSError:
        pass  # it has none, or this file system has no attributes
    try:
        return os.path.basename(os.readlink(path + "/layer"))
    except FileNotFoundError:
        return None


def _base36(value: int) -> str:
    text = ""
    while value:
        value, digit = divmod(value, 36)
        text = _DIGITS[digit] + text
    return text


def _sync(path: str, directory: int | None = None) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
