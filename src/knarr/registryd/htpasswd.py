"""Users from a file as htpasswd(1) writes it: ``htpasswd -B FILE USER``.

Passwords are checked by crypt(3) of the C library (libcrypt: bcrypt, yescrypt, SHA-512), which
every distribution has; Python's own module for it is gone since 3.13. A check is slow on purpose:
which passwords were right is remembered, as a keyed hash, until the file changes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import hmac
import re
import secrets
import threading

from knarr.errors import InvalidArgument, Unsupported
from knarr.registryd.watched import Watched

_HASH = re.compile(r"\$(?:2[aby]|5|6|y|7)\$")
_ROOM = 256 * 1024  # more than struct crypt_data has in any library
_AT_ONCE = 2  # checks: whoever guesses must not have all processors
_MOST_REMEMBERED = 1000


class Crypt:
    """crypt_r(3) of the C library."""

    def __init__(self) -> None:
        """Raises Unsupported where there is none that knows bcrypt."""
        library = None
        for name in ("libcrypt.so.1", "libcrypt.so.2", ctypes.util.find_library("crypt"), None):
            try:
                library = ctypes.CDLL(name)
                self._call = library.crypt_r
                break
            except (OSError, AttributeError):
                continue
        else:
            raise Unsupported("htpasswd: there is no libcrypt here (Debian: libcrypt1)")
        self._call.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        self._call.restype = ctypes.c_char_p
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        if not self("x", "$2b$04$abcdefghijklmnopqrstuu").startswith("$2b$04$"):
            raise Unsupported("htpasswd: the C library's crypt(3) does not know bcrypt")

    def __call__(self, password: str, setting: str) -> str:
        """Return the hash of a password with the salt of a hash, "" for one that is none."""
        room = ctypes.create_string_buffer(_ROOM)
        with self._slots:
            found = self._call(password.encode(), setting.encode(), room)
        return "" if found is None else found.decode("ascii", "replace")


class Users:
    """The users of one file, read anew when it changes. Safe for threads."""

    def __init__(self, path: str) -> None:
        """Raises InvalidArgument for a file that cannot be read or understood, Unsupported."""
        self._crypt = Crypt()
        self._file = Watched(path, "htpasswd file", parse)
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()
        self._known: dict[str, str] = {}

    def has(self, user: str) -> bool:
        """Return whether there is such a user."""
        return user in self._file.now()

    def check(self, user: str, password: str) -> bool:
        """Return whether there is such a user, with this password."""
        hashes = self._file.now()
        hashed = hashes.get(user)
        text = f"{hashed}\0{user}\0{password}".encode()
        mark = hmac.new(self._key, text, hashlib.sha256).digest()
        with self._lock:
            if hashes is not self._known:
                self._known, self._right = hashes, set()
            if hashed is not None and mark in self._right:
                return True
        # A user who is not there takes as long as one who is.
        setting = hashed or next(iter(hashes.values()), "")
        right = hmac.compare_digest(self._crypt(password, setting), setting)
        if hashed is None or not right:
            return False
        with self._lock:
            if len(self._right) >= _MOST_REMEMBERED:
                self._right.clear()
            self._right.add(mark)
        return True


def parse(text: str) -> dict[str, str]:
    """Return hashes by user. Raises InvalidArgument."""
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        if not colon or not user or _HASH.match(hashed) is None:
            raise InvalidArgument(
                f"line {number}: want USER:HASH with bcrypt (htpasswd -B), SHA-512 or yescrypt"
            )
        hashes[user] = hashed
    return hashes
