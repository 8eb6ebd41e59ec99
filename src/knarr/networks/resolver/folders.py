"""Following what the makers of containers write below ``RUN_ROOT/networks``.

``NETWORK/CONTAINER`` is an endpoint, ``by-container/CONTAINER`` says where its sockets
are. Each file is replaced by rename and taken away by unlink, which inotify(7) tells.
"""

import json
import os
import sys

from knarr.kernel import inotify
from knarr.runtime.resolving import FOLDER, SOCKETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_GONE = inotify.IN_DELETE | inotify.IN_MOVED_FROM
_CAME = inotify.IN_MOVED_TO | inotify.IN_CREATE
_MASK = _GONE | _CAME | inotify.IN_ONLYDIR


class Folders:
    """The folder of all networks, followed.

    told: called with folder, file and what is in it, or None when it has gone.
    """

    __slots__ = ("_known", "_root", "_told", "_watches", "fd")

    def __init__(
        self, run_root: str, told: "Callable[[str, str, dict[str, Any] | None], None]"
    ) -> None:
        self._root = f"{run_root}/{FOLDER}"
        self._told = told
        self._watches: dict[int, str] = {}
        self._known: set[tuple[str, str]] = set()
        os.makedirs(f"{self._root}/{SOCKETS}", 0o700, exist_ok=True)
        self.fd = inotify.init()

    def begin(self) -> None:
        """Read all that is there, and be told from now on."""
        self._watch("")
        self._scan()

    def _scan(self) -> None:
        """Read everything: endpoints before sockets, which are made sense of with them."""
        there = {name for name in os.listdir(self._root) if not name.startswith(".")}
        gone = {folder for folder, _ in self._known} - there
        for folder in gone:
            self._empty(folder, set())
        for folder in sorted(there - {SOCKETS}):
            self._enter(folder)
        self._enter(SOCKETS)

    def _enter(self, folder: str) -> None:
        try:
            self._watch(folder)
            names = {name for name in os.listdir(f"{self._root}/{folder}") if name[0] != "."}
        except (FileNotFoundError, NotADirectoryError):
            names = set()  # taken away meanwhile, or a file that is not ours
        self._empty(folder, names)
        for name in names:
            self._read(folder, name)

    def _empty(self, folder: str, but: "set[str]") -> None:
        for known in [each for each in self._known if each[0] == folder and each[1] not in but]:
            self._forget(*known)

    def _watch(self, folder: str) -> None:
        watch = inotify.add_watch(self.fd, f"{self._root}/{folder}", _MASK)
        self._watches[watch] = folder

    def readable(self, _: int = 0) -> None:
        """Take note of what has changed."""
        events = inotify.events(self.fd)
        if any(mask & inotify.IN_Q_OVERFLOW for _, mask, _ in events):
            self._scan()
            return
        for watch, mask, name in events:
            folder = self._watches.get(watch)
            if mask & inotify.IN_IGNORED:
                self._watches.pop(watch, None)
            elif folder is None or not name or name.startswith("."):
                continue
            elif folder == "":
                if mask & _CAME:
                    self._enter(name)
                else:
                    self._empty(name, set())
            elif mask & (_GONE | inotify.IN_MOVED_TO):
                self._read(folder, name)  # what has gone may have a successor already

    def _forget(self, folder: str, name: str) -> None:
        if (folder, name) in self._known:
            self._known.discard((folder, name))
            self._told(folder, name, None)

    def _read(self, folder: str, name: str) -> None:
        try:
            with open(f"{self._root}/{folder}/{name}", "rb") as file:
                content = json.loads(file.read())
            if not isinstance(content, dict):
                raise ValueError("not an object")
        except FileNotFoundError:
            self._forget(folder, name)
            return
        except (OSError, ValueError) as error:
            print(f"knarr resolver: {folder}/{name} is left out: {error}", file=sys.stderr)
            self._forget(folder, name)
            return
        self._known.add((folder, name))
        self._told(folder, name, content)

    def close(self) -> None:
        """Stop following."""
        os.close(self.fd)
